"""Sound of a segment, by timestamp, as mono samples of the wanted rate."""

from math import gcd
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from mmcache.extract.media.base import TOLERANCE_S, AudioRequest, MediaError, NoMedia, Reading, clamp
from mmcache.extract.media.container import (
    can_seek,
    check_decodable,
    on_clock_of,
    open_container,
    origin_s,
    stream_end_s,
)

_JITTER_S = 0.01  # Matroska rounds timestamps to 1 ms; what differs by less than this is no gap
_PREROLL_S = 0.1  # AAC and Opus need a little sound before a cut to decode it right


def read_audio(path: Path, start_s: float, stop_s: float, request: AudioRequest, zero_s: float = 0.0) -> Reading:
    """Decode the sound of [start_s, stop_s), mixed to mono and resampled.

    Samples are placed by their timestamps; a gap inside the stream is silence.

    Args:
        zero_s: where second 0 lies on the file's own clock; below 0 for a clip cut out of a longer video.

    Returns:
        Reading of (samples,) float32 in [-1, 1].

    Raises:
        NoMedia: the file has no audio stream.
        MediaError: it cannot be opened or decoded, or its sound ends before the segment does.
    """
    start_s, stop_s, early = on_clock_of(path, start_s, stop_s, zero_s)
    for from_start in (False, True):
        with open_container(path) as container:
            if not container.streams.audio:
                raise NoMedia(f"{path.name} has no audio stream")
            stream = container.streams.audio[0]
            check_decodable(stream, path, "sound")
            end_s, late = clamp(start_s, stop_s, stream_end_s(container, stream), "sound")
            low_s, high_s = _heard(start_s, end_s, request)
            if from_start or can_seek(container, stream, low_s - _PREROLL_S):
                samples, rate = _samples_of(container, stream, low_s, high_s, path.name), stream.rate
                break
    if not np.isfinite(samples).all():
        raise MediaError(f"the sound of {path.name} holds NaN or infinity")
    return Reading(resample(samples, rate, request.rate), "; ".join(filter(None, [early, late])) or None)


def _heard(start_s: float, stop_s: float, request: AudioRequest) -> tuple[float, float]:
    """The part of a segment that is asked for, or the middle of it when it is too long."""
    start_s, stop_s = request.part_of(start_s, stop_s)
    if stop_s - start_s > request.max_seconds:
        start_s = (start_s + stop_s - request.max_seconds) / 2
        stop_s = start_s + request.max_seconds
    return start_s, stop_s


def resample(samples: NDArray[np.float64], rate: int, wanted: int) -> NDArray[np.float32]:
    """(samples,) of one rate in Hz to another, polyphase with a low-pass filter."""
    divisor = gcd(rate, wanted)
    return resample_poly(samples, wanted // divisor, rate // divisor).astype(np.float32)


def _samples_of(
    container: av.container.InputContainer,
    stream: av.audio.stream.AudioStream,
    start_s: float,
    stop_s: float,
    name: str,
) -> NDArray[np.float64]:
    """(samples,) at the stream's own rate, from exactly start_s to stop_s; decodes from where the container is."""
    rate = stream.rate
    first, count = round(start_s * rate), max(1, round(stop_s * rate) - round(start_s * rate))
    out = np.zeros(count)
    heard_until = first
    expected: int | None = None  # where the next codec frame begins if nothing is missing
    to_float = av.AudioResampler(format="fltp")
    origin = origin_s(container)
    for frame in container.decode(stream):
        if frame.pts is None or frame.time_base is None:
            continue
        begin = round((frame.pts * frame.time_base - origin) * rate)
        if expected is not None and abs(begin - expected) < _JITTER_S * rate:
            begin = expected
        if begin >= first + count:
            return out  # the stream goes on: what was not heard before is a gap, and silence
        mono = np.concatenate([part.to_ndarray().mean(axis=0) for part in to_float.resample(frame)])
        expected = begin + len(mono)
        low, high = max(begin, first), min(begin + len(mono), first + count)
        if low < high:
            out[low - first : high - first] = mono[low - begin : high - begin]
            heard_until = max(heard_until, high)
    if heard_until == first or (first + count - heard_until) / rate > TOLERANCE_S:
        raise MediaError(
            f"{name} is cut off: its sound ends at {(expected or 0) / rate:.2f} s, the segment needs {stop_s:.2f} s"
        )
    return out
