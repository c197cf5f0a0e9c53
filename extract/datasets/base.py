"""What a data set is: segments, and where each modality's media lies. It decodes nothing."""

import dataclasses
from pathlib import Path
from typing import ClassVar, Literal, Protocol

import pandas as pd

Kind = Literal["video", "frames", "flow", "audio", "hdf5_audio", "imu"]


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the media of one modality of one video lies.

    Attributes:
        kind: how it is read: `video` and `audio` are streams of a media file, `frames` is a folder of numbered
            pictures, `flow` two of them (u and v), `hdf5_audio` a waveform in an HDF5 file, `imu` a pair of CSV files.
        paths: the file or folder, or those that belong together.
        rate: numbered pictures, or samples of a waveform, a second; None where a folder is one segment.
        first: the number of the picture at second 0, before it is rounded down.
        gain: what displacements of flow are multiplied by.
        entry: the name inside an HDF5 file.
    """

    kind: Kind
    paths: tuple[Path, ...]
    rate: float | None = None
    first: float = 0.0
    gain: float = 1.0
    entry: str = ""


class Dataset(Protocol):
    """A data set on the user's disk.

    Attributes:
        name: as on the command line.
        modalities: what the official release offers, in display order.
        tasks: task -> class names from the class files, never from the labels observed.
        eval_split: the split that published results are reported on.
        segments: the columns of store.segments: id, video, start_s, stop_s, split, one a task, extras; a stop_s of
            infinity is the end of the media.
        problems: annotation rows that could not be used, each with its reason.
    """

    name: ClassVar[str]
    modalities: ClassVar[tuple[str, ...]]
    eval_split: str
    tasks: dict[str, list[str]]
    segments: pd.DataFrame
    problems: list[str]

    def source(self, modality: str, video: str) -> Source | None:
        """The media of one video, or None when it is not on disk (a missing modality, no failure)."""
        ...

    def expected_layout(self) -> str:
        """Where media should lie and how to get it; shown when nothing is found."""
        ...
