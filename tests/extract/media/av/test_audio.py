"""Audio comes back at its own time, at the wanted rate, in mono; every fault with its reason."""

import re
import wave
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from mmcache.extract.media.av.audio import read_audio
from mmcache.extract.media.base.requests import AudioRequest, MediaError, NoMedia

WriteSound = Callable[..., Path]
REQUEST = AudioRequest(rate=16000, max_seconds=10.24)
CODEC_FRAME_S = 1024 / 44100
# (codec, container, rate, how exactly in seconds audio must lie where it was put)
FORMS = [
    ("aac", "mp4", 48000, 0.001),
    ("aac", "mp4", 44100, 0.001),
    ("aac", "matroska", 44100, 0.002),
    ("aac", "mpegts", 48000, CODEC_FRAME_S),  # no edit list: the encoder's own delay stays
    ("flac", "mp4", 44100, 0.0002),
    ("pcm_s16le", "wav", 48000, 0.0002),
    ("pcm_s16le", "wav", 16000, 0.0002),
    ("libopus", "webm", 48000, 0.002),
]


def tone(frequency: float, seconds: float, rate: int, loudness: float = 0.5) -> NDArray[np.float64]:
    return loudness * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def clicks(at: list[float], seconds: float, rate: int) -> NDArray[np.float64]:
    """Silence with short bursts of 2 kHz, centred at the given times."""
    out = np.zeros(round(seconds * rate))
    half = round(0.004 * rate)
    burst = 0.8 * np.hanning(2 * half) * np.cos(2 * np.pi * 2000 * np.arange(-half, half) / rate)
    for moment in at:
        centre = round(moment * rate)
        out[centre - half : centre + half] += burst
    return out


def where_loud(samples: NDArray[np.floating]) -> float:
    """The centre of a burst, in seconds from the first sample."""
    energy = np.asarray(samples, np.float64) ** 2
    return float((energy * np.arange(len(energy))).sum() / energy.sum()) / REQUEST.rate


def loudness(samples: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.asarray(samples, np.float64) ** 2)) * np.sqrt(2))


@pytest.mark.parametrize(("codec", "form", "rate", "exact_s"), FORMS)
def test_a_click_lies_where_it_was_put(
    codec: str, form: str, rate: int, exact_s: float, tmp_path: Path, write_sound: WriteSound
) -> None:
    for moment in (0.3, 2.5, 4.71):
        path = write_sound(tmp_path / f"a{moment}", clicks([moment], 5.0, rate), rate, codec, form)
        for start_s, stop_s in ((0.0, 5.0), (moment - 0.1, moment + 0.1), (moment - 0.25, moment + 0.05)):
            reading = read_audio(path, start_s, stop_s, REQUEST)
            assert abs(where_loud(reading.array) + start_s - moment) < exact_s, (moment, start_s)
            assert reading.array.dtype == np.float32
            assert reading.note is None


@pytest.mark.parametrize("codec", ["adpcm_ima_wav", "adpcm_ms"])
def test_all_frames_of_a_packet_are_heard_each_at_its_time(codec: str, tmp_path: Path) -> None:
    """A packet of ADPCM in WAV holds several; its header's bit rate is rounded, so that a seek by it is off."""
    rate, moments = 44100, [0.73, 2.51, 3.2]
    sound = clicks(moments, 5.0, rate).astype(np.float32)
    with av.open(str(tmp_path / "a.wav"), "w", format="wav") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        stream.codec_context.open()
        step = stream.codec_context.frame_size
        for start in range(0, len(sound) - step, step):
            part = np.round(sound[None, start : start + step] * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(part, stream.format.name, "mono")
            frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), start
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    for moment in moments:
        for start_s, stop_s in ((moment - 0.5, moment + 0.5), (moment - 0.05, moment + 0.05)):
            reading = read_audio(tmp_path / "a.wav", start_s, stop_s, REQUEST)
            assert abs(where_loud(reading.array) + start_s - moment) < 0.0005
            assert float(np.abs(reading.array).max()) == pytest.approx(0.8, abs=0.05)
            assert reading.note is None


@pytest.mark.parametrize("rate", [16000, 22050, 44100, 48000])
def test_a_tone_keeps_pitch_and_loudness_at_any_rate(rate: int, tmp_path: Path, write_sound: WriteSound) -> None:
    path = write_sound(tmp_path / "a.wav", tone(1000, 3.0, rate), rate, "pcm_s16le", "wav")
    samples = read_audio(path, 0.7, 2.7, REQUEST).array
    assert samples.shape == (32000,)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    assert np.argmax(spectrum) == 2000  # of 0.5 Hz
    assert loudness(samples) == pytest.approx(0.5, rel=0.01)


