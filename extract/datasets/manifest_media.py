"""What the cells of a manifest may name, and how it is read.

    rgb, ir    a video file, or a folder of numbered pictures
    depth      a folder of numbered 16-bit PNG files in millimetres, or a video of depth that was made pictures
    flow       a folder with u/ and v/, numbered grey pictures each
    audio      any file with sound
    imu        one CSV of Ego4D, or two of GoPro's extraction tool, accelerometer and gyroscope, with a ';' between

Second 0 of a folder with a rate is its first picture. Without a rate a folder is one segment, and its pictures are
spread over it evenly.
"""

import re
from pathlib import Path

from mmcache.extract.datasets.base import Source

PICTURES = ("rgb", "flow", "depth", "ir")  # modalities that may be folders of pictures
_PICTURE = re.compile(r"(\d+)\D*\.(jpg|jpeg|png|bmp)", re.IGNORECASE)
_OF_EGO4D = "canonical_timestamp_ms"  # a column that GoPro's files do not have


def find_media(modality: str, paths: tuple[Path, ...], rate: float | None, colouring: str) -> Source | None:
    """What `paths` hold for a modality, or None when they are not there."""
    if not any(path.exists() for path in paths):
        return None
    path = paths[0]
    if modality == "imu":
        is_ego4d = len(paths) == 1 and _OF_EGO4D in _first_line(path).split(",")
        return Source("ego4d_imu" if is_ego4d else "imu", paths)
    if modality == "audio":
        return Source("audio", (path,))
    if modality == "flow":
        return Source("flow", (path / "u", path / "v"), rate, _first_number(path / "u", rate))
    if not path.is_dir():
        return Source("video", (path,))
    first = _first_number(path, rate)
    if modality == "depth":
        return Source("depth", (path,), rate, first, variant=colouring)
    return Source("frames", (path,), rate, first)


def _first_line(path: Path) -> str:
    """Of a text file; what cannot be read is left to the reader of media."""
    try:
        with path.open("rb") as file:
            return file.readline(4096).decode("utf-8-sig", "replace").strip()
    except OSError:
        return ""


def _first_number(folder: Path, rate: float | None) -> float:
    """The number of the first picture in a folder with a clock; 0 where there is none, which its reader will report."""
    if rate is None or not folder.is_dir():
        return 0.0
    numbers = (_PICTURE.search(path.name) for path in folder.iterdir())
    return float(min((int(match[1]) for match in numbers if match), default=0))
