"""A base class for data sets recorded with a Kinect: each take is a segment with depth and skeletons."""

from collections.abc import Mapping, Sized
from pathlib import Path
from typing import ClassVar

from mmcache.extract.datasets.base.dataset import DEPTH_OPTION, Dataset, Option
from mmcache.extract.media.base.source import Kind
from mmcache.store.ground.errors import ConfigError


class KinectDataset(Dataset):
    """See Dataset.

    Args:
        root: the folder of the media.
        annotations: not used where names say everything.
        depth: how depth becomes an image; see media/images/depth.py.
    """

    modalities: ClassVar[tuple[str, ...]] = ("rgb", "depth", "skeleton")
    mirrors: ClassVar[bool] = True
    options: ClassVar[Mapping[str, Option]] = {"depth": DEPTH_OPTION}
    eval_split: str = "test"

    def __init__(self, root: Path, annotations: Path | None = None, depth: str = "grey") -> None:
        self.root = root
        self.problems: list[str] = []
        self._depth_form = depth

    def _refuse_empty(self, takes: Sized, title: str) -> None:
        """Raise ConfigError, with the first problems, where no take was found."""
        if not len(takes):
            told = f" ({'; '.join(self.problems[:3])})" if self.problems else ""
            raise ConfigError(f"no {title} below {self.root}{told}. {self.expected_layout()}")

    def _variant(self, kind: Kind) -> str:
        """`Source.variant` for media of this kind."""
        return self._depth_form if kind == "depth" else ""
