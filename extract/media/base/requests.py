"""The interface of all readers of media: requests, readings and errors."""

import dataclasses
import enum
import math

import numpy as np
from numpy.typing import NDArray


class MediaError(Exception):
    """Media on disk that cannot be used; the message is the reason shown to the user."""


class NoMedia(Exception):
    """The segment has no media: the file lacks such a stream, or nothing was recorded at that time."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MediaRequest:
    """The media that an encoder requests for a segment.

    `part` is the share of the segment to read, 0 being its start and 1 its stop: all of it, except for augmented views.
    """

    part: tuple[float, float] = (0.0, 1.0)

    def part_of(self, start_s: float, stop_s: float) -> tuple[float, float]:
        """The part of [start_s, stop_s) in seconds; both finite."""
        low, high = self.part
        return (start_s + low * (stop_s - start_s), start_s + high * (stop_s - start_s))


@dataclasses.dataclass(frozen=True)
class VideoRequest(MediaRequest):
    """`frames` frames spread evenly over the segment, scaled so that the shorter side is `short_side` pixels."""

    frames: int
    short_side: int


@dataclasses.dataclass(frozen=True)
class AudioRequest(MediaRequest):
    """Mono audio at `rate` Hz; of a segment longer than `max_seconds`, the middle."""

    rate: int
    max_seconds: float


@dataclasses.dataclass(frozen=True)
class ImuRequest(MediaRequest):
    """`points` samples spread evenly over the segment, accelerometer and gyroscope interpolated by time."""

    points: int


@dataclasses.dataclass(frozen=True)
class SkeletonRequest(MediaRequest):
    """`frames` poses spread evenly over the segment, of up to `bodies` people with up to `joints` joints."""

    frames: int
    bodies: int
    joints: int


@dataclasses.dataclass(frozen=True)
class BoxesRequest(MediaRequest):
    """The boxes of `frames` frames spread evenly over the segment: at most `boxes` a frame, the surest first.

    Detections that score less than `min_score` are left out; annotated boxes score 1.
    """

    frames: int
    boxes: int
    min_score: float


class BoxCategory(enum.IntEnum):
    """The category of a box."""

    HAND = 1
    OBJECT = 2


@dataclasses.dataclass(frozen=True)
class Reading:
    """Media as an array, and a note about what was corrected while reading, if anything.

    video      (frames, H, W, 3) uint8; flow, depth and infrared too are frames
    audio      (samples,) float32 in [-1, 1]
    imu        (points, 6) float32: accelerometer in m/s^2, gyroscope in rad/s
    skeleton   (frames, bodies, joints, 3) float32 in metres; the main actor first, 0 for absent people
    boxes      (frames, boxes, 6) float32: x1, y1, x2, y2 as shares of the frame, category, score; the category
               is 0 without a box, else a BoxCategory
    """

    array: NDArray[np.generic]
    note: str | None = None


# A stream may end this much before the segment does without anything being wrong with it: containers round
# durations, and audio is cut to whole codec frames.
TOLERANCE_S = 0.15


def clamp(start_s: float, stop_s: float, duration_s: float | None, what: str) -> tuple[float, str | None]:
    """The stop of a segment within its media, and a note when that moved it; infinity is the media's end.

    Raises:
        MediaError: the segment lies wholly past the end.
    """
    if duration_s is not None and duration_s <= 0:
        raise MediaError(f"there is nothing in the {what}: it declares a length of {duration_s:.2f} s")
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
