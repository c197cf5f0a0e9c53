"""A data set of one's own: a folder a split, in it a folder a class, in it videos.

ROOT/train/jump/a.mp4  ROOT/train/wave/b.mp4  ROOT/test/jump/c.mp4

mmcache extract --dataset examples/plugins/folder_of_classes.py:FolderOfClasses --root ROOT
"""

from pathlib import Path

import pandas as pd

from mmcache.extract.datasets.base.dataset import Dataset
from mmcache.extract.media.base.source import Source
from mmcache.store.ground.errors import ConfigError


class FolderOfClasses(Dataset):
    """Every video is a segment; its class is the name of its folder."""

    name = "folder-of-classes"  # the store is cache/folder-of-classes.zarr unless --store says otherwise
    modalities = ("rgb", "audio")

    def __init__(self, root: Path, annotations: Path | None = None) -> None:
        self.files = {str(path.relative_to(root)): path for path in sorted(root.glob("*/*/*.mp4"))}
        if not self.files:
            raise ConfigError(self.expected_layout())
        classes = sorted({path.parent.name for path in self.files.values()})
        self.tasks = {"class": classes}
        self.eval_split = "test"
        self.problems: list[str] = []
        self.segments = pd.DataFrame(
            {
                "id": [name.replace("/", "_") for name in self.files],
                "video": list(self.files),
                "start_s": 0.0,
                "stop_s": float("inf"),  # the end of the video
                "split": [path.parent.parent.name for path in self.files.values()],
                "class": [classes.index(path.parent.name) for path in self.files.values()],
            }
        )

    def source(self, modality: str, video: str) -> Source:
        return Source("video" if modality == "rgb" else "audio", (self.files[video],))

    def expected_layout(self) -> str:
        return "Expected videos at ROOT/<split>/<class>/<name>.mp4."
