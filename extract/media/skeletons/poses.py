"""Spread poses over a segment, and clean them; shared by the readers of skeletons.

Skeletons have no clock that could be relied on, and their frame counts differ from those of the frames by a few.
A file or folder is one segment, and poses are taken at evenly spread shares of it.
"""

import numpy as np
from numpy.typing import NDArray

from mmcache.extract.media.base.requests import MediaError, NoMedia, SkeletonRequest

Poses = NDArray[np.float32]
MOST_METRES = 50.0  # no depth sensor tracks bodies farther away
MOST_POSES = 1 << 20  # frames times bodies of a file; two hours of five people at 30 Hz have that many


def spread_poses(poses: Poses, request: SkeletonRequest, name: str) -> Poses:
    """Poses at `request.frames` evenly spread moments.

    Args:
        poses: (T, P, J, 3) of P people, the main actor first, 0 for absent people.
        name: of the file, for messages.

    Returns:
        (frames, bodies, joints, 3): people and joints that there are not are 0, people past `bodies` are left out.

    Raises:
        NoMedia: none of them has a person.
        MediaError: a body has more joints than the encoder takes, or lies farther away than MOST_METRES.
    """
    if not poses.any():
        raise NoMedia(f"{name} has no frame with a body in it")
    farthest = float(np.abs(poses).max())
    if farthest > MOST_METRES:
        raise MediaError(
            f"{name} has a joint at {farthest:.4g} m, and at most {MOST_METRES:g} m are possible: coordinates must be "
            "in metres"
        )
    frames, people, joints, _ = poses.shape
    if joints > request.joints:
        raise MediaError(f"{name} has {joints} joints a body; the encoder takes {request.joints} at most")
    low, high = request.part_of(0.0, 1.0)
    shares = low + (np.arange(request.frames) + 0.5) / request.frames * (high - low)
    taken = poses[(shares * frames).astype(int), : request.bodies]
    if not taken.any():
        raise NoMedia(f"{name} has no body in the {request.frames} frames that are read")
    out = np.zeros((request.frames, request.bodies, request.joints, 3), np.float32)
    out[:, : min(people, request.bodies), :joints] = taken
    return out


def without_nan(values: NDArray[np.floating], what: str) -> tuple[Poses, str | None]:
    """Coordinates (..., 3) with joints that are no numbers set to 0, and a note of how many those were."""
    wrong = ~np.isfinite(values).all(axis=-1)
    mended = np.where(wrong[..., None], 0, values).astype(np.float32)
    return mended, f"{int(wrong.sum())} {what} that are no numbers set to 0" if wrong.any() else None
