"""What the readers have in common: one entry, and one clock for all streams of a file."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from mmcache.extract.media import (
    AudioRequest,
    ImuRequest,
    MediaError,
    MediaRequest,
    NoMedia,
    VideoRequest,
    read_media,
)
from mmcache.extract.media.base.requests import clamp
from mmcache.extract.media.base.source import Source

VIDEO, AUDIO, IMU = VideoRequest(8, 48), AudioRequest(16000, 10.0), ImuRequest(8)


def write_flash_and_click(path: Path, form: str, video_from_s: float, audio_from_s: float) -> None:
    """White frames and a tone that both begin 2 s into the file, though the streams begin where told."""
    with av.open(str(path), "w", format=form) as container:
        video = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "10"})
        video.width, video.height, video.pix_fmt, video.gop_size = 64, 48, "yuv420p", 12
        audio = container.add_stream("aac", rate=48000, layout="mono")
        packets = []
        for i in range(round(video_from_s * 25), 100):
            grey = np.full((48, 64, 3), 235 if i >= 50 else 20, np.uint8)
            picture = av.VideoFrame.from_ndarray(grey, format="rgb24")
            picture.pts, picture.time_base = i, Fraction(1, 25)
            packets += video.encode(picture)
        t = np.arange(4 * 48000) / 48000
        sound = np.where(t >= 2.0, 0.5 * np.sin(2 * np.pi * 1000 * t), 0.0).astype(np.float32)
        for start in range(round(audio_from_s * 48000), len(sound), 1024):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[None, start : start + 1024]), "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
            packets += audio.encode(frame)
        packets += [*video.encode(), *audio.encode()]
        timed = [packet for packet in packets if packet.dts is not None]
        container.mux(sorted(timed, key=lambda packet: float(packet.dts * packet.time_base)))


@pytest.mark.parametrize("form", ["mp4", "matroska"])
@pytest.mark.parametrize(("video_from_s", "audio_from_s"), [(0.0, 0.0), (0.4, 0.0), (0.0, 0.4), (1.0, 1.0)], ids=str)
def test_picture_and_sound_of_a_file_share_one_clock(
    form: str, video_from_s: float, audio_from_s: float, tmp_path: Path
) -> None:
    """Seconds are the join key of the modalities: a stream that begins later than the other is not moved."""
    path = tmp_path / "v.MP4"
    write_flash_and_click(path, form, video_from_s, audio_from_s)
    span = (0.6, 2.8)
    pictures = read_media(Source("video", (path,)), *span, VideoRequest(220, 48)).array
    samples = read_media(Source("audio", (path,)), *span, AUDIO).array
    flash_s = span[0] + int(np.argmax(pictures.mean(axis=(1, 2, 3)) > 128)) / 100
    click_s = span[0] + int(np.argmax(np.abs(samples) > 0.2)) / 16000
    assert flash_s == pytest.approx(click_s, abs=0.07)  # a frame lasts 40 ms, a codec frame 21
    if min(video_from_s, audio_from_s) == 0.0:
        assert flash_s == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize(
    ("kind", "request_"), [("video", AUDIO), ("audio", IMU), ("imu", VIDEO), ("imu", AUDIO)], ids=str
)
def test_media_that_do_not_fit_the_encoder_say_so(kind: str, request_: MediaRequest, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.touch()
    with pytest.raises(MediaError, match=rf"{kind} media cannot be read for an encoder that takes \w+Request"):
        read_media(Source(kind, (path, path)), 0.0, 1.0, request_)  # type: ignore[arg-type]


def test_all_kinds_are_read(epic_root: Path) -> None:
    folder = epic_root / "P01"
    mp4 = (folder / "videos" / "P01_101.MP4",)
    csvs = tuple(folder / "meta_data" / f"P01_101-{sensor}.csv" for sensor in ("accl", "gyro"))
    assert read_media(Source("video", mp4), 1.0, 2.0, VIDEO).array.shape == (8, 48, 85, 3)
    assert read_media(Source("audio", mp4), 1.0, 2.0, AUDIO).array.shape == (16000,)
    assert read_media(Source("imu", csvs), 1.0, 2.0, IMU).array.shape == (8, 6)
    silent = (epic_root / "P02" / "videos" / "P02_102.MP4",)
    assert read_media(Source("video", silent), 1.0, 2.0, VIDEO).array.shape == (8, 48, 85, 3)
    with pytest.raises(NoMedia, match=r"P02_102\.MP4 has no audio stream"):
        read_media(Source("audio", silent), 1.0, 2.0, AUDIO)


def test_clamp_moves_only_what_lies_past_the_end() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        start_s, length, duration_s = rng.uniform(0, 10), rng.uniform(0.1, 5), rng.uniform(0.1, 10)
        stop_s = start_s + length
        if start_s >= duration_s:
            with pytest.raises(MediaError, match=r"after the video ends \(\d+\.\d\d s\)"):
                clamp(start_s, stop_s, duration_s, "video")
            continue
        clamped, note = clamp(start_s, stop_s, duration_s, "video")
        assert start_s < clamped <= stop_s
        assert (note is None) == (clamped == stop_s)
        assert clamped <= duration_s + 1e-3
    assert clamp(1.0, 2.0, None, "video") == (2.0, None)
