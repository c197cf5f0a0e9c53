"""When a stream of a media file ends.

Some containers hold an index of each stream, and what they declare is right; only MP4 counts until its last frame is
decoded, which may be seconds before it is shown, where frames are of unequal length and stored out of order. For
others FFmpeg divides the size by a
bit rate that it saw at the beginning (MP3, AAC, AMR), or has one length for all streams (Matroska, WebM, FLV). There
the last packets are read to find the end. A file that ends before the length in its own header is cut off: then that
length is given, and a reader finds less.
"""

import functools
import os
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer

from mmcache.extract.media.av.container import FARTHEST, NO_VIDEO, Stream, is_avi, open_container, origin_s
from mmcache.store.files.user_file import check_regular, open_regular

# Whose length of each stream is exact, as far as the file is whole.
_MP4 = "mov,mp4,m4a,3gp,3g2,mj2"
_INDEXED = frozenset((_MP4, "wav", "w64", "aiff", "au", "caf", "ogg", "flac", "wv", "tta", "ivf"))
_LONGEST_STREAM = frozenset(("matroska,webm", "flv"))  # whose header has the length of the longest stream
_CUT_S = 0.5  # a file may end this much before the length in its header: writers round and count differently
_BACK_S = (4.0, 60.0)  # how far before the supposed end its last packets are looked for; at last everywhere
_RIFF_UNKNOWN = 0x7FFFF000  # recorders write 0, or a size from here on, while they do not know the size yet
_MP3_TAGS = (b"Xing", b"Info", b"VBRI")


def stream_end_s(container: InputContainer, stream: Stream, path: Path) -> float | None:
    """When a stream ends, on the clock of `origin_s`; None if the file does not tell.

    Raises:
        MediaError: the file's end must be read for this, and cannot be read.
    """
    origin = origin_s(container)
    declared: Fraction | None = None
    if stream.duration is not None and stream.time_base is not None:
        declared = ((stream.start_time or 0) + stream.duration) * stream.time_base - origin
    if container.format.name in _INDEXED and declared is not None:
        if container.format.name != _MP4 or not _reorders(stream):
            return float(declared) * _promised(path)
        status = check_regular(path)
        return max(float(declared), _last_shown_end(path, stream.index, status.st_mtime_ns, status.st_size))
    whole = _declared_end_s(container, path)
    # The longest of one stream is its own.
    if whole is not None and container.format.name in _LONGEST_STREAM and len(container.streams) == 1:
        return whole - float(origin)
    status = check_regular(path)
    ends = _packets_end(path, status.st_mtime_ns, status.st_size)
    if stream.index not in ends:
        return None if declared is None else float(declared)
    if whole is not None and whole > max(ends.values()) + _CUT_S:
        return whole - float(origin)
    return (ends[stream.index] - float(origin)) * _promised(path)


def _reorders(stream: Stream) -> bool:
    """Whether frames are stored in another order than they are shown in."""
    return isinstance(stream, av.video.stream.VideoStream) and bool(stream.codec_context.has_b_frames)


def _declared_end_s(container: InputContainer, path: Path) -> float | None:
    """When the last stream ends by the file's header, counted from 0; None if the header does not tell."""
    known = container.format.name in _LONGEST_STREAM or (container.format.name == "mp3" and _has_length_tag(path))
    return container.duration / av.time_base if known and container.duration is not None else None


@functools.lru_cache(maxsize=64)
def _last_shown_end(path: Path, index: int, mtime_ns: int, size: int) -> float:
    """When the last frame of an MP4's stream ends, on the clock of `origin_s`; 0 where the file is cut off before.

    Args:
        mtime_ns, size: of the file, so that one that changed is read again.
    """
    with open_container(path) as container:
        stream = container.streams[index]
        assert isinstance(stream, av.video.stream.VideoStream)
        container.seek(FARTHEST, stream=stream)  # to the last key frame
        usual = float(1 / stream.average_rate) if stream.average_rate else 0.0
        ends = [0.0]
        for packet in container.demux(stream):
            if packet.pts is not None and packet.time_base is not None and not packet.is_discard:
                # The duration of a packet is the time to the next one that is decoded, which may be far.
                held_s = min(usual, float(packet.duration * packet.time_base)) if packet.duration else usual
                ends.append(float(packet.pts * packet.time_base - origin_s(container)) + held_s)
        return max(ends)


@functools.lru_cache(maxsize=64)
def _packets_end(path: Path, mtime_ns: int, size: int) -> dict[int, float]:
    """Index of a stream -> when the last of its packets ends, in seconds on its own clock.

    Args:
        mtime_ns, size: of the file, so that one that changed is read again.
    """
    for back_s in (*_BACK_S, None):
        with open_container(path) as container:
            supposed = (container.duration or 0) / av.time_base
            if back_s is not None and not _go_to(container, supposed - back_s):
                continue
            ends = _ends_from_here(container)
            videos = [stream for stream in container.streams.video if not stream.disposition & NO_VIDEO]
            media = [stream.index for stream in (*videos, *container.streams.audio)]
            late = max(ends.values(), default=0.0) >= supposed - _CUT_S
            if back_s is None or (late and all(index in ends for index in media)):
                return ends
    raise AssertionError("the last round returns")


def _go_to(container: InputContainer, moment_s: float) -> bool:
    """Whether there was a way to `moment_s`, counted from 0; there is no need for one before the beginning."""
    if moment_s <= 0:
        return False
    try:
        container.seek(min(int(moment_s * av.time_base), FARTHEST))
    except av.error.PermissionError:  # FFmpeg's -1, "failed", is read as EPERM
        return False
    return True


def _ends_from_here(container: InputContainer) -> dict[int, float]:
    ends: dict[int, float] = {}
    avi = is_avi(container)
    usual = {stream.index: float(1 / stream.average_rate) for stream in container.streams.video if stream.average_rate}
    for packet in container.demux():
        moment = packet.dts if avi else packet.pts  # AVI has no other time, and FFmpeg makes up a later one
        if moment is None or packet.time_base is None:
            continue
        duration = float(packet.duration * packet.time_base) if packet.duration else usual.get(packet.stream_index, 0.0)
        end = float(moment * packet.time_base) + duration
        ends[packet.stream_index] = max(end, ends.get(packet.stream_index, end))
    return ends


def _promised(path: Path) -> float:
    """How many times as much audio or video a WAV or AVI should hold by its header; 1 where it is whole."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(12)
        if head[:4] != b"RIFF":
            return 1.0
        begins, promised = 8, int.from_bytes(head[4:8], "little")  # of an AVI: all of the file
        while head[8:] == b"WAVE" and len(chunk := file.read(8)) == 8:
            begins, promised = file.tell(), int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"data":
                break
            file.seek(promised + promised % 2, os.SEEK_CUR)
    lacks = 0 < promised < _RIFF_UNKNOWN and begins + promised > size + 1  # one byte of padding may lack
    return promised / (size - begins) if lacks and size > begins else 1.0


def _has_length_tag(path: Path) -> bool:
    """Whether the first frame of an MP3 says how many follow."""
    with open_regular(path) as file:
        head = file.read(10)
        if head[:3] == b"ID3":  # titles come first; their size has seven bits a byte
            size = functools.reduce(lambda so_far, byte: so_far << 7 | byte & 0x7F, head[6:], 0)
            file.seek(len(head) + size)
            head = b""
        first = head + file.read(2048)
        return any(tag in first for tag in _MP3_TAGS)
