"""oracle: a generated data set with known best accuracy for every modality subset (see common/oracle_world.py).

It has no files: a segment's media are drawn, keyed by (seed, id). The hidden factors and the world's noise and skew
are columns of the segments, so that whoever has the store can say what could have been reached.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from mmcache.common.oracle_world import CLASSES, FACTORS, NAME, STRENGTHS, Oracle, class_of
from mmcache.extract.datasets.base.dataset import Dataset, Option
from mmcache.extract.media.base.source import Source
from mmcache.extract.media.oracle_reader import OracleSource
from mmcache.store.ground.errors import Problems

_LEVELS = ("skewed", "pure")
_PURE = 0.5
_IN_A_VIDEO = 20  # segments


class OracleDataset(Dataset):
    """See Dataset. The folders are ignored.

    Raises:
        ConfigError: a setting is out of its range; all of them at once.
    """

    name: ClassVar[str] = NAME
    modalities: ClassVar[tuple[str, ...]] = tuple(STRENGTHS)
    mirrors: ClassVar[bool] = True
    options: ClassVar[Mapping[str, Option]] = {
        "level": Option("skewed", "skewed: P(p = 1) = P(q = 1) = skew; pure: 0.5, synergy alone", _LEVELS),
        "train": Option(8000, "segments to train on"),
        "test": Option(2000, "segments to test on"),
        "noise": Option(1.0, "standard deviation of every number of a token"),
        "skew": Option(0.3, "of level skewed, in 0..0.5"),
        "seed": Option(0, "of the segments drawn"),
    }
    eval_split: str = "test"

    def __init__(
        self,
        root: Path,
        annotations: Path | None = None,
        level: str = "skewed",
        train: int = 8000,
        test: int = 2000,
        noise: float = 1.0,
        skew: float = 0.3,
        seed: int = 0,
    ) -> None:
        problems = Problems()
        problems.check_name("level", level, _LEVELS)
        for name, count in (("train", train), ("test", test)):
            if count < 1:
                problems.add(f"--set {name}={count}: at least 1 segment is needed")
        if not 0 < noise < 1000:
            problems.add(f"--set noise={noise}: allowed is more than 0 and less than 1000")
        if not 0 < skew <= _PURE:
            problems.add(f"--set skew={skew}: allowed is more than 0 and up to {_PURE}")
        if seed < 0:
            problems.add(f"--set seed={seed}: seeds count from 0")
        problems.raise_if_any()
        self.world = Oracle(float(noise), _PURE if level == "pure" else float(skew))
        self.seed = seed
        self.problems: list[str] = []
        self.tasks = {"class": CLASSES}
        self.segments = pd.concat([self._split("train", train), self._split("test", test)], ignore_index=True)

    def source(self, modality: str, video: str) -> Source | None:
        return OracleSource("oracle", (), entry="{id}", world=self.world, modality=modality, seed=self.seed)

    def expected_layout(self) -> str:
        return "It is drawn, and needs no media."

    def _split(self, split: str, count: int) -> pd.DataFrame:
        numbers = np.arange(count)
        ids = [f"{split}_{number:06}" for number in numbers]
        factors = self.world.factors(ids, self.seed)
        return pd.DataFrame(
            {
                "id": ids,
                "video": [f"{split}_{number:05}" for number in numbers // _IN_A_VIDEO],
                "start_s": (numbers % _IN_A_VIDEO).astype(float),
                "stop_s": (numbers % _IN_A_VIDEO + 1).astype(float),
                "split": split,
                "class": class_of(factors),
                **{f"factor_{name}": factors[:, place] for place, name in enumerate(FACTORS)},
                "noise": self.world.noise,
                "skew": self.world.skew,
                "seed": self.seed,
            }
        )
