"""Open a media file with PyAV (FFmpeg), choose its stream, and put failures into words."""

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.format import Flags
from av.stream import Disposition

from mmcache.extract.media.base.limits import MAX_SAMPLES_A_FRAME, MAX_VIDEO_PIXELS
from mmcache.extract.media.base.requests import MediaError, NoMedia
from mmcache.store.files.user_file import open_regular
from mmcache.store.ground.text import printable

Stream = av.video.stream.VideoStream | av.audio.stream.AudioStream

# Decoders refuse larger frames and longer audio frames before they take memory for them.
_DECODER_LIMITS = {"max_pixels": str(MAX_VIDEO_PIXELS), "max_samples": str(MAX_SAMPLES_A_FRAME)}
# How files begin that hold no media, only the names of other files and addresses.
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD", b"v=0", b"[playlist]", b"[Reference]", b"<ASX", b"<asx")
FARTHEST = 1 << 62  # the largest timestamp to seek to; FFmpeg counts in 64 bits
NO_VIDEO = Disposition.attached_pic | Disposition.timed_thumbnails  # images that accompany a file: covers


def name_of(path: Path) -> str:
    """A file's name as messages show it: on one line, control characters visible."""
    return printable(path.name).replace("\n", "\\n").replace("\t", "\\t")


@contextlib.contextmanager
def open_container(path: Path) -> Iterator[InputContainer]:
    """Open `path` for reading. FFmpeg's errors, then or later, become MediaError.

    FFmpeg is handed an open file, never its name: in names it looks for addresses (`http:`, `concat:`, `12:30.mp4`) and
    for patterns (`%03d`). It may open nothing else, so that a playlist cannot make it read other files or connect.
    """
    name = name_of(path)
    try:
        with open_regular(path) as file:
            head = os.pread(file.fileno(), 16, 0)  # does not move where FFmpeg begins to read
            if not head:
                raise MediaError(f"{name} is empty (0 bytes)")
            handle = {"fd": str(file.fileno()), "protocol_whitelist": "fd"}
            titles = "replace"  # they may be in any encoding
            try:
                container = av.open(
                    "fd:", mode="r", container_options=handle, options=_DECODER_LIMITS, metadata_errors=titles
                )
            except av.error.FFmpegError as error:
                if head.removeprefix(b"\xef\xbb\xbf").startswith(_PLAYLISTS):
                    raise MediaError(
                        f"{name} is a playlist or description that names other files; these are not opened. "
                        "Give the video or audio file itself"
                    ) from error
                raise
            with container:
                yield container
    except FileNotFoundError as error:
        raise MediaError(f"{name} is not there") from error
    except av.error.InvalidDataError as error:
        raise MediaError(
            f"{name} cannot be decoded: damaged, cut off, or no media file (FFmpeg: {error.strerror})"
        ) from error
    except av.error.ArgumentError as error:  # what decoders say of a size beyond _DECODER_LIMITS
        raise MediaError(
            f"{name} cannot be read: damaged, or its frames have more than the {MAX_VIDEO_PIXELS:,} pixels that are "
            f"read (FFmpeg: {error.strerror})"
        ) from error
    except av.error.FFmpegError as error:
        raise MediaError(f"{name} cannot be read: damaged or cut off (FFmpeg: {error.strerror})") from error
    except OSError as error:
        raise MediaError(f"{name} cannot be read: {error.strerror}") from error


def video_stream(container: InputContainer, path: Path) -> av.video.stream.VideoStream:
    """The video of a file: its first video stream marked as default, else the first; a cover image is none.

    Raises:
        NoMedia: the file has no such stream.
        MediaError: FFmpeg has no decoder for it.
    """
    videos = [stream for stream in container.streams.video if not stream.disposition & NO_VIDEO]
    if not videos:
        only = ", only a cover image" if container.streams.video else ""
        raise NoMedia(f"{name_of(path)} has no video stream{only}")
    stream = min(videos, key=lambda stream: not stream.disposition & Disposition.default)
    _check_decodable(stream, path, "video stream")
    return stream


def audio_stream(container: InputContainer, path: Path) -> av.audio.stream.AudioStream:
    """The audio of a file: its first audio stream marked as default, else the first.

    Raises:
        NoMedia: the file has no such stream.
        MediaError: FFmpeg has no decoder for it.
    """
    if not container.streams.audio:
        raise NoMedia(f"{name_of(path)} has no audio stream")
    stream = min(container.streams.audio, key=lambda stream: not stream.disposition & Disposition.default)
    _check_decodable(stream, path, "audio stream")
    return stream


def _check_decodable(stream: Stream, path: Path, what: str) -> None:
    """Raise MediaError for a stream in a codec that FFmpeg has no decoder for: PyAV gives it no attributes at all."""
    if stream.codec_context is None:
        raise MediaError(f"{name_of(path)}: its {what} is in no codec that FFmpeg can decode")
    stream.codec_context.options = _DECODER_LIMITS


def has_timestamps(container: InputContainer) -> bool:
    """Whether the format has timestamps; raw .h264, .hevc and .m2v files have none."""
    no_timestamps: Any = Flags.no_timestamps  # PyAV's stub has another type for its value
    return not container.format.flags & no_timestamps.value


def is_avi(container: InputContainer) -> bool:
    """Whether the file is an AVI, which stores the decoding order of frames and no display times."""
    return container.format.name == "avi"


def origin_s(container: InputContainer) -> Fraction:
    """Where second 0 of a file lies on its streams' clocks: at its first frame or audio, whichever comes first.

    One origin for all streams, or video and audio would part where one begins later than the other. A start
    before 0 is audio codec's run-in, not content.
    """
    return max(Fraction(0), Fraction(container.start_time or 0, av.time_base))


def on_clock_of(path: Path, start_s: float, stop_s: float, zero_s: float) -> tuple[float, float, str | None]:
    """A segment on the clock of a file on which second 0 of the segments lies at `zero_s`, and a note when it had to
    be cut at the file's beginning.

    Raises:
        NoMedia: the segment ends before the file begins.
    """
    start_s, stop_s = start_s + zero_s, stop_s + zero_s
    if start_s >= 0:
        return start_s, stop_s, None
    if stop_s <= 0:
        raise NoMedia(f"{name_of(path)} begins {-stop_s:.2f} s after the segment ends")
    if start_s > -1e-3:
        return 0.0, stop_s, None
    return 0.0, stop_s, f"segment starts {-start_s:.2f} s before {name_of(path)} does; clamped"


def can_seek(container: InputContainer, stream: Stream, moment_s: float) -> bool:
    """Go to the last place before `moment_s` that decoding can start at; whether there is a way to it.

    Where there is none (raw FLAC of a single frame), the container has lost its place: open the file again. In a WAV
    whose audio is compressed (ADPCM, MP3) there is none either: FFmpeg would go by the average bit rate in its header,
    which is rounded, and be seconds off after an hour.
    """
    assert stream.time_base is not None
    if container.format.name in ("wav", "w64") and not stream.codec_context.name.startswith("pcm_"):
        return False
    try:
        moment = (Fraction(max(0.0, moment_s)) + origin_s(container)) / stream.time_base
        container.seek(min(int(moment), FARTHEST), stream=stream, backward=True)
    except av.error.PermissionError:  # FFmpeg's -1, "failed", is read as EPERM
        return False
    return True
