"""Audio of any number of channels: array microphones, surround and ambisonics too become one channel."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from mmcache.extract.media.av.audio import read_audio
from mmcache.extract.media.base.requests import AudioRequest

RATE = 48000
REQUEST = AudioRequest(rate=16000, max_seconds=10.0)
# layout, codec, container, options of the encoder. Decoders give wavpack, aac and opus as planes, others interleaved.
FORMS = [
    ("mono", "pcm_f32le", "wav", {}),
    ("stereo", "pcm_f64le", "caf", {}),
    ("5.1", "aac", "mp4", {"b": "400000"}),
    ("7.1", "aac", "mp4", {"b": "400000"}),
    ("7.1", "flac", "flac", {}),
    ("9C", "pcm_s16le", "wav", {}),
    ("9C", "pcm_u8", "wav", {}),
    ("9C", "wavpack", "wv", {}),
    ("16C", "pcm_s24le", "wav", {}),
    ("16C", "wavpack", "wv", {}),
    ("16C", "libopus", "ogg", {"mapping_family": "255", "b": "1500000"}),
    ("32C", "pcm_f32le", "wav", {}),
    ("32C", "wavpack", "wv", {}),
    ("64C", "pcm_s32le", "wav", {}),
]


def write(
    path: Path, samples: NDArray[np.floating], layout: str, codec: str, form: str, options: dict[str, str]
) -> Path:
    """(channels, n) as the only stream of a file."""
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, rate=RATE, layout=layout, options=options)
        for start in range(0, samples.shape[1], 1024):
            part = samples[:, start : start + 1024].T.reshape(1, -1).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), "flt", layout)
            frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def tone(frequency: float, loudness: float) -> NDArray[np.float64]:
    return loudness * np.sin(2 * np.pi * frequency * np.arange(RATE) / RATE)


def loudness_at(samples: NDArray[np.generic], frequency: int) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) / len(samples) * 4
    return float(spectrum[round(frequency * len(samples) / REQUEST.rate)])


@pytest.mark.parametrize(("layout", "codec", "form", "options"), FORMS, ids=lambda value: str(value) if value else "-")
def test_every_channel_counts_alike_in_the_mix(
    layout: str, codec: str, form: str, options: dict[str, str], tmp_path: Path
) -> None:
    """A tone on the last channel alone and another one on all: the mean has a share of the first, all of the second."""
    channels = av.AudioLayout(layout).nb_channels
    samples = np.tile(tone(150, 0.2), (channels, 1))
    samples[-1] += tone(600, 0.5)
    path = write(tmp_path / f"a.{form}", samples, layout, codec, form, options)
    reading = read_audio(path, 0.2, 0.8, REQUEST)
    assert reading.array.shape == (9600,)
    assert reading.note is None
    assert loudness_at(reading.array, 150) == pytest.approx(0.2, rel=0.02)
    assert loudness_at(reading.array, 600) == pytest.approx(0.5 / channels, rel=0.03, abs=1e-3)


@pytest.mark.parametrize(("order", "channels"), [(1, 4), (3, 16)])
def test_of_ambisonics_the_sound_of_all_directions_is_taken(order: int, channels: int, tmp_path: Path) -> None:
    """Channel 0 (W). The others say from where audio comes; the mean with them would be that of one direction."""
    samples = np.tile(tone(1000, 0.3), (channels, 1))
    samples[0] = tone(300, 0.5)
    options = {"mapping_family": "2", "b": "1000000"}
    path = write(tmp_path / "a.ogg", samples, f"ambisonic {order}", "libopus", "ogg", options)
    heard = read_audio(path, 0.2, 0.8, REQUEST).array
    assert loudness_at(heard, 300) == pytest.approx(0.5, rel=0.02)
    assert loudness_at(heard, 1000) < 0.005
