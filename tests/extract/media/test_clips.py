"""Files that hold a part of a longer video: segments are asked for on the clock of the whole."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcache.extract.media import AudioRequest, MediaError, NoMedia, VideoRequest, read_media
from mmcache.extract.media.base.source import Source

RATE = 25
SOUND = AudioRequest(rate=16000, max_seconds=10.0)


def clip(path: Path, kind: Any = "video") -> Source:
    """The clip's first frame is frame 3000 of the video, 30 a second: 100 s."""
    return Source(kind, (path,), rate=30.0, first=-3000.0)


def test_pictures_are_found_by_the_time_of_the_whole_video(
    tmp_path: Path, write_video: Callable[..., Path], numbers_of: Callable[[Any], list[int]]
) -> None:
    path = write_video(tmp_path / "clip.mp4", pictures=100)
    for first in (0, 13, 60, 95):
        start_s = 100 + first / RATE
        reading = read_media(clip(path), start_s + 0.001, start_s + 5 / RATE, VideoRequest(5, 48))
        assert numbers_of(reading.array) == list(range(first, first + 5))
        assert reading.note is None


def test_a_segment_that_begins_before_the_clip_is_cut_there_and_noted(
    tmp_path: Path, write_video: Callable[..., Path], numbers_of: Callable[[Any], list[int]]
) -> None:
    path = write_video(tmp_path / "clip.mp4", pictures=100)
    reading = read_media(clip(path), 99.0, 100.4, VideoRequest(10, 48))
    assert numbers_of(reading.array) == list(range(10))
    assert reading.note == "segment starts 1.00 s before clip.mp4 does; clamped"
    at_its_start = read_media(clip(path), 100.0 - 1e-9, 100.4, VideoRequest(10, 48))
    assert (numbers_of(at_its_start.array), at_its_start.note) == (list(range(10)), None)
    both = read_media(clip(path), 99.0, 105.0, VideoRequest(10, 48))
    assert both.note is not None
    assert "starts 1.00 s before clip.mp4 does; clamped; segment ends 1.00 s past the video's end" in both.note


def test_a_segment_outside_the_clip_is_not_recorded_there(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    path = write_video(tmp_path / "clip.mp4", pictures=100)
    with pytest.raises(NoMedia, match=r"clip\.mp4 begins 2\.00 s after the segment ends"):
        read_media(clip(path), 97.0, 98.0, VideoRequest(4, 48))
    with pytest.raises(MediaError, match=r"segment starts at 5\.00 s, after the video ends \(4\.00 s\)"):
        read_media(clip(path), 105.0, 106.0, VideoRequest(4, 48))


def test_sound_lies_at_the_time_of_the_whole_video(tmp_path: Path, write_sound: Callable[..., Path]) -> None:
    samples = np.zeros(4 * 16000)
    samples[32000:32160] = 0.5  # 2 s into the clip
    path = write_sound(tmp_path / "clip.wav", samples, 16000, "pcm_s16le", "wav")
    heard = read_media(clip(path, "audio"), 101.5, 102.5, SOUND).array
    assert np.flatnonzero(np.abs(heard) > 0.2)[0] == pytest.approx(8000, abs=2)
    early = read_media(clip(path, "audio"), 98.0, 102.5, SOUND)
    assert early.note == "segment starts 2.00 s before clip.wav does; clamped"
    assert np.flatnonzero(np.abs(early.array) > 0.2)[0] == pytest.approx(32000, abs=2)