def test_what_16_khz_cannot_hold_is_filtered_out_not_folded_down(tmp_path: Path, write_sound: WriteSound) -> None:
    path = write_sound(tmp_path / "a.wav", tone(12000, 2.0, 48000), 48000, "pcm_s16le", "wav")
    assert loudness(read_audio(path, 0.5, 1.5, REQUEST).array) < 0.005


def test_stereo_is_averaged(tmp_path: Path, write_sound: WriteSound) -> None:
    left = tone(500, 2.0, 48000)
    for right, expected in ((left, 0.5), (0 * left, 0.25), (-left, 0.0)):
        path = write_sound(tmp_path / "a.mp4", np.stack([left, right]), 48000)
        assert loudness(read_audio(path, 0.3, 1.7, REQUEST).array) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("rate", [44100, 48000])
def test_the_number_of_samples_is_the_span_times_the_rate(rate: int, tmp_path: Path, write_sound: WriteSound) -> None:
    path = write_sound(tmp_path / "a.mp4", tone(300, 6.0, rate), rate)
    rng = np.random.default_rng(2)
    for _ in range(20):
        start_s = float(rng.uniform(0, 5))
        stop_s = start_s + float(rng.uniform(0.1, 0.9))
        assert abs(len(read_audio(path, start_s, stop_s, REQUEST).array) - 16000 * (stop_s - start_s)) <= 2


@pytest.mark.parametrize(
    ("codec", "form", "rate", "close"),
    [("aac", "mp4", 44100, 3e-3), ("aac", "mp4", 48000, 3e-3), ("pcm_s16le", "wav", 44100, 1e-4)],
)
def test_a_segment_is_the_same_part_of_the_whole(
    codec: str, form: str, rate: int, close: float, tmp_path: Path, write_sound: WriteSound
) -> None:
    """Seeking into the middle gives what decoding from the start gives, but for the filter's two edges."""
    noise = 0.2 * np.random.default_rng(3).normal(size=8 * rate)
    path = write_sound(tmp_path / "a", np.clip(noise, -1, 1), rate, codec, form)
    whole = read_audio(path, 0.0, 8.0, REQUEST).array
    rng = np.random.default_rng(4)
    for _ in range(12):
        first, count = int(rng.integers(0, 600)), int(rng.integers(20, 200))  # in 10 ms: whole samples at every rate
        part = read_audio(path, first / 100, (first + count) / 100, REQUEST).array
        expected = whole[first * 160 : (first + count) * 160]
        assert len(part) == len(expected)
        np.testing.assert_allclose(part[40:-40], expected[40:-40], atol=close)


def test_of_a_long_segment_the_middle_is_read(tmp_path: Path, write_sound: WriteSound) -> None:
    at = [1.5, 4.0, 6.0, 8.5, 11.0]
    path = write_sound(tmp_path / "a.mp4", clicks(at, 12.0, 48000), 48000)
    short = AudioRequest(rate=16000, max_seconds=3.0)
    samples = read_audio(path, 1.0, 11.6, short).array  # its middle is 4.8 to 7.8
    assert len(samples) == 48000
    assert where_loud(samples) == pytest.approx(6.0 - 4.8, abs=0.001)
    np.testing.assert_array_equal(samples, read_audio(path, 4.8, 7.8, short).array)


def test_a_segment_that_ends_past_the_sound_is_clamped_with_a_note(tmp_path: Path, write_sound: WriteSound) -> None:
    path = write_sound(tmp_path / "a.mp4", clicks([4.0], 5.0, 48000), 48000)
    reading = read_audio(path, 3.0, 7.5, REQUEST)
    assert reading.note is not None
    assert re.fullmatch(r"segment ends 2\.[45]\d s past the audio's end; clamped", reading.note)
    assert abs(len(reading.array) - 2.0 * 16000) <= 0.03 * 16000
    assert where_loud(reading.array) == pytest.approx(1.0, abs=0.001)


def test_a_segment_that_starts_past_the_sound_is_an_error(tmp_path: Path, write_sound: WriteSound) -> None:
    path = write_sound(tmp_path / "a.mp4", tone(300, 5.0, 48000), 48000)
    with pytest.raises(MediaError, match=r"segment starts at 6\.00 s, after the audio ends \(5\.0\d s\)"):
        read_audio(path, 6.0, 7.0, REQUEST)


