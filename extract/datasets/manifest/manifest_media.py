"""The media that cells of a manifest may name, and how they are read.

    rgb, ir    a video file, or a folder of numbered images
    depth      a folder of numbered 16-bit PNG files in millimetres, or a video of depth that was made images
    flow       a folder with u/ and v/, numbered grey images each
    audio      any file with audio
    imu        a CSV of accelerometer and gyroscope, or one of each with a ';' between (media/imu.py says which)

Second 0 of a folder with a rate is its first image. Without a rate a folder is one segment, and its images are
spread over it evenly.
"""

import dataclasses
import os
from pathlib import Path

from mmcache.extract.datasets.base.dataset import DEPTH_OPTION, Option
from mmcache.extract.media.base.requests import MediaError
from mmcache.extract.media.base.source import Source
from mmcache.extract.media.images.file_numbering import numbered_files
from mmcache.extract.media.images.image_file import parse_range
from mmcache.extract.media.imu.imu_columns import parse_columns
from mmcache.store.files.user_file import open_regular

IMAGES = ("rgb", "flow", "depth", "ir")  # modalities that may be folders of images
_OF_EGO4D = "canonical_timestamp_ms"  # a column that no other form has

# The settings of --set for media.
MEDIA_OPTIONS = {
    "depth": DEPTH_OPTION,
    "imu_columns": Option("", "what the columns of IMU files are, where it is not plain: time=ts,ax=acc1,time_unit=ms"),
    "ir_range": Option("", "LOW..HIGH: the values of 16-bit infrared images that become black and white"),
}


@dataclasses.dataclass(frozen=True)
class MediaSettings:
    """The user's settings for media.

    Attributes:
        depth: how depth is coloured, grey or jet.
        imu_columns: as media/imu/imu_columns.py has it.
        ir_range: LOW..HIGH of 16-bit infrared.

    Raises:
        ConfigError: one of them is not of its form.
    """

    depth: str = "grey"
    imu_columns: str = ""
    ir_range: str = ""

    def __post_init__(self) -> None:
        parse_columns(self.imu_columns)
        parse_range(self.ir_range)


def find_media(modality: str, paths: tuple[Path, ...], rate: float | None, settings: MediaSettings) -> Source:
    """The source for the paths of a modality. Reading reports paths that do not exist."""
    path = paths[0]
    if modality == "imu":
        if len(paths) == 1 and not settings.imu_columns and _OF_EGO4D in _first_line(path).split(","):
            return Source("ego4d_imu", paths)
        variant = parse_columns(settings.imu_columns).variant
        return Source("imu", paths, variant=variant, columns=settings.imu_columns)
    if modality == "audio":
        return Source("audio", (path,))
    if modality == "flow":
        return Source("flow", (path / "u", path / "v"), rate, _first_number(path / "u", rate))
    if not os.path.isdir(path):
        return Source("video", (path,))
    first = _first_number(path, rate)
    if modality == "depth":
        return Source("depth", (path,), rate, first, variant=settings.depth)
    return Source("frames", (path,), rate, first, variant=settings.ir_range if modality == "ir" else "")


def _first_line(path: Path) -> str:
    """Of a text file; what cannot be read is left to the reader of media."""
    try:
        with open_regular(path) as file:
            return file.readline(4096).decode("utf-8-sig", "replace").strip()
    except OSError:
        return ""


def _first_number(folder: Path, rate: float | None) -> float:
    """The number of the first image in a folder with a clock; 0 for an empty folder, which its reader will report."""
    if rate is None or not os.path.isdir(folder):
        return 0.0
    try:
        return float(min(numbered_files(folder, counted=True)))
    except MediaError:
        return 0.0
