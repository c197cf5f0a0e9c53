"""midl: plain training on complete segments, and adaptation at test (MiDl, ICLR 2025)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmcache.fuse.parts.test_time.options import SHOWS_WHAT_IS_MISSING, MidlOptions
from mmcache.fuse.strategies.base import Citation, Strategy
from mmcache.store.ground.errors import Problems

if TYPE_CHECKING:
    from mmcache.fuse.options.options import Options as AllOptions


class Midl(Strategy):
    """What makes MiDl happens at test: see parts/test_time/midl.py. Training is that of zeros.

    The step works on any trained model: `mmcache evaluate RUN --test-time midl`; tent, shot and eta are its baselines.
    """

    about = "train complete; at test, adapt LayerNorms so that predictions do not depend on one modality"
    cite = Citation(
        "Ramazanova, Merey and Pardo, Alejandro and Ghanem, Bernard and Alfarra, Motasem",
        "Test-Time Adaptation for Combating Missing Modalities in Egocentric Videos",
        "ICLR",
        2025,
        arxiv="2404.15161",
    )
    control = "zeros"
    test_time = "midl"
    idea = {"handler": "zeros", "sampler": "none", "train_on": "complete"}

    @dataclass(frozen=True)
    class Options(MidlOptions):
        """The options of its step at test time."""

    @classmethod
    def check(cls, options: "AllOptions", problems: Problems) -> None:
        if options.own.adapt_first and options.data.train_missing:
            problems.add(SHOWS_WHAT_IS_MISSING)