def sound_or_reason(path: Path, start_s: float, stop_s: float) -> tuple[NDArray[np.floating] | None, str]:
    """Samples, or None and the reason that there are none."""
    try:
        return read_audio(path, start_s, stop_s, REQUEST).array, ""  # type: ignore[return-value]
    except MediaError as reason:
        return None, str(reason)


@pytest.mark.parametrize("seconds", [0.1, 0.14, 0.5, 1.0])
def test_a_file_cut_off_gives_its_early_segments_and_a_reason_for_the_later_ones(
    seconds: float, tmp_path: Path, write_sound: WriteSound
) -> None:
    """However short a segment is (EPIC has some of 0.1 s), audio that is not there never comes back as silence."""
    whole = write_sound(tmp_path / "w.mp4", tone(440, 10.0, 48000), 48000, muxer={"movflags": "faststart"})
    with av.open(str(whole)) as container:
        packets = [(p.pos + p.size, float(p.pts * p.time_base)) for p in container.demux(audio=0) if p.size]
    cut = tmp_path / "cut.mp4"
    size = whole.stat().st_size * 6 // 10
    cut.write_bytes(whole.read_bytes()[:size])
    kept_to = max(second for end, second in packets if end <= size)
    assert 3.0 < kept_to < 8.0
    for start_s in np.arange(0.2, 9.0, 0.4):
        samples, reason = sound_or_reason(cut, start_s, start_s + seconds)
        if samples is None:
            assert start_s + seconds > kept_to - 0.1, "an early segment was lost"
            assert re.search(r"cut\.mp4 .*cut off", reason)
        else:
            assert start_s < kept_to, "a segment past the cut came back"
            assert loudness(samples[: int((kept_to - start_s) * 16000)]) == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize(("codec", "form", "rate"), [("aac", "matroska", 44100), ("pcm_s16le", "matroska", 48000)])
def test_timestamps_rounded_to_milliseconds_make_no_drop_outs(
    codec: str, form: str, rate: int, tmp_path: Path, write_sound: WriteSound
) -> None:
    """Matroska and WebM round timestamps to 1 ms; between codec frames there is still neither gap nor overlap."""
    path = write_sound(tmp_path / "a.mkv", tone(500, 4.0, rate), rate, codec, form)
    samples = np.asarray(read_audio(path, 1.0, 3.0, REQUEST).array[200:-200], np.float64)
    t = np.arange(len(samples)) / 16000
    waves = np.stack([np.sin(2 * np.pi * 500 * t), np.cos(2 * np.pi * 500 * t)], axis=1)
    weights, *_ = np.linalg.lstsq(waves, samples, rcond=None)
    assert np.hypot(*weights) == pytest.approx(0.5, rel=0.02)
    assert np.abs(samples - waves @ weights).max() < 0.05


