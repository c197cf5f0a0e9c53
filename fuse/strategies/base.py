"""What a strategy is: one class with its options, its recipe, its parts, its loss terms and what it needs first.

    class Mine(Strategy):
        about = "what it does, in one line"
        cite = Citation("Authors", "Title", "Venue", 2026, arxiv="...")
        control = "dropout"                         # the strategy that it is compared with, all else equal

        @dataclass(frozen=True)
        class Options:
            strength: Weight = option(1.0, "Weight of my loss.", weight=True)

        idea = {"handler": "token"}                 # what it is about: in every recipe
        published = {"drop": 0.25, "epochs": 50}    # what else its paper uses: in the published recipe

        def terms(self) -> list[Term]:
            return [self.cross_entropy(), Term("mine", self._mine, self.own.strength)]

Training, packing, sweeps and reports know this interface, and no strategy or option by name.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd
import torch
from torch import nn

from mmcache.fuse.network.passes import Pass
from mmcache.fuse.parts.handlers import Handler
from mmcache.fuse.parts.heads import Head
from mmcache.fuse.parts.losses.cross_entropy import cross_entropy
from mmcache.fuse.parts.part import NoOptions
from mmcache.store.ground.errors import Problems

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mmcache.fuse.data.episodes import Episodes
    from mmcache.fuse.network.model import Model
    from mmcache.fuse.options.options import Options as AllOptions
    from mmcache.fuse.runs.spec import ModelSpec
    from mmcache.fuse.teachers.signals import TeacherSignals
    from mmcache.store.load.loader import Batch

Recipe = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Citation:
    """Where a strategy was published."""

    authors: str
    title: str
    venue: str
    year: int
    arxiv: str | None = None

    @property
    def short(self) -> str:
        """One line for lists."""
        return f"{self.venue} {self.year}" + (f", arXiv {self.arxiv}" if self.arxiv else "")

    def bibtex(self, key: str) -> str:
        """A BibTeX entry."""
        kind = "article" if self.arxiv and self.venue == "arXiv" else "inproceedings"
        fields = {
            "author": self.authors,
            "title": f"{{{self.title}}}",
            "journal" if kind == "article" else "booktitle": self.venue,
            "year": str(self.year),
            **({"eprint": self.arxiv, "archivePrefix": "arXiv"} if self.arxiv else {}),
        }
        return f"@{kind}{{{key},\n" + "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items()) + "}\n"


@dataclasses.dataclass(frozen=True)
class TeacherNeed:
    """The teachers that are trained first where none is named.

    Attributes:
        strategy: of each teacher.
        each: one teacher a modality, instead of one for all.
        several: whether several runs may be named as teachers.
        features: whether the penultimate features of the teacher are needed, not its logits alone.
    """

    strategy: str
    each: bool = False
    several: bool = True
    features: bool = False


@dataclasses.dataclass(frozen=True)
class Phase:
    """What an epoch is made of.

    Attributes:
        keeps_all: no modality is dropped, whatever the mask sampler.
        unlabelled: unlabelled segments are learned from too, and labels are not.
        episodes: few-shot episodes take the place of batches.
    """

    keeps_all: bool = False
    unlabelled: bool = False
    episodes: "Episodes | None" = None


@dataclasses.dataclass(frozen=True)
class Term:
    """One term of the loss.

    Attributes:
        value: the unweighted term of a pass, a scalar. It reads tensors alone and never asks for their values on the
            host, so that runs train packed and no step waits for the device.
        weight: what it is multiplied by.
        epochs: those in which it counts; None = all.
        reads: of the complete encoding: nothing, its values (targets), or itself with gradient (complete).
        given: asked before the pass, on the host: name -> tensor for Sample.given, from the batch and the kept mask.
    """

    name: str
    value: Callable[[Pass], torch.Tensor]
    weight: float = 1.0
    epochs: range | None = None
    reads: str = "nothing"
    given: "Callable[[Batch, NDArray[np.bool_]], dict[str, torch.Tensor]] | None" = None

    def counts(self, epoch: int) -> bool:
        return self.epochs is None or epoch in self.epochs


class Strategy(nn.Module):
    """Base of all strategies. An instance is trained beside the model and left behind with it.

    Args:
        options: of the run.
        model: what it trains.
        teachers: what its teachers have to say, where it has any.
        class_weights: task -> (C,) what a segment of each class counts in cross-entropy; None = all count alike.
    """

    about: ClassVar[str]
    cite: ClassVar[Citation]
    control: ClassVar[str | None] = None
    Options: ClassVar[type] = NoOptions
    idea: ClassVar[Recipe] = {}
    published: ClassVar[Recipe] = {}
    handlers: ClassVar[Mapping[str, type[Handler]]] = {}
    heads: ClassVar[Mapping[str, type[Head]]] = {}
    teacher: ClassVar[TeacherNeed | None] = None
    init_from: ClassVar[str | None] = None
    test_time: ClassVar[str | None] = None

    def __init__(
        self,
        options: "AllOptions",
        model: "Model",
        teachers: "TeacherSignals | None" = None,
        class_weights: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.options, self.own = options, options.own
        self.teachers, self.class_weights = teachers, class_weights
        self.spec: ModelSpec = model.spec

    def terms(self) -> list[Term]:
        """The loss, term by term."""
        return [self.cross_entropy()]

    def cross_entropy(self, weight: float = 1.0, epochs: range | None = None) -> Term:
        """Cross-entropy of the labels."""

        def value(step: Pass) -> torch.Tensor:
            smoothing, each = self.options.optimiser.label_smoothing, step.model.head.each
            return cross_entropy(step.outputs, step.sample.labels, smoothing, each, self.class_weights)

        return Term("ce", value, weight, epochs)

    def after_step(self, model: "Model") -> None:
        """The model has taken a step."""

    def after_epoch(self, epoch: int, table: pd.DataFrame) -> None:
        """An epoch is over.

        Args:
            table: what the model predicts on the segments that pick the epoch, a table of scoring.score.
        """

    @classmethod
    def phase(cls, options: "AllOptions", epoch: int) -> Phase:
        """What an epoch is made of."""
        share = getattr(options.sampler, "full_share", 0.0)
        return Phase(keeps_all=epoch in first_epochs(share, options))

    @classmethod
    def asks_teacher(cls, options: "AllOptions") -> bool:
        """Whether any term, with these options, reads a teacher."""
        return cls.teacher is not None

    @classmethod
    def check(cls, options: "AllOptions", problems: Problems) -> None:
        """Add every combination of options that cannot work."""

    @classmethod
    def check_modalities(cls, options: "AllOptions", names: list[str], tasks: list[str], problems: Problems) -> None:
        """Add what the options ask for that a store's modalities or tasks do not have."""


def check_handler(loss: str, handler: str, options: "AllOptions", problems: Problems) -> None:
    """Add that a loss reads what only one handler gives, where the run has another one."""
    if getattr(options.own, loss) > 0 and options.network.handler != handler:
        problems.add(
            f"the loss {loss} needs the handler {handler}; got {options.network.handler}: leave out --handler, or give "
            f"--set {loss}=0"
        )


def first_epochs(share: float, options: "AllOptions") -> range:
    """The first epochs that a share of the run is: rounded up, but never all of them."""
    epochs = options.optimiser.epochs
    return range(min(math.ceil(share * epochs), epochs - 1))


def later_epochs(share: float, options: "AllOptions") -> range:
    """All epochs but `first_epochs`."""
    return range(first_epochs(share, options).stop, options.optimiser.epochs)
