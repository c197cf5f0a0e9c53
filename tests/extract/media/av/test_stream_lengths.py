"""Where streams end: by an index, or by their last packets where a declared length is a guess or another stream's."""

import math
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from mmcache.extract.media.av.audio import read_audio
from mmcache.extract.media.av.video import read_video
from mmcache.extract.media.base.requests import AudioRequest, MediaError, VideoRequest

RATE = 44100
SECONDS = 20.0
REQUEST = AudioRequest(rate=16000, max_seconds=100.0)
# What is quiet first takes fewer bits a second than the rest: a length by the bit rate of the beginning is far off.
# (codec, container, its rate, options of the encoder, of the container)
GUESSED: dict[str, tuple[str, str, int, dict[str, str], dict[str, str]]] = {
    "MP3 without a length": (
        "libmp3lame",
        "mp3",
        RATE,
        {"flags": "+qscale", "global_quality": "472"},
        {"write_xing": "0"},
    ),
    "raw AAC": ("aac", "adts", RATE, {"b": "96000"}, {}),
    "AMR": ("libopencore_amrnb", "amr", 8000, {"b": "12200"}, {}),
    "AC-3": ("ac3", "ac3", 48000, {}, {}),
}
KNOWN: dict[str, tuple[str, str, int, dict[str, str], dict[str, str]]] = {
    "MP3": ("libmp3lame", "mp3", RATE, {"flags": "+qscale", "global_quality": "472"}, {}),
    "Matroska": ("aac", "matroska", RATE, {}, {}),
    "AVI": ("pcm_s16le", "avi", RATE, {}, {}),
    "WAV": ("pcm_s16le", "wav", RATE, {}, {}),
    "AIFF": ("pcm_s16be", "aiff", RATE, {}, {}),
    "FLAC": ("flac", "flac", RATE, {}, {}),
    "FLV": ("aac", "flv", RATE, {}, {}),
}
OTHER: dict[str, tuple[str, str, int, dict[str, str], dict[str, str]]] = {
    "Ogg": ("libopus", "ogg", 48000, {}, {}),
    "MPEG-TS": ("mp2", "mpegts", 48000, {}, {}),
    "MPEG-PS": ("mp2", "mpeg", 48000, {}, {}),
    "ASF": ("wmav2", "asf", RATE, {"b": "128000"}, {}),
    "NUT": ("pcm_s16le", "nut", RATE, {}, {}),
    "CAF": ("pcm_s16le", "caf", RATE, {}, {}),
    "M4A": ("aac", "mp4", RATE, {}, {"movflags": "faststart"}),
    "fragments": ("aac", "mp4", RATE, {}, {"movflags": "frag_keyframe+empty_moov+default_base_moof"}),
}


def write(folder: Path, form: tuple[str, str, int, dict[str, str], dict[str, str]]) -> Path:
    """Near silence with a burst in its last second."""
    codec, container_form, rate, options, muxer = form
    t = np.arange(round(SECONDS * rate)) / rate
    samples = 0.001 * np.sin(2 * np.pi * 200 * t)
    noise = np.random.default_rng(0).normal(0, 0.1, len(t))
    samples = np.where(t > 5, noise, samples)
    samples = np.where(np.abs(t - (SECONDS - 0.5)) < 0.02, 0.9 * np.sin(2 * np.pi * 1000 * t), samples * (t < 18))
    path = folder / f"a.{container_form}"
    with av.open(str(path), "w", format=container_form, options=muxer) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono", options=options)
        for start in range(0, len(samples), 1024):
            part = np.ascontiguousarray(samples[None, start : start + 1024].astype(np.float32))
            frame = av.AudioFrame.from_ndarray(part, "flt", "mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def loudest_s(samples: Any) -> float:
    """The middle of the burst, in seconds."""
    loud = np.flatnonzero(np.abs(samples) > 0.6)
    return float(loud.mean()) / REQUEST.rate


@pytest.mark.parametrize("name", [*GUESSED, *KNOWN, *OTHER])
def test_all_of_a_file_is_read_and_nothing_is_called_cut_off(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, {**GUESSED, **KNOWN, **OTHER}[name])
    whole = read_audio(path, 0.0, math.inf, REQUEST)
    assert whole.note is None
    assert len(whole.array) / REQUEST.rate == pytest.approx(SECONDS, abs=0.08)  # codecs have whole frames
    assert loudest_s(whole.array) == pytest.approx(SECONDS - 0.5, abs=0.05)
    last = read_audio(path, SECONDS - 1, SECONDS + 3, REQUEST)
    assert last.note is not None
    assert last.note.startswith(("segment ends 3.0", "segment ends 2.9"))
    assert loudest_s(last.array) == pytest.approx(0.5, abs=0.05)
    with pytest.raises(
        MediaError, match=rf"segment starts at {SECONDS + 1:.2f} s, after the audio ends \((19\.9|20\.0)"
    ):
        read_audio(path, SECONDS + 1, SECONDS + 2, REQUEST)


@pytest.mark.parametrize("name", KNOWN)
def test_half_of_a_file_whose_header_has_a_length_is_cut_off(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, KNOWN[name])
    os.truncate(path, path.stat().st_size // 2)
    assert read_audio(path, 1.0, 2.0, REQUEST).note is None
    for start_s, stop_s in ((0.0, math.inf), (1.0, 19.0), (18.0, 19.0)):
        with pytest.raises(MediaError, match=rf"{path.name} is cut off: (its audio ends at|it has no audio from)"):
            read_audio(path, start_s, stop_s, REQUEST)


@pytest.mark.parametrize("name", GUESSED)
def test_half_of_a_file_without_a_length_ends_where_it_ends(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, GUESSED[name])
    os.truncate(path, path.stat().st_size // 2)
    seconds = len(read_audio(path, 0.0, math.inf, REQUEST).array) / REQUEST.rate
    assert 5 < seconds < 15
    with pytest.raises(MediaError, match=r"segment starts at 18\.00 s, after the audio ends") as refused:
        read_audio(path, 18.0, 19.0, REQUEST)
    assert float(str(refused.value).split("(")[1].split()[0]) == pytest.approx(seconds, abs=0.05)


def test_a_file_that_grows_is_measured_again(tmp_path: Path) -> None:
    path = write(tmp_path, GUESSED["AC-3"])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(MediaError, match="after the audio ends"):
        read_audio(path, 18.0, 19.0, REQUEST)
    path.write_bytes(content)
    assert read_audio(path, 18.0, 19.0, REQUEST).note is None


def write_both(path: Path, form: str, picture_s: float, sound_s: float, live: bool = False) -> None:
    """A video whose frame i is lighter than the one before, with a tone of another length."""
    with av.open(str(path), "w", format=form, options={"live": "1"} if live else {}) as container:
        video = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "bf": "2"})
        video.width, video.height, video.pix_fmt, video.gop_size = 64, 48, "yuv420p", 12
        audio = container.add_stream("aac", rate=48000, layout="mono")
        packets = []
        for i in range(round(picture_s * 25)):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 + 2 * i, np.uint8), format="rgb24")
            picture.pts, picture.time_base = i, Fraction(1, 25)
            packets += video.encode(picture)
        sound = (0.5 * np.sin(np.arange(round(sound_s * 48000)) / 8)).astype(np.float32)
        for start in range(0, len(sound), 1024):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[None, start : start + 1024]), "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
            packets += audio.encode(frame)
        packets += [*video.encode(), *audio.encode()]
        container.mux(sorted((p for p in packets if p.dts is not None), key=lambda p: float(p.dts * p.time_base)))


