"""Audio of a segment, by timestamp, as mono samples of the wanted rate.

All channels count alike in the mix to mono, whatever their layout: their mean, as librosa and torchaudio have it. The
only other case is sound that its file calls ambisonic: there channel 0 (W) is the sound of all directions.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.plane import AudioPlane
from numpy.typing import NDArray
from scipy.signal import resample_poly

from mmcache.extract.media.av.container import audio_stream, can_seek, name_of, on_clock_of, open_container, origin_s
from mmcache.extract.media.av.stream_lengths import stream_end_s
from mmcache.extract.media.base.limits import check_audio
from mmcache.extract.media.base.requests import TOLERANCE_S, AudioRequest, MediaError, NoMedia, Reading, clamp

_JITTER_S = 0.01  # Matroska rounds timestamps to 1 ms; smaller differences are no gaps
_PREROLL_S = 0.1  # AAC and Opus need a little audio before a cut to decode it right
_LOUDEST = 64.0  # times full scale; louder are files of floats that were not scaled to [-1, 1], or damage
_FINEST_RATIO = 48_000  # of rates: the filter that resamples has 20 coefficients for each of these
# Sample format of FFmpeg -> dtype, the value of silence, and that of full scale. Formats of planes end in p.
_FORMATS = {
    "u8": ("u1", 128, 128),
    "s16": ("i2", 0, 1 << 15),
    "s32": ("i4", 0, 1 << 31),
    "s64": ("i8", 0, 1 << 63),
    "flt": ("f4", 0, 1),
    "dbl": ("f8", 0, 1),
}


def read_audio(path: Path, start_s: float, stop_s: float, request: AudioRequest, zero_s: float = 0.0) -> Reading:
    """Decode the audio of [start_s, stop_s), mixed to mono and resampled.

    Samples are placed by their timestamps. A part of the segment without audio in the file becomes silence; the note
    says how much.

    Args:
        zero_s: where second 0 lies on the file's own clock; below 0 for a clip cut out of a longer video.

    Returns:
        Reading of (samples,) float32 in [-1, 1].

    Raises:
        NoMedia: the file has no audio stream, or no audio at that time.
        MediaError: it cannot be opened or decoded, its audio ends before the segment does, or it is no audio: absurd
            rates, NaN, levels far beyond full scale.
    """
    start_s, stop_s, early = on_clock_of(path, start_s, stop_s, zero_s)
    for from_start in (False, True):
        with open_container(path) as container:
            stream = audio_stream(container, path)
            check_audio(stream.rate, stream.channels, name_of(path))
            end_s, late = clamp(start_s, stop_s, stream_end_s(container, stream, path), "audio")
            low_s, high_s = part_to_read(start_s, end_s, request)
            if from_start or can_seek(container, stream, low_s - _PREROLL_S):
                samples, gaps = _samples_of(container, stream, low_s, high_s, name_of(path))
                rate = stream.rate
                break
    check_level(samples, f"the audio of {name_of(path)}")
    silent = silence_note(samples)
    return Reading(resample(samples, rate, request.rate), "; ".join(filter(None, [early, gaps, silent, late])) or None)


def part_to_read(start_s: float, stop_s: float, request: AudioRequest) -> tuple[float, float]:
    """The part of a segment that is asked for, or the middle of it when it is too long."""
    start_s, stop_s = request.part_of(start_s, stop_s)
    if stop_s - start_s > request.max_seconds:
        start_s = (start_s + stop_s - request.max_seconds) / 2
        stop_s = start_s + request.max_seconds
    return start_s, stop_s


def check_level(samples: NDArray[np.floating], what: str) -> None:
    """Raise MediaError for samples that are not finite, or so far beyond full scale that they were never in [-1, 1]."""
    peak = float(np.abs(samples).max(initial=0.0))
    if not np.isfinite(peak):
        raise MediaError(f"{what} holds NaN or infinity")
    if peak > _LOUDEST:
        raise MediaError(
            f"{what} reaches {peak:.4g}; full scale is 1, and at most {_LOUDEST:g} is read. Divide its samples by what "
            "full scale was when they were written (32768 for 16 bits)"
        )


def silence_note(samples: NDArray[np.floating]) -> str | None:
    """The note for silent audio."""
    return None if samples.any() else "the audio is silent: every sample is 0"


def resample(samples: NDArray[np.float64], rate: int, wanted: int) -> NDArray[np.float32]:
    """(samples,) of one rate in Hz to another, polyphase with a low-pass filter.

    Rates above 48 kHz that have no common divisor are brought to the closest ratio of smaller numbers, which moves a
    sample by less than a millionth of its time.
    """
    ratio = Fraction(wanted, rate).limit_denominator(_FINEST_RATIO)
    return resample_poly(samples, ratio.numerator, ratio.denominator).astype(np.float32)


def _samples_of(
    container: av.container.InputContainer,
    stream: av.audio.stream.AudioStream,
    start_s: float,
    stop_s: float,
    name: str,
) -> tuple[NDArray[np.float64], str | None]:
    """(samples,) at the stream's own rate, from exactly start_s to stop_s, and a note of what has no sound there.

    Decodes from where the container is.
    """
    rate = stream.rate
    first, count = round(start_s * rate), max(1, round(stop_s * rate) - round(start_s * rate))
    out = np.zeros(count)
    heard, heard_until = 0, first
    expected: int | None = None  # where the next codec frame begins if nothing is missing
    origin = origin_s(container)
    goes_on = damaged = False
    for frame in _frames(container, stream):
        if frame is None:
            damaged = True
            continue
        if frame.sample_rate != rate:
            raise MediaError(f"{name} changes its sampling rate from {rate} to {frame.sample_rate} Hz")
        if frame.pts is not None and frame.time_base is not None:
            begin = round((frame.pts * frame.time_base - origin) * rate)
            if expected is not None and abs(begin - expected) < _JITTER_S * rate:
                begin = expected
        elif expected is not None:
            begin = expected  # of the frames that one packet holds (ADPCM, WMA), only the first has a time
        else:
            continue
        if begin >= first + count:
            goes_on = True
            break
        mono = _mono(frame, name)
        expected = begin + len(mono)
        low, high = max(begin, first), min(begin + len(mono), first + count)
        if low < high:
            out[low - first : high - first] = mono[low - begin : high - begin]
            heard += max(0, high - max(low, heard_until))
            heard_until = max(heard_until, high)
    if not goes_on and (not heard or (first + count - heard_until) / rate > TOLERANCE_S):
        ends = f"its audio ends at {expected / rate:.2f} s" if expected else f"it has no audio from {start_s:.2f} s on"
        raise MediaError(f"{name} is cut off: {ends}, the segment needs {stop_s:.2f} s")
    missing_s = (count - heard) / rate
    if damaged and missing_s > TOLERANCE_S:
        raise MediaError(f"{name} cannot be decoded: damaged, {missing_s:.2f} s of the segment's audio are lost")
    if not heard:
        raise NoMedia(f"{name} has no audio from {start_s:.2f} to {stop_s:.2f} s: there is a gap in it")
    if missing_s > TOLERANCE_S or (damaged and missing_s > 0):
        why = "cannot be decoded" if damaged else "have no audio in the file"
        return out, f"{missing_s:.2f} s {why}; silence stands in"
    return out, None


def _frames(
    container: av.container.InputContainer, stream: av.audio.stream.AudioStream
) -> Iterator[av.AudioFrame | None]:
    """Decoded frames of audio, and None for each packet that cannot be decoded.

    Damage is not the only cause: after a seek the first packet may be the rest of one.
    """
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            yield None
            continue
        yield from frames


def _mono(frame: av.AudioFrame, name: str) -> NDArray[np.floating]:
    """(samples,) of a frame, in [-1, 1].

    Planes are taken one by one: PyAV's own list of them runs over its end from 8 channels on, and crashes.
    """
    channels = frame.layout.nb_channels
    check_audio(frame.sample_rate, channels, name)
    dtype, silence, full = _FORMATS[frame.format.packed.name]
    if frame.format.is_planar:
        planes = [_plane(frame, i, dtype, frame.samples) for i in range(channels)]
    else:
        planes = list(_plane(frame, 0, dtype, frame.samples * channels).reshape(-1, channels).T)
    if frame.layout.name.startswith("ambisonic"):
        planes = planes[:1]
    # Audio of single floats, which AAC and most others decode to, is averaged as such: its tokens keep their bits.
    total: NDArray[Any] = np.zeros(frame.samples, np.float32 if dtype == "f4" else np.float64)
    for plane in planes:
        total += plane
    return (total / len(planes) - silence) / full


def _plane(frame: av.AudioFrame, index: int, dtype: str, count: int) -> NDArray[Any]:
    buffer: Any = AudioPlane(frame, index)  # PyAV's stub does not say that it is one
    return np.frombuffer(buffer, dtype, count)
