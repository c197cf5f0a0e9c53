"""What a data set is: segments, and where each modality's media lies. It decodes nothing."""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import pandas as pd

from mmcache.extract.media.base.source import Source


@dataclasses.dataclass(frozen=True)
class Option:
    """A setting of one data set, given as --set NAME=VALUE; the default's type is the type of the values.

    Attributes:
        allowed: the values there are, where they can be listed.
    """

    default: float | int | str
    about: str
    allowed: tuple[float | int | str, ...] = ()


# The setting `depth` of every data set with depth; media/images/depth.py describes the two forms.
DEPTH_OPTION = Option("grey", "how depth is coloured: grey, on one scale, or jet, frame by frame", ("grey", "jet"))


class Dataset(abc.ABC):
    """A data set on the user's disk: which segments it has, and where the media of each video lie.

    Attributes:
        name: as on the command line.
        modalities: what the official release offers, in display order.
        mirrors: whether every class stays itself in a mirror, so that augmented views may be mirrored.
        options: the settings that its constructor takes by name, beside root and annotations.
        tasks: task -> class names from the class files, never from the labels observed.
        eval_split: the split that published results are reported on.
        segments: the columns of store.segments: id, video, start_s, stop_s, split, one a task, extras; a stop_s of
            infinity is the end of the media. A column `split_<protocol>` is another published division of the same
            segments, with '' for those that are not in it.
        problems: annotation rows that could not be used, each with its reason.
        notes: how a table of the user's own was understood, shown before the start.
        lost_rows: how many rows of annotations are in `problems`, because a cell is damaged; too many of them, and
            nothing is started.
    """

    name: ClassVar[str]
    modalities: ClassVar[tuple[str, ...]]
    mirrors: ClassVar[bool] = False
    options: ClassVar[Mapping[str, Option]] = {}
    tasks: dict[str, list[str]]
    eval_split: str
    segments: pd.DataFrame
    problems: list[str]
    notes: Sequence[str] = ()
    lost_rows: int = 0

    @abc.abstractmethod
    def __init__(self, root: Path, annotations: Path | None = None, **options: float | int | str) -> None:
        """Read the annotations, and set tasks, eval_split, segments and problems. Decodes nothing.

        Raises:
            ConfigError: a file is missing or wrong, or an option is out of its range.
        """

    @abc.abstractmethod
    def source(self, modality: str, video: str) -> Source | None:
        """The media of one video, or None when they are not on disk (a missing modality, no failure)."""

    @abc.abstractmethod
    def expected_layout(self) -> str:
        """Where media should lie and how to get them; shown when none are found."""
