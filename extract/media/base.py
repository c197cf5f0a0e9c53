"""What every reader of media shares: what is asked for, what comes back, and how it can fail."""

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray


class MediaError(Exception):
    """Media that is on disk but cannot be used; the message is the reason a user reads."""


class NoMedia(Exception):
    """There turned out to be no media for this segment: no such stream, or nothing recorded at that time."""


@dataclasses.dataclass(frozen=True)
class VideoRequest:
    """`frames` pictures spread evenly over the segment, scaled so that the shorter side is `short_side` pixels."""

    frames: int
    short_side: int


@dataclasses.dataclass(frozen=True)
class AudioRequest:
    """Mono sound at `rate` Hz; of a segment longer than `max_seconds`, the middle."""

    rate: int
    max_seconds: float


@dataclasses.dataclass(frozen=True)
class ImuRequest:
    """`points` samples spread evenly over the segment, accelerometer and gyroscope interpolated by time."""

    points: int


MediaRequest = VideoRequest | AudioRequest | ImuRequest


@dataclasses.dataclass(frozen=True)
class Reading:
    """Media as an array: video (T, H, W, 3) uint8; audio (samples,) float32 in [-1, 1]; imu (points, 6) float32.

    `note` says what was mended on the way, if anything.
    """

    array: NDArray[np.generic]
    note: str | None = None


# A stream may end this much before the segment does without anything being wrong with it: containers round
# durations, and sound is cut to whole codec frames.
TOLERANCE_S = 0.15


def clamp(start_s: float, stop_s: float, duration_s: float | None, what: str) -> tuple[float, str | None]:
    """The stop of a segment within its media, and a note when that moved it; infinity is the media's end.

    Raises:
        MediaError: the segment lies wholly past the end.
    """
    if math.isinf(stop_s):
        if duration_s is None:
            raise MediaError(f"the {what} does not say how long it is; give the segment a stop")
        if start_s >= duration_s:
            raise MediaError(f"segment starts at {start_s:.2f} s, after the {what} ends ({duration_s:.2f} s)")
        return duration_s, None
    if duration_s is None or stop_s <= duration_s + 1e-3:
        return stop_s, None
    if start_s >= duration_s:
        raise MediaError(f"segment starts at {start_s:.2f} s, after the {what} ends ({duration_s:.2f} s)")
    return duration_s, f"segment ends {stop_s - duration_s:.2f} s past the {what}'s end; clamped"
