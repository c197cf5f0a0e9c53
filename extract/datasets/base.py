"""What a data set is: segments, and where each modality's media lies. It decodes nothing."""

import dataclasses
from pathlib import Path
from typing import ClassVar, Literal, Protocol

import pandas as pd

Kind = Literal["video", "audio", "imu"]


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the media of one modality of one video lies.

    Attributes:
        kind: how it is read: `video` and `audio` are streams of a media file, `imu` is a set of CSV files.
        paths: the file, or the files that belong together.
    """

    kind: Kind
    paths: tuple[Path, ...]


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
