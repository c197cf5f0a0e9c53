"""Media packed into HDF5, as the data of Radevski et al. (ICCV 2023) come: a file a modality, an entry a video.

    ROOT/*.hdf5, ROOT/*.h5, and the same in ROOT/hdf5/

The files have no official names. The words in a name say what it holds: `flow`; `boxes`, `detections` or `layout`;
`rgb`, `video`, `frames` or `dataset`. A name with `audio` is left to those who read audio. Where several files hold a
modality (train and validation, say), a video is taken from the first by name that has it.
"""

import dataclasses
import functools
from pathlib import Path

import h5py

from mmcache.store.files.user_file import check_regular

_SUFFIXES = (".hdf5", ".h5")
# modality -> words in a file's name, looked for in this order: flow_frames.hdf5 is flow
_WORDS = {
    "audio": ("audio", "sound"),
    "flow": ("flow",),
    "boxes": ("boxes", "detection", "layout"),
    "rgb": ("rgb", "video", "frames", "dataset"),
}
LAYOUT = "a file *.hdf5 or *.h5 with rgb, flow or detections in its name, in {root} or {root}/hdf5"


@dataclasses.dataclass(frozen=True)
class PackedFile:
    """One HDF5 file of many videos."""

    path: Path

    def has(self, video: str) -> bool:
        """Whether there is an entry of this name; also where the file cannot be read, which reading it will report."""
        videos = self._videos
        return videos is None or video in videos

    @functools.cached_property
    def _videos(self) -> frozenset[str] | None:
        try:
            check_regular(self.path)
            with h5py.File(self.path, "r") as file:
                return frozenset(file)
        except OSError:
            return None


class PackedMedia:
    """The packed files below `root`."""

    def __init__(self, root: Path) -> None:
        self._files: dict[str, list[PackedFile]] = {}
        for folder in (root, root / "hdf5"):
            paths = sorted(p for p in folder.iterdir() if p.suffix in _SUFFIXES) if folder.is_dir() else []
            for path in paths:
                name = path.stem.lower()
                modality = next((m for m, words in _WORDS.items() if any(word in name for word in words)), None)
                if modality is not None:
                    self._files.setdefault(modality, []).append(PackedFile(path))

    def file(self, modality: str, video: str) -> Path | None:
        """The file that holds a video's media of `modality`, or None."""
        return next((file.path for file in self._files.get(modality, []) if file.has(video)), None)
