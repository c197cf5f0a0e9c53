"""mmg: modalities aligned by contrast, then fused by a transformer with modality dropout (MMG-Ego4D, CVPR 2023)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mmcache.fuse.data.episodes import EpisodeOptions, Episodes
from mmcache.fuse.network.passes import Pass
from mmcache.fuse.options.fields import Share, Weight, option
from mmcache.fuse.parts.losses.align import AlignOptions, align
from mmcache.fuse.parts.losses.prototypes import prototypes
from mmcache.fuse.strategies.base import Citation, Phase, Strategy, Term, first_epochs
from mmcache.store.ground.errors import Problems

if TYPE_CHECKING:
    from mmcache.fuse.options.options import Options as AllOptions


class Mmg(Strategy):
    """The loss is CE + InfoNCE of every modality with the anchor (video) on the real tokens' means.

    Two settings are options:

    zero-shot: --set train_modalities=[audio,imu] --set align_share=0.5. The first half of the run learns by alignment
    alone, from unlabelled segments too; the rest learns labels by CE alone, from audio and IMU, and no part of it sees
    rgb; the table of subsets then shows rgb, which no label was ever seen with.

    few-shot: --set prototypes=1 --set meta_share=0.5. The last half is made of episodes of 5 classes with 5 supports
    each, supports and queries seen through two random sets of modalities; the loss is prototypical.

    UNSURE in the paper: tau (here 0.07), the weight of the alignment (1), the dropout rate (0.5), the distance to the
    prototypes (squared Euclidean), how episodes and their sets are drawn. The paper begins with unimodal training of
    the encoders; here they are frozen, and there is none.
    """

    about = "contrastive alignment of modalities; zero-shot and few-shot across modalities as options"
    cite = Citation(
        "Gong, Xinyu and Mohan, Sreyas and Dhingra, Naina and Bazin, Jean-Charles and Li, Yilei and Wang, Zhangyang "
        "and Ranjan, Rakesh",
        "MMG-Ego4D: Multimodal Generalization in Egocentric Action Recognition",
        "CVPR",
        2023,
        arxiv="2305.07214",
    )
    control = "moddrop"
    idea = {"handler": "skip"}
    published = {"head": "linear", "depth": 2, "sampler": "bernoulli_keep_one", "drop": 0.5}

    @dataclass(frozen=True)
    class Options(EpisodeOptions, AlignOptions):
        align: Weight = option(1.0, "Weight of InfoNCE between modalities.", weight=True)
        align_share: Share = option(
            0.0, "The first epochs, which learn by align alone, from unlabelled segments too (a share of the run)."
        )
        prototypes: Weight = option(0.0, "Weight of few-shot episodes, in the last epochs.", weight=True)
        meta_share: Share = option(0.0, "The last epochs, which are made of episodes (a share of the run).")

    @classmethod
    def check(cls, options: "AllOptions", problems: Problems) -> None:
        own = options.own
        if own.align_share > 0 and own.align == 0:
            problems.add("align_share needs the loss align: give it a weight")
        if own.align_share > 0 and options.optimiser.epochs < 2:
            problems.add("align_share needs an epoch to align in and one to learn labels in: --epochs 2 or more")
        if (own.meta_share > 0) != (own.prototypes > 0):
            problems.add("the loss prototypes and meta_share need each other: give both, or neither")
        if own.align_share + own.meta_share >= 1:
            problems.add("align_share and meta_share leave no epoch to learn the labels in: together below 1")

    @classmethod
    def check_modalities(cls, options: "AllOptions", names: list[str], tasks: list[str], problems: Problems) -> None:
        own, labelled = options.own, options.data.train_modalities
        if own.anchor is not None:
            problems.check_name("modality in anchor", own.anchor, names)
        if own.few_shot_task is not None:
            problems.check_name("few_shot_task", own.few_shot_task, tasks)
        if len(names) == 1 and own.align > 0:
            problems.add(f"the loss align is between modalities, and this run has one, {names[0]}")
        if labelled is not None and own.align > 0 and own.align_share == 0 and len(names) > 1:
            anchor = own.anchor_among(names)
            if anchor not in labelled or len(labelled) < 2:
                problems.add(
                    f"epochs that learn labels see train_modalities ({', '.join(labelled)}) alone, so the loss align "
                    f"has nothing there to align with {anchor}: give --set align_share=0.5, first epochs that align "
                    "alone, or --set align=0"
                )

    @classmethod
    def phase(cls, options: "AllOptions", epoch: int) -> Phase:
        if epoch in _aligning(options):
            return Phase(keeps_all=True, unlabelled=True)
        if epoch in _meta(options):
            own = options.own
            return Phase(episodes=Episodes(own.few_shot_task, own.ways, own.shots, own.queries))
        return super().phase(options, epoch)

    def terms(self) -> list[Term]:
        """Alignment, alone at first where there are epochs for it; then the labels; then episodes."""
        own, options = self.own, self.options
        alone, meta = _aligning(options), _meta(options)
        labelled = range(alone.stop, meta.start)
        terms = [self.cross_entropy(epochs=labelled)]
        if own.align > 0:
            epochs = alone if own.align_share > 0 else labelled
            terms.append(Term("align", self._align, own.align, epochs, reads="complete"))
        if own.prototypes > 0:
            terms.append(Term("prototypes", self._prototypes, own.prototypes, meta))
        return terms

    def _align(self, step: Pass) -> torch.Tensor:
        names = self.spec.names
        anchor = names.index(self.own.anchor_among(names))
        return align(step.real_means(), step.sample.present, anchor, self.own.align_temperature)

    def _prototypes(self, step: Pass) -> torch.Tensor:
        own, labels = self.own, step.sample.labels
        supports = own.ways * own.shots
        is_support = torch.arange(len(step.sample.present), device=step.sample.present.device) < supports
        return prototypes(step.outputs.penultimate(), labels[own.few_shot_task or next(iter(labels))], is_support)


def _aligning(options: "AllOptions") -> range:
    """The first epochs, which align alone."""
    return first_epochs(options.own.align_share, options) if options.own.align_share > 0 else range(0)


def _meta(options: "AllOptions") -> range:
    """The last epochs, which are made of episodes."""
    epochs, aligning = options.optimiser.epochs, _aligning(options)
    count = len(first_epochs(options.own.meta_share, options))
    return range(max(epochs - count, aligning.stop), epochs)
