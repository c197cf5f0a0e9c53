"""What `mmcache fuse` can be told. Defaults here are those of every strategy that does not say otherwise."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from mmcache.fuse.strategies import STRATEGIES
from mmcache.store.errors import ConfigError, Problems, unknown_name
from mmcache.store.settings import resolve

# The names are listed here, not imported, so that a wrong one is reported without waiting for torch.
# A test holds these lists to the tables they name.
FUSIONS = ("transformer",)
FILLS = ("zeros", "skip", "token", "karmma")
HEADS = ("shared", "per_modality")
LAWS = ("none", "target_only", "bernoulli_keep_one")
RESIDENT = ("auto", "gpu", "ram", "disk")
_PLACES = ("store", "out", "device", "resident", "teacher")  # where, not what: no part of a run's identity
# What the teacher of a two-stage run takes over from its student's flags; its architecture stays its own.
_SHARED_WITH_TEACHER = (
    "store", "modalities", "k", "epochs", "batch_size", "seed", "device", "resident", "holdout", "eval_split"
)  # fmt: skip

Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


@dataclass(config=ConfigDict(extra="forbid"))
class FuseConfig:
    """Options of one run. Times are in epochs, lengths in tokens."""

    strategy: str
    store: Path | None = None  # None = the newest under cache/
    out: Path | None = None  # None = runs/<store>/<strategy>-<identity>
    modalities: list[str] | None = None  # None = all in the store
    k: Count = 300  # k-Average cap
    # the network
    fusion: str = "transformer"
    fill: str = "zeros"
    head: str = "shared"
    width: Count = 384
    depth: Count = 1
    heads: Count = 8
    ffn_ratio: Annotated[float, Field(gt=0)] = 4.0
    dropout: Share = 0.0
    attention_dropout: Share = 0.0
    token_dropout: Share = 0.0  # of the per_modality head's mean
    positions: bool = False  # learned, one a token place
    modality_embedding: bool = True
    s_mode: str = "always"  # KARMMA's s tokens: always, or only where missing
    # the keep masks in training
    law: str = "none"
    drop: Share = 0.0  # p
    target: str | None = None  # the one modality that may be missing; the law becomes target_only
    train_on: str = "all"  # or only the segments that are complete by nature
    # the losses
    label_smoothing: Share = 0.0
    alpha: Annotated[float, Field(ge=0, le=1)] = 1.0  # weight of CE; 1 - alpha is the teacher's
    teacher: Path | None = None  # a run; None = train the strategy's own
    teacher_mask: str = "same"  # the teacher sees the student's mask, or everything: full
    # the optimiser
    epochs: Count = 100
    batch_size: Count = 32
    balance: str | None = None  # a task whose classes are to come equally often in training
    lr: Annotated[float, Field(gt=0, le=1e4)] = 1e-4
    lr_end: Annotated[float, Field(ge=0)] = 1e-6  # where warm-up starts and the cosine ends
    warmup: Share = 0.1  # share of the run in which the learning rate rises; KARMMA: 10 of 100 epochs
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    clip: Annotated[float, Field(ge=0)] = 1.0  # gradient norm; 0 = no clipping
    # the run
    seed: Annotated[int, Field(ge=0)] = 0
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.1  # share of train that picks the epoch
    eval_split: str | None = None  # None = the store's
    device: str = "auto"
    resident: str = "auto"

    def identity(self, store_identity: str) -> str:
        """What makes this run this run: its options, short of places, and the tokens it trains on."""
        values = {name: value for name, value in dataclasses.asdict(self).items() if name not in _PLACES}
        text = json.dumps([values, store_identity], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def check(self) -> None:
        """Raise ConfigError naming every mistake that can be seen without the store."""
        problems = Problems()
        for what, name, allowed in (
            ("strategy", self.strategy, tuple(STRATEGIES)),
            ("fusion", self.fusion, FUSIONS),
            ("fill", self.fill, FILLS),
            ("head", self.head, HEADS),
            ("law", self.law, LAWS),
            ("resident", self.resident, RESIDENT),
            ("train_on", self.train_on, ("all", "complete")),
            ("s_mode", self.s_mode, ("always", "missing")),
            ("teacher_mask", self.teacher_mask, ("same", "full")),
        ):
            problems.check_name(what, name, allowed)
        if self.width % self.heads:
            problems.add(f"--width {self.width} is not a multiple of --heads {self.heads}")
        if self.law == "target_only" and self.target is None:
            problems.add("the law target_only needs --target M")
        if self.target is not None and self.drop == 0:
            problems.add(f"--target {self.target} with --drop 0 never drops it: give --drop P")
        if self.alpha < 1 and self.teacher is None and STRATEGIES[self.strategy].teacher is None:
            problems.add(
                f"alpha {self.alpha:g} asks for distillation, but {self.strategy} has no teacher: give --teacher RUN"
            )
        problems.raise_if_any()


def make_config(strategy: str, layers: Mapping[str, Mapping[str, Any]]) -> FuseConfig:
    """The resolved options of a strategy: defaults, its preset, then `layers`, later ones winning.

    Raises:
        ConfigError: names, values or combinations are wrong, all of them at once.
    """
    if strategy not in STRATEGIES:
        raise ConfigError(unknown_name("strategy", strategy, STRATEGIES))
    preset = {"strategy": strategy, **STRATEGIES[strategy].options}
    config = resolve(FuseConfig, {f"strategy {strategy}": preset, **layers})
    if config.target is not None and not any("law" in layer for layer in layers.values()):
        config.law = "target_only"
    config.check()
    return config


def teacher_config(student: FuseConfig, layers: Mapping[str, Mapping[str, Any]]) -> FuseConfig:
    """The options of the teacher that a two-stage strategy trains first.

    Settings files speak for teacher and student alike; of the flags, the teacher takes what concerns data and
    schedule, not what shapes the student's network.
    """
    name = STRATEGIES[student.strategy].teacher
    assert name is not None
    shared = {
        where: {option: value for option, value in layer.items() if where != "flags" or option in _SHARED_WITH_TEACHER}
        for where, layer in layers.items()
    }
    return make_config(name, shared)
