"""Decoded frames of a video with the time at which each comes on screen.

AVI stores no display times, only the order of decoding: FFmpeg makes up times that are one to
three frames late and out of order. Decoders give frames in the order in which they are shown, so the n-th one is
given the n-th time of the coded ones.
"""

from collections.abc import Iterator
from fractions import Fraction

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from mmcache.extract.media.av.container import FARTHEST, is_avi, origin_s

_BEFORE_ALL_S = 3600.0
_SEEK_BACK_S = (0.0, 1.0, 8.0, 64.0)  # how far before a moment a seek is tried; at last from the beginning
_REORDERED = 17  # codecs hold back at most 16 frames to bring them into order

Timed = Iterator[tuple[av.VideoFrame, float]]


def frames_from(container: InputContainer, stream: VideoStream, moment_s: float) -> Timed:
    """Decoded frames with their times; the first is not later than `moment_s`, if such a frame exists.

    A seek may land too late: before a key frame there can be frames that need the one before it (open GOP), and
    transport streams are sought by guessing. Then it is tried again from further back.
    """
    decode_from = _decode_avi_from if is_avi(container) else _decode_from
    for back_s in (*_SEEK_BACK_S, None):
        frames = decode_from(container, stream, -_BEFORE_ALL_S if back_s is None else max(0.0, moment_s - back_s))
        first = next(frames, None)
        if first is None and back_s == 8.0 < moment_s:
            return  # nothing for so long: the file is cut off, and what lies before would be decoded in vain
        if back_s is None or (first is not None and first[1] <= moment_s):
            if first is not None:
                yield first
            yield from frames
            return


def _seek(container: InputContainer, stream: VideoStream, start_s: float) -> None:
    assert stream.time_base is not None
    moment = (Fraction(start_s) + origin_s(container)) / stream.time_base
    try:
        container.seek(min(int(moment), FARTHEST), stream=stream, backward=True)
    except av.error.PermissionError:  # FFmpeg's -1, "failed": FLV finds nothing before its beginning
        container.seek(0)


def _decode_from(container: InputContainer, stream: VideoStream, start_s: float) -> Timed:
    time_base, origin = stream.time_base, origin_s(container)
    assert time_base is not None
    _seek(container, stream, start_s)
    for frame in container.decode(stream):
        if frame.pts is not None:
            yield frame, float(frame.pts * time_base - origin)  # exact until here: moments may fall on a boundary


def _decode_avi_from(container: InputContainer, stream: VideoStream, start_s: float) -> Timed:
    time_base, origin = stream.time_base, origin_s(container)
    assert time_base is not None
    left_out = _left_out(container, stream, start_s) if stream.codec_context.has_b_frames else 0
    _seek(container, stream, start_s)
    coded: list[int] = []  # when frames are decoded, which ascends
    shown, waiting = left_out, list[av.VideoFrame]()
    for packet in container.demux(stream):
        if packet.size and packet.dts is not None:
            coded.append(packet.dts)
        waiting.extend(packet.decode())
        while waiting and shown < len(coded):
            yield waiting.pop(0), float(coded[shown] * time_base - origin)
            shown += 1


def _left_out(container: InputContainer, stream: VideoStream, start_s: float) -> int:
    """How many frames the decoder leaves out when it begins at `start_s`: those before the first key frame that is
    found there, which need a frame from before it (open GOP)."""
    _seek(container, stream, start_s)
    stream.codec_context.copy_opaque = True  # a decoded frame carries the number of the coded one it comes from
    given, fed = set[object](), 0
    for packet in container.demux(stream):
        if packet.size and packet.dts is not None:
            packet.opaque, fed = fed, fed + 1
        given.update(frame.opaque for frame in packet.decode())
        if fed >= 2 * _REORDERED:
            break
    return sum(number not in given for number in range(min(fed, _REORDERED)))
