"""Skeletons of NTU RGB+D: one .skeleton text file a sample.

    frameCount
    for every frame       bodyCount, which may be 0
    for every body of it  bodyID and nine values of the tracker; jointCount, which is 25
    for every joint       x y z in metres, depthX depthY, colorX colorY, orientation w x y z, trackingState

all separated by white space (read_skeleton_file.m of github.com/shahroudy/NTURGB-D). The tracker loses people and finds
them again under another id, and it takes chairs for people. What is done about it follows the authors' FAQ there.
"""

import dataclasses
import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmcache.extract.media.base.requests import MediaError, NoMedia, Reading, SkeletonRequest
from mmcache.extract.media.skeletons.poses import MOST_POSES, Poses, spread_poses, without_nan
from mmcache.store.files.user_file import check_regular, read_regular
from mmcache.store.ground.text import excerpt

JOINTS = 25
_BODY_VALUES, _JOINT_VALUES = 10, 12
_MOST_DIGITS = 9  # of a count
_MOST_BYTES = 32 << 20  # of a file; the longest ones of the release have some 3 MB
# A body this wide for its height, in this share of its frames, is furniture, where there are others. The FAQ asks for
# such a filter; the numbers are those of the usual denoising of this data set (as in CTR-GCN, Chen et al., ICCV 2021).
_WIDE, _WIDE_SHARE = 0.8, 0.69754


@dataclasses.dataclass(frozen=True)
class _Recording:
    """The bodies of a file, those that move most first: each (T, 25, 3), 0 while not tracked."""

    bodies: tuple[Poses, ...]
    note: str | None


def read_ntu_skeleton(path: Path, request: SkeletonRequest) -> Reading:
    """Poses of the `request.bodies` bodies that move most, spread evenly over the file.

    The main actor is the body whose coordinates have the largest variance. A body that appears only while another one
    is out of sight continues it: ids change when tracking is lost.

    Returns:
        Reading of (frames, bodies, joints, 3) float32 in metres, 0 for absent people.

    Raises:
        NoMedia: the file has no bodies.
        MediaError: it is cut off or not of the form above.
    """
    try:
        stat = check_regular(path)
        recording = _parse(path, stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        raise MediaError(f"{path.name} cannot be read: {error.strerror}") from error
    people: list[Poses] = []
    left_out = 0
    for body in recording.bodies:
        seen = body.any(axis=(1, 2))
        free = next((i for i, person in enumerate(people) if not person[seen].any()), None)
        if free is not None:
            people[free] = people[free] + body
        elif len(people) < request.bodies:
            people.append(body)
        else:
            left_out += 1
    if not people:
        raise NoMedia(f"{path.name} has no frame with a body in it")
    more = f"{left_out} more bodies than the {request.bodies} that are taken" if left_out else None
    note = "; ".join(filter(None, [recording.note, more])) or None
    return Reading(spread_poses(np.stack(people, axis=1), request, path.name), note)


@functools.lru_cache(maxsize=8)  # the views of a segment read the same file
def _parse(path: Path, mtime_ns: int, size: int) -> _Recording:
    values = read_regular(path, _MOST_BYTES).split()
    try:
        tracks, frames, used = _tracks(values, path.name)
    except ValueError as error:
        raise MediaError(f"{path.name} is not of the form of NTU RGB+D's skeletons: {error}") from error
    if frames * len(tracks) > MOST_POSES:
        raise MediaError(
            f"{path.name} has {len(tracks)} bodies in {frames} frames; at most {MOST_POSES:,} poses are read of a file"
        )
    notes = [f"{len(values) - used} values after the last frame ignored" if used < len(values) else None]
    bodies: list[Poses] = []
    for track in tracks:
        body = np.zeros((frames, JOINTS, 3), np.float32)
        body[list(track)], note = without_nan(np.stack(list(track.values())), "joints")
        notes.append(note)
        if body.any():
            bodies.append(body)
    plausible = [body for body in bodies if not _is_wide(body)]
    if 0 < len(plausible) < len(bodies):
        notes.append(f"{len(bodies) - len(plausible)} bodies wider than high left out")
        bodies = plausible
    bodies.sort(key=_variance, reverse=True)  # stable: of equal ones the first in the file
    return _Recording(tuple(bodies), "; ".join(filter(None, notes)) or None)


def _tracks(values: list[bytes], name: str) -> tuple[list[dict[int, NDArray[np.float64]]], int, int]:
    """For every body: frame -> (25, 3); the number of frames; how many values they took."""
    tracks: dict[tuple[bytes, int], dict[int, NDArray[np.float64]]] = {}
    at = 0

    def count(what: str) -> int:
        nonlocal at
        if at >= len(values):
            raise EOFError
        if not values[at].isdigit() or len(values[at]) > _MOST_DIGITS:
            raise ValueError(f"{excerpt(values[at].decode('latin-1'), 40)} is no number of {what}")
        number = int(values[at])
        at += 1
        return number

    frames, frame = 0, 0
    try:
        frames = count("frames")
        for frame in range(frames):
            seen: dict[bytes, int] = {}
            for _ in range(count("bodies")):
                body = values[at] if at < len(values) else b""  # 64 bits: more than a float holds
                at += _BODY_VALUES
                joints = count("joints")
                if joints != JOINTS:
                    raise ValueError(f"a body of {joints} joints in frame {frame + 1}, not of {JOINTS}")
                block = values[at : at + JOINTS * _JOINT_VALUES]
                at += JOINTS * _JOINT_VALUES
                if at > len(values):
                    raise EOFError
                axes = [np.array(block[axis::_JOINT_VALUES]).astype(np.float64) for axis in range(3)]
                seen[body] = seen.get(body, 0) + 1
                tracks.setdefault((body, seen[body]), {})[frame] = np.stack(axes, axis=1)
    except EOFError:
        where = f"ends in frame {frame + 1} of {frames}" if frames else "is empty"
        raise MediaError(f"{name} is cut off: it {where}") from None
    return list(tracks.values()), frames, at


def _is_wide(body: Poses) -> bool:
    """Whether the joints spread too far in x, for how far they spread in y, for a body that stands or sits."""
    seen = body[body.any(axis=(1, 2))]
    width, height = (np.ptp(seen[:, :, axis], axis=1) for axis in (0, 1))
    return bool((width > _WIDE * height).mean() > _WIDE_SHARE)


def _variance(body: Poses) -> float:
    """The variances of x, y and z over all joints and the frames it is seen in, added up."""
    seen = body[body.any(axis=(1, 2))].astype(np.float64)
    return float(seen.reshape(-1, 3).var(axis=0).sum())