@pytest.mark.parametrize("form", ["mp4", "matroska", "flv", "mpegts"])
@pytest.mark.parametrize(("picture_s", "sound_s"), [(2.0, 2.6), (2.0, 14.0), (4.0, 2.0)])
def test_each_stream_ends_at_its_own_time(form: str, picture_s: float, sound_s: float, tmp_path: Path) -> None:
    path = tmp_path / "v"
    write_both(path, form, picture_s, sound_s)
    count = round(picture_s * 25)
    pictures = read_video(path, 0.0, math.inf, VideoRequest(count, 48))
    light = pictures.array.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(light, 20 + 2 * np.arange(count), atol=4)
    assert pictures.note is None
    heard = read_audio(path, 0.0, math.inf, REQUEST)
    assert len(heard.array) / REQUEST.rate == pytest.approx(sound_s, abs=0.06)
    assert heard.note is None
    late = read_video(path, picture_s - 1, picture_s + 0.5, VideoRequest(4, 48)).note
    assert late is not None
    assert late.startswith(("segment ends 0.5", "segment ends 0.4"))


def test_a_recording_of_a_browser_declares_no_length_at_all(tmp_path: Path) -> None:
    path = tmp_path / "v.webm"
    write_both(path, "matroska", 4.0, 4.6, live=True)
    with av.open(str(path)) as container:
        assert container.duration is None
    light = read_video(path, 0.0, math.inf, VideoRequest(100, 48)).array.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(light, 20 + 2 * np.arange(100), atol=4)
    assert len(read_audio(path, 0.0, math.inf, REQUEST).array) / REQUEST.rate == pytest.approx(4.6, abs=0.06)


@pytest.mark.parametrize("share", [0.4, 0.7])
def test_a_matroska_file_that_is_cut_off_is_still_found(share: float, tmp_path: Path) -> None:
    path = tmp_path / "v.mkv"
    write_both(path, "matroska", 4.0, 4.6)
    os.truncate(path, int(path.stat().st_size * share))
    assert read_video(path, 0.2, 0.8, VideoRequest(4, 48)).note is None
    with pytest.raises(MediaError, match=r"v\.mkv is cut off: its frames end at"):
        read_video(path, 0.0, math.inf, VideoRequest(4, 48))
    with pytest.raises(MediaError, match=r"v\.mkv is cut off: its audio ends at"):
        read_audio(path, 0.0, math.inf, REQUEST)


def test_recorders_that_do_not_know_the_size_yet_make_no_cut_off_wav(tmp_path: Path) -> None:
    path = write(tmp_path, KNOWN["WAV"])
    content = path.read_bytes()
    at = content.index(b"data") + 4
    for size in (b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f"):
        path.write_bytes(content[:4] + size + content[8:at] + size + content[at + 4 :])
        assert len(read_audio(path, 0.0, math.inf, REQUEST).array) == SECONDS * REQUEST.rate


def test_only_the_sound_of_a_wav_has_to_be_whole(tmp_path: Path) -> None:
    """Some writers count their own header twice, and titles after the audio may be lost without harm."""
    path = write(tmp_path, KNOWN["WAV"])
    content = path.read_bytes()
    path.write_bytes(content[:4] + (len(content) + 5000).to_bytes(4, "little") + content[8:])
    assert len(read_audio(path, 0.0, math.inf, REQUEST).array) == SECONDS * REQUEST.rate
