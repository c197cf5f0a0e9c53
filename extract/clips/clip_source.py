"""Choose the reader for a user's file of a modality.

rgb, flow, audio, imu, depth, ir    as in a manifest (datasets/manifest_media.py)
boxes       <video>.pkl of EPIC-KITCHENS-100's detections, or a JSON of one Something-Something video
skeleton    .skeleton of NTU RGB+D, or .mat of UWA3D
"""

import re
from pathlib import Path

from mmcache.extract.datasets.epic.epic_media import is_extension
from mmcache.extract.datasets.manifest.manifest import Manifest
from mmcache.extract.datasets.manifest.manifest_media import MediaSettings, find_media
from mmcache.extract.datasets.ssv2.something_else import FIRST, RATE
from mmcache.extract.media.base.requests import MediaError
from mmcache.extract.media.base.source import Source
from mmcache.extract.media.imu.imu_columns import with_variant
from mmcache.store.ground.errors import ConfigError

_EPIC_VIDEO = re.compile(r"P\d\d_\d{2,3}")
_ACCELEROMETER, _GYROSCOPE = "-accl.csv", "-gyro.csv"  # what EPIC-KITCHENS calls the pair
_SKELETONS = (".skeleton", ".mat")


def clip_source(
    modality: str,
    paths: tuple[Path, ...],
    rate: float | None = None,
    variant: str = "",
    timed: bool = False,
    imu_columns: str = "",
) -> Source:
    """The media of one clip.

    Args:
        paths: a file or folder, or those that belong together.
        rate: images a second of a folder of numbered images, or of the images that boxes are of.
        variant: the form of media that the encoder got, by its fingerprint: how depth is coloured, which
            sensors an IMU had, which values of 16-bit infrared are black and white.
        timed: whether only a part of the clip is asked for, which what has no clock cannot give.
        imu_columns: what the columns of an IMU table are, as media/imu/imu_columns.py has it.

    Raises:
        ConfigError: files of a modality cannot be given, or need a rate.
        MediaError: a file does not exist.
    """
    if modality == "imu":
        paths = _with_gyroscope(paths)
    absent = [path for path in paths if not path.exists()]
    if absent:
        raise MediaError(f"{absent[0]} is not there")
    if modality == "boxes":
        return _boxes(paths, rate, variant)
    if modality == "skeleton":
        return _skeleton(paths[0], timed)
    if modality not in Manifest.modalities:
        known = ", ".join([*Manifest.modalities, "boxes", "skeleton"])
        raise ConfigError(f"no reader of files is known for the modality {modality}; there are readers for {known}")
    source = find_media(modality, paths, rate, _settings(modality, variant, imu_columns))
    if timed and rate is None and source.kind in ("frames", "flow", "depth"):
        raise ConfigError(
            f"{paths[0]} is a folder of images without a clock: give the images per second with --rate "
            f"{modality}=NUMBER, or leave out --start and --stop"
        )
    return source


def _settings(modality: str, variant: str, imu_columns: str) -> MediaSettings:
    """The settings of a data set by which the encoder gets the same form of media."""
    return MediaSettings(
        depth=variant or "grey" if modality == "depth" else "grey",
        imu_columns=with_variant(imu_columns, variant) if modality == "imu" else "",
        ir_range=variant if modality == "ir" else "",
    )


def _with_gyroscope(paths: tuple[Path, ...]) -> tuple[Path, ...]:
    """Both files of the pair where the accelerometer's alone is named, as EPIC-KITCHENS names it."""
    if len(paths) == 1 and paths[0].name.endswith(_ACCELEROMETER):
        return paths[0], paths[0].with_name(paths[0].name.removesuffix(_ACCELEROMETER) + _GYROSCOPE)
    return paths


def _boxes(paths: tuple[Path, ...], rate: float | None, variant: str) -> Source:
    path = paths[0]
    if path.suffix == ".json":
        return Source("else_boxes", paths, rate=rate or RATE, first=FIRST, entry=path.stem, variant=variant)
    if path.suffix != ".pkl":
        raise ConfigError(f"{path}: boxes are read from EPIC-KITCHENS' .pkl or from a .json of Something-Else")
    if rate is None:
        if not _EPIC_VIDEO.fullmatch(path.stem):
            raise ConfigError(f"{path}: give the images per second that its boxes belong to, with --rate boxes=NUMBER")
        rate = 50.0 if is_extension(path.stem) else 60.0
    return Source("epic_boxes", paths, rate=rate)


def _skeleton(path: Path, timed: bool) -> Source:
    if path.suffix not in _SKELETONS:
        raise ConfigError(f"{path}: skeletons are read from {' and '.join(_SKELETONS)} files")
    if timed:
        raise ConfigError(f"{path}: skeletons have no clock; leave out --start and --stop")
    return Source("ntu_skeleton" if path.suffix == ".skeleton" else "mat_skeleton", (path,))
