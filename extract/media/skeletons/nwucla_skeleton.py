"""Skeletons of Northwestern-UCLA: a text file a frame, beside its frames.

    <id of the skeleton>
    x,y,z,state          20 lines, in metres

once for every skeleton in sight; an empty file is a frame without skeletons.
"""

import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmcache.extract.media.base.requests import MediaError, NoMedia, Reading, SkeletonRequest
from mmcache.extract.media.images.file_numbering import numbered_files
from mmcache.extract.media.skeletons.poses import MOST_POSES, spread_poses, without_nan
from mmcache.store.files.user_file import read_regular

JOINTS = 20
_MOST_PEOPLE = 64  # in a frame; the sensor tracks six
_MOST_BYTES = 1 << 20  # of a frame's file; a body has one kilobyte


def read_nwucla_skeleton(
    folder: Path, request: SkeletonRequest, names: str, beside: tuple[tuple[Path, str], ...] = ()
) -> Reading:
    """Poses spread evenly over the frames that have a file; of several people the nearest (in mean z) comes first.

    Args:
        names, beside: as in numbering.numbered_files.

    Returns:
        Reading of (frames, bodies, joints, 3) float32 in metres, 0 for absent people.

    Raises:
        NoMedia: the folder has no files of skeletons, or they have no skeletons.
        MediaError: one is not of the form above.
    """
    files = numbered_files(folder, names, beside)
    if not files:
        raise NoMedia(f"{folder.name} has no skeletons")
    frames = _read_all(tuple(files[number] for number in sorted(files)), folder.stat().st_mtime_ns)
    if len(frames) * max(1, *map(len, frames)) > MOST_POSES:
        raise MediaError(f"{folder.name} has {len(frames)} frames; at most {MOST_POSES:,} poses are read")
    poses = np.zeros((len(frames), max(1, *map(len, frames)), JOINTS, 3))
    for frame, people in enumerate(frames):
        poses[frame, : len(people)] = people
    mended, note = without_nan(poses, "joints")
    return Reading(spread_poses(mended, request, f"the skeletons of {folder.name}"), note)


@functools.lru_cache(maxsize=8)  # the views of a segment read the same files
def _read_all(paths: tuple[Path, ...], mtime_ns: int) -> list[NDArray[np.float64]]:
    """For every frame (people, 20, 3), nearest first."""
    return [_read(path) for path in paths]


def _read(path: Path) -> NDArray[np.float64]:
    try:
        text = read_regular(path, _MOST_BYTES).decode("ascii")
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) % (1 + JOINTS):
            raise ValueError(f"{len(lines)} lines are no whole number of skeletons of {1 + JOINTS}")
        if len(lines) > _MOST_PEOPLE * (1 + JOINTS):
            raise ValueError(f"{len(lines) // (1 + JOINTS)} people; at most {_MOST_PEOPLE} are read")
        people = np.zeros((0, JOINTS, 3))
        if lines:
            joints = [[float(value) for value in line.split(",")] for i, line in enumerate(lines) if i % (1 + JOINTS)]
            if any(len(joint) != 4 for joint in joints):
                raise ValueError("a joint has other than 4 values")
            people = np.array(joints).reshape(-1, JOINTS, 4)[..., :3]
    except OSError as error:
        raise MediaError(f"{path.name} cannot be read: {error.strerror}") from error
    except ValueError as error:  # UnicodeDecodeError too
        raise MediaError(f"{path.name} is not of the form of NW-UCLA's skeletons: {error}") from error
    people = people[people.any(axis=(1, 2))]
    return people[np.argsort(people[..., 2].mean(axis=1), kind="stable")]