@pytest.mark.parametrize("form", ["mp4", "matroska"])
def test_a_gap_inside_the_stream_is_noted_and_what_follows_keeps_its_time(
    form: str, tmp_path: Path, write_sound: WriteSound
) -> None:
    rate, step = 48000, 1024
    samples = clicks([1.0], 4.0, rate) + np.where(np.arange(4 * rate) < 94 * step, 0.2, 0.0)
    samples += np.concatenate([np.zeros(96 * step), clicks([1.0], 4.0 - 96 * step / rate, rate)])
    path = write_sound(tmp_path / "a", samples, rate, "aac", form, gap=(96 * step, 24000))
    after_s = 96 * step / rate + 0.5
    with pytest.raises(NoMedia, match=r"a has no audio from 2\.15 to 2\.45 s: there is a gap in it"):
        read_audio(path, after_s - 0.4, after_s - 0.1, REQUEST)
    partly = read_audio(path, after_s - 1.0, after_s + 1.5, REQUEST)
    assert partly.note is not None
    assert re.fullmatch(r"0\.(4[5-9]|50) s have no audio in the file; silence stands in", partly.note)
    assert np.abs(partly.array[10000:15200]).max() < 0.02
    later = read_audio(path, after_s + 0.5, after_s + 1.5, REQUEST)
    assert where_loud(later.array) == pytest.approx(0.5, abs=CODEC_FRAME_S)
    assert later.note is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"v\.MP4 is empty \(0 bytes\)"),
        (b"this is a text file, not a film\n" * 50, r"v\.MP4 cannot be decoded: damaged, cut off, or no media file"),
        (np.random.default_rng(0).bytes(50_000), r"v\.MP4 cannot be decoded: damaged, cut off, or no media file"),
    ],
    ids=["empty", "text", "random bytes"],
)
def test_what_is_no_sound_says_so(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "v.MP4"
    path.write_bytes(content)
    with pytest.raises(MediaError, match=reason):
        read_audio(path, 0.0, 1.0, REQUEST)


def test_a_video_without_sound_has_no_media(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    path = write_video(tmp_path / "v.MP4")
    with pytest.raises(NoMedia, match=r"v\.MP4 has no audio stream"):
        read_audio(path, 0.0, 1.0, REQUEST)


def test_silence_in_a_file_is_silence_and_noted(tmp_path: Path, write_sound: WriteSound) -> None:
    samples = np.concatenate([np.zeros(32000), tone(300, 1.0, 16000)])
    path = write_sound(tmp_path / "a.wav", samples, 16000, "pcm_s16le", "wav")
    silent = read_audio(path, 0.0, 1.5, REQUEST)
    assert silent.note == "the audio is silent: every sample is 0"
    assert silent.array.shape == (24000,)
    assert not silent.array.any()
    assert read_audio(path, 1.0, 2.5, REQUEST).note is None


def test_sound_that_begins_after_the_picture_is_noted(tmp_path: Path, write_sound: WriteSound) -> None:
    path = write_sound(tmp_path / "a.mkv", tone(300, 3.0, 48000), 48000, "aac", "matroska", gap=(1024, 48000))
    reading = read_audio(path, 0.5, 2.0, REQUEST)
    assert reading.note is not None
    assert reading.note.endswith("s have no audio in the file; silence stands in")


@pytest.mark.parametrize("scale", [1.0, 40.0, 32768.0, 1e30])
def test_samples_far_beyond_full_scale_are_refused(scale: float, tmp_path: Path, write_sound: WriteSound) -> None:
    """Files of floats that hold the numbers of 16 bits would come out 32768 times too loud."""
    path = write_sound(tmp_path / "a.wav", scale * tone(300, 1.0, 16000), 16000, "pcm_f32le", "wav")
    if scale <= 64:
        assert loudness(read_audio(path, 0.1, 0.9, REQUEST).array) == pytest.approx(0.5 * scale, rel=0.01)
        return
    with pytest.raises(MediaError, match=r"the audio of a\.wav reaches .*full scale is 1, and at most 64 is read"):
        read_audio(path, 0.1, 0.9, REQUEST)


@pytest.mark.parametrize("rate", [1, 7919, 95_987, 1_535_999])
def test_odd_rates_take_neither_memory_nor_time(rate: int, tmp_path: Path) -> None:
    """Rates without a common divisor would want a filter of 20 coefficients for each Hz."""
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.full(2 * rate, 8192, "<i2").tobytes())
    samples = read_audio(path, 0.0, 2.0, REQUEST).array
    assert abs(len(samples) - 32000) <= 1
    assert np.median(samples) == pytest.approx(0.25, abs=0.01)


def test_a_rate_beyond_all_sound_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(2_000_000_000)
        file.writeframes(bytes(8000))
    with pytest.raises(
        MediaError, match=r"a\.wav declares a sampling rate of 2,000,000,000 Hz; 1 to 1,536,000 are read"
    ):
        read_audio(path, 0.0, 1e-6, REQUEST)


def test_a_damaged_frame_is_a_short_silence_with_a_note_and_a_longer_damage_an_error(
    tmp_path: Path, write_sound: WriteSound
) -> None:
    path = write_sound(tmp_path / "a.mp4", tone(440, 4.0, 48000), 48000, muxer={"movflags": "faststart"})
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(audio=0) if p.size]
    whole = path.read_bytes()

    def damage(frames: int) -> None:
        content = bytearray(whole)
        for at, size in packets[80 : 80 + frames]:
            content[at : at + size] = b"\xff" * size
        path.write_bytes(content)

    damage(2)
    reading = read_audio(path, 1.0, 3.0, REQUEST)
    assert reading.note is not None
    assert re.fullmatch(r"0\.0[4-6] s cannot be decoded; silence stands in", reading.note)
    damage(20)
    with pytest.raises(
        MediaError, match=r"a\.mp4 cannot be decoded: damaged, 0\.4\d s of the segment's audio are lost"
    ):
        read_audio(path, 1.0, 3.0, REQUEST)
    assert read_audio(path, 2.5, 3.5, REQUEST).note is None
