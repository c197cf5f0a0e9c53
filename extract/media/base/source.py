"""Where media lie, and how they are read: what a data set says of the media of one video."""

import dataclasses
import os
import re
from pathlib import Path
from typing import Literal

Kind = Literal[
    "video",  # the video stream of a media file
    "frames",  # a folder of numbered images
    "flow",  # two of them, u and v
    "depth",  # a folder of numbered 16-bit depth images
    "hdf5_frames",  # encoded images in an HDF5 file
    "hdf5_flow",  # the same, u and v in turn
    "audio",  # the audio stream of a media file
    "hdf5_audio",  # a waveform in an HDF5 file
    "imu",  # a CSV of accelerometer and gyroscope, or one each, as GoPro's extraction tool writes them
    "ego4d_imu",  # one CSV of Ego4D
    "ntu_skeleton",  # a .skeleton file of NTU RGB+D
    "nwucla_skeleton",  # a folder of NW-UCLA with a text file a frame
    "mat_skeleton",  # a MATLAB v7.3 file of UWA3D
    "epic_boxes",  # hand-object detections of EPIC-KITCHENS-100
    "hdf5_boxes",  # the same, packed into HDF5
    "else_boxes",  # one video's part of a Something-Else JSON
    "oracle",  # drawn: the data set of that name
]


def is_there(path: Path) -> bool:
    """Whether there is a file or folder; False also for what cannot be a path, such as a name that is too long."""
    return os.path.exists(path)


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the media of one modality of one video lies.

    Attributes:
        kind: how it is read.
        paths: the file or folder, or those that belong together.
        rate: numbered images, or samples of a waveform, a second; None where a folder is one segment.
        first: the number of the image at second 0, before it is rounded down.
        gain: what displacements of flow are multiplied by.
        entry: the name inside an HDF5 file; `{id}` in it stands for the segment's id.
        extent: first and last byte (exclusive) of this video's part of a file that holds many.
        variant: which of several forms of the same media this is, part of what the tokens are known by: depth in `grey`
            or `jet`, boxes `annotated` or `detected`, the values of 16-bit infrared that are black and white.
        names: which files of a folder are meant where it holds several kinds: a regular expression for whole names,
            with the group `number`; empty for all numbered images.
        beside: (folder, names) of other modalities with the same numbers: only numbers that they have too are used.
        columns: the setting imu_columns (media/imu/imu_columns.py), which says what the columns of an IMU table are.
    """

    kind: Kind
    paths: tuple[Path, ...]
    rate: float | None = None
    first: float = 0.0
    gain: float = 1.0
    entry: str = ""
    extent: tuple[int, int] | None = None
    variant: str = ""
    names: str = ""
    beside: tuple[tuple[Path, str], ...] = ()
    columns: str = ""

    def absent(self) -> str | None:
        """Why there is nothing to read: none of its files is there. None where one is, or where it has no files."""
        if not self.paths or any(is_there(path) for path in self.paths):
            return None
        path = str(self.paths[0])
        hint = "; use / in paths" if "\\" in path else ""
        if re.search("(?:^|/)[a-z][a-z0-9]+:/", path):
            hint = "; files are read, not addresses: download it, and name the file"
        return f"{self.paths[0]} is not there{hint}"

    def absolute(self) -> "Source":
        """The same, with paths that hold in any working directory, as those of workers on other machines."""
        beside = tuple((folder.absolute(), names) for folder, names in self.beside)
        return dataclasses.replace(self, paths=tuple(path.absolute() for path in self.paths), beside=beside)

    def of_segment(self, segment: str) -> "Source":
        """The same, with the segment's id put into `entry`."""
        return dataclasses.replace(self, entry=self.entry.replace("{id}", segment)) if "{id}" in self.entry else self
