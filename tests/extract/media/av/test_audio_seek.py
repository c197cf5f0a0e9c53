"""Files of audio that FFmpeg finds no way into: they are decoded from their beginning."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from mmcache.extract.media.av.audio import read_audio
from mmcache.extract.media.base.requests import AudioRequest, MediaError

REQUEST = AudioRequest(rate=16000, max_seconds=10.0)


def ramp(seconds: float, rate: int = 16000) -> NDArray[np.float64]:
    """Audio whose value is its time: 0.03 a second."""
    return 0.03 * np.arange(round(seconds * rate)) / rate


def seek_fails(path: Path) -> bool:
    with av.open(str(path)) as container:
        try:
            container.seek(0, stream=container.streams.audio[0])
        except av.error.PermissionError:
            return True
    return False


@pytest.mark.parametrize(("seconds", "hard"), [(0.05, True), (1.0, False), (30.0, False)])
def test_raw_flac_of_any_length(seconds: float, hard: bool, tmp_path: Path, write_sound: Callable[..., Path]) -> None:
    """A single codec frame leaves FFmpeg nothing to seek by: it says "Operation not permitted"."""
    sound = ramp(seconds)
    path = write_sound(tmp_path / "a.flac", sound, 16000, "flac", "flac")
    assert seek_fails(path) is hard
    for low, high in ((0.0, 0.3), (0.2, 0.5), (0.75, 1.0)):
        reading = read_audio(path, low * seconds, high * seconds, REQUEST)
        expected = sound[round(low * len(sound)) : round(high * len(sound))]
        np.testing.assert_allclose(reading.array, expected, atol=1e-3)
        assert reading.note is None


def test_past_the_end_is_an_error_here_too(tmp_path: Path, write_sound: Callable[..., Path]) -> None:
    path = write_sound(tmp_path / "a.flac", ramp(0.05), 16000, "flac", "flac")
    with pytest.raises(MediaError, match=r"segment starts at 0\.50 s, after the audio ends \(0\.05 s\)"):
        read_audio(path, 0.5, 0.6, REQUEST)
    reading = read_audio(path, 0.025, 0.65, REQUEST)
    assert reading.note == "segment ends 0.60 s past the audio's end; clamped"
    np.testing.assert_allclose(reading.array, ramp(0.05)[400:], atol=1e-3)
