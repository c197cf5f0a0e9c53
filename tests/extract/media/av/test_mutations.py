"""Damage of any kind to videos and sounds gives a reading of the right shape or a reason: no crash, hang or zeros."""

import io
import math
import resource
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mmcache.extract.media.av.audio import read_audio
from mmcache.extract.media.av.video import read_video
from mmcache.extract.media.base.requests import AudioRequest, MediaError, NoMedia, Reading, VideoRequest

MORE_BYTES = 1 << 30  # a reader may take so much memory beyond what it gives back
SECONDS = 10.0
X264 = {"preset": "ultrafast", "bf": "2", "threads": "1"}
FILMS: dict[str, tuple[str, dict[str, str], str]] = {  # codec, its options, container
    "mp4": ("libx264", X264, "mp4"),
    "mkv": ("libx264", X264, "matroska"),
    "webm": ("libvpx-vp9", {"cpu-used": "8"}, "webm"),
    "avi": ("mpeg4", {"bf": "2"}, "avi"),
    "ts": ("libx264", X264, "mpegts"),
    "flv": ("libx264", X264, "flv"),
    "h264": ("libx264", X264, "h264"),
}
SOUNDS: dict[str, tuple[str, str, str]] = {  # codec, layout, container
    "wav": ("pcm_s16le", "stereo", "wav"),
    "array": ("pcm_s16le", "9C", "wav"),
    "flac": ("flac", "5.1", "flac"),
    "mp3": ("libmp3lame", "stereo", "mp3"),
    "aac": ("aac", "stereo", "adts"),
    "m4a": ("aac", "mono", "mp4"),
    "ogg": ("libopus", "7.1", "ogg"),
    "wv": ("wavpack", "9C", "wv"),
}
EDITS = ("flip", "fill", "noise", "drop", "repeat", "cut")
edits = st.lists(
    st.tuples(
        st.sampled_from(EDITS),
        st.one_of(st.floats(0, 1), st.floats(0, 0.05), st.floats(0.95, 1)),  # where; headers and ends are special
        st.integers(1, 400),  # how many bytes
        st.sampled_from((0x00, 0x01, 0x7F, 0x80, 0xFF)),
    ),
    min_size=1,
    max_size=5,
)
spans = st.sampled_from(((0.0, math.inf), (0.0, math.inf), (0.2, 0.7), (0.9, 30.0), (1e6, 1e9)))


def damaged(content: bytes, changes: list[tuple[str, float, int, int]]) -> bytes:
    data = bytearray(content)
    for kind, share, length, value in changes:
        at = int(share * max(0, len(data) - 1))
        if kind == "flip" and data:
            data[at] ^= 1 << length % 8
        elif kind == "fill":  # a number in a header becomes the largest, the smallest, zero
            data[at : at + min(length, 1 << length % 4)] = bytes([value]) * min(length, 1 << length % 4)
        elif kind == "noise":
            data[at : at + length] = np.random.default_rng(length).bytes(length)
        elif kind == "drop":
            del data[at : at + length]
        elif kind == "repeat":
            data[at:at] = data[at : at + length]
        elif kind == "cut":
            del data[at:]
    return bytes(data)


def film(codec: str, options: dict[str, str], form: str) -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format=form) as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", 8
        for i in range(25):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 40 + 8 * i, np.uint8), format="rgb24")
            picture.pts, picture.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return out.getvalue()


def sound(codec: str, layout: str, form: str) -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format=form) as container:
        stream = container.add_stream(codec, rate=48000, layout=layout)
        samples = 0.3 * np.sin(np.arange(48000) / 9)
        samples = np.repeat(samples[:, None], av.AudioLayout(layout).nb_channels, axis=1).astype(np.float32)
        for start in range(0, len(samples), 1024):
            part = samples[start : start + 1024].reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), "flt", layout)
            frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return out.getvalue()


@pytest.fixture(scope="module")
def contents() -> dict[str, bytes]:
    made = {name: film(*how) for name, how in FILMS.items()} | {name: sound(*how) for name, how in SOUNDS.items()}
    out = io.BytesIO()
    pictures = [Image.new("L", (64, 48), 40 + 8 * i) for i in range(25)]
    pictures[0].save(out, "GIF", save_all=True, append_images=pictures[1:], duration=40)
    return made | {"gif": out.getvalue()}


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def read_within_bounds(read: Callable[[], Reading]) -> Reading | None:
    """What a reader gives, or None where it has a reason."""
    before, began = peak_bytes(), time.process_time()
    reading, reason = None, "none"
    try:
        reading = read()
    except (MediaError, NoMedia) as error:
        reason = str(error)
    assert time.process_time() - began < SECONDS
    assert peak_bytes() - before < MORE_BYTES
    assert reason
    assert len(reason) < 400
    assert "Error" not in reason
    return reading


@pytest.mark.parametrize("name", [*FILMS, "gif"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=edits, span=spans)
def test_a_damaged_film_gives_pictures_or_a_reason(
    name: str, changes: Any, span: tuple[float, float], contents: dict[str, bytes], tmp_path: Path
) -> None:
    path = tmp_path / f"damaged.{name}"
    path.write_bytes(damaged(contents[name], changes))
    reading = read_within_bounds(lambda: read_video(path, *span, VideoRequest(8, 48)))
    if reading is not None:
        assert reading.array.shape[0] == 8
        assert min(reading.array.shape[1:3]) == 48
        assert reading.array.shape[3] == 3
        assert reading.array.dtype == np.uint8


@pytest.mark.parametrize("name", SOUNDS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=edits, span=spans)
def test_a_damaged_sound_gives_samples_or_a_reason(
    name: str, changes: Any, span: tuple[float, float], contents: dict[str, bytes], tmp_path: Path
) -> None:
    path = tmp_path / f"damaged.{name}"
    path.write_bytes(damaged(contents[name], changes))
    reading = read_within_bounds(lambda: read_audio(path, *span, AudioRequest(16000, 10.0)))
    if reading is not None:
        assert reading.array.ndim == 1
        assert 0 < len(reading.array) <= 160_001
        assert reading.array.dtype == np.float32
        assert np.isfinite(reading.array).all()
        assert reading.array.any() or reading.note, "silence without a word"


def test_the_files_are_whole_before_they_are_damaged(contents: dict[str, bytes], tmp_path: Path) -> None:
    for name, content in contents.items():
        path = tmp_path / f"whole.{name}"
        path.write_bytes(content)
        if name in SOUNDS:
            assert np.abs(read_audio(path, 0.0, math.inf, AudioRequest(16000, 10.0)).array).max() > 0.2
        else:
            light = read_video(path, 0.0, math.inf, VideoRequest(25, 48)).array.mean(axis=(1, 2, 3))
            np.testing.assert_allclose(light, 40 + 8 * np.arange(25), atol=7)


@pytest.mark.parametrize("size", [(60000, 60000), (65500, 700), (30000, 1)], ids=str)
def test_sizes_that_no_picture_has_are_refused_before_memory_is_taken(
    size: tuple[int, int], contents: dict[str, bytes], tmp_path: Path
) -> None:
    path = tmp_path / "a.gif"
    small = contents["gif"]
    path.write_bytes(small[:6] + size[0].to_bytes(2, "little") + size[1].to_bytes(2, "little") + small[10:])
    before = peak_bytes()
    with pytest.raises(MediaError, match=r"a\.gif.*(36,000,000|at most 32 times)"):
        read_video(path, 0.0, math.inf, VideoRequest(8, 48))
    assert peak_bytes() - before < MORE_BYTES // 4
