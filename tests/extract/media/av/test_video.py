"""The right frames by timestamp, whatever the codec, the container and the clock; every fault with its reason."""

import os
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from mmcache.extract.media.av.video import read_video
from mmcache.extract.media.base.requests import MediaError, NoMedia, VideoRequest

WriteVideo = Callable[..., Path]
NumbersOf = Callable[[Any], list[int]]
RATE = 25
FORMS: dict[str, dict[str, Any]] = {
    "no b-frames": {},
    "b-frames": {"x264": "bframes=3"},
    "b-pyramid": {"x264": "bframes=4:b-pyramid=strict"},
    "open gop": {"x264": "bframes=3:open-gop=1"},
    "index first": {"x264": "bframes=2", "muxer": {"movflags": "faststart"}},
    "fragmented": {"muxer": {"movflags": "frag_keyframe+empty_moov"}},
    "matroska": {"x264": "bframes=3", "form": "matroska"},
    "webm vp9": {"codec": "libvpx-vp9", "form": "webm"},
    "mpeg-ts": {"x264": "bframes=2", "form": "mpegts"},
}


def expected_numbers(times: Any, start_s: float, stop_s: float, frames: int) -> list[int]:
    """Which frame is on screen at each of the evenly spaced moments: the last one not later than it."""
    moments = start_s + (np.arange(frames) + 0.5) * (stop_s - start_s) / frames
    return np.maximum(np.searchsorted(times, moments + 1e-9, side="right") - 1, 0).tolist()


@pytest.mark.parametrize("form", FORMS)
def test_every_picture_is_found_at_its_own_time(
    form: str, tmp_path: Path, write_video: WriteVideo, numbers_of: NumbersOf
) -> None:
    path = write_video(tmp_path / "v.MP4", pictures=50, **FORMS[form])
    found = [numbers_of(read_video(path, i / RATE, (i + 1) / RATE, VideoRequest(1, 48)).array)[0] for i in range(50)]
    assert found == list(range(50))


@pytest.mark.parametrize("form", FORMS)
def test_a_file_of_one_group_of_pictures(
    form: str, tmp_path: Path, write_video: WriteVideo, numbers_of: NumbersOf
) -> None:
    """A seek that lands behind the only key frame finds nothing; the frames are there all the same."""
    path = write_video(tmp_path / "v.MP4", pictures=11, **FORMS[form])
    found = [numbers_of(read_video(path, i / RATE, (i + 1) / RATE, VideoRequest(1, 48)).array)[0] for i in range(11)]
    assert found == list(range(11))


@pytest.mark.parametrize("form", ["b-pyramid", "matroska", "webm vp9"])
def test_spans_of_any_length_give_the_pictures_on_screen(
    form: str, tmp_path: Path, write_video: WriteVideo, numbers_of: NumbersOf
) -> None:
    path = write_video(tmp_path / "v.MP4", pictures=80, **FORMS[form])
    times = np.arange(80) / RATE
    rng = np.random.default_rng(5)
    for _ in range(25):
        start_s = float(rng.uniform(0, 2.9))
        stop_s = float(rng.uniform(start_s + 0.05, 3.2))
        frames = int(rng.integers(1, 40))
        reading = read_video(path, start_s, stop_s, VideoRequest(frames, 48))
        assert numbers_of(reading.array) == expected_numbers(times, start_s, stop_s, frames)
        assert reading.note is None


@pytest.mark.parametrize("form", ["mp4", "matroska"])
def test_variable_frame_rate(form: str, tmp_path: Path, write_video: WriteVideo, numbers_of: NumbersOf) -> None:
    steps = np.random.default_rng(1).integers(1, 40, 60)
    steps[-2:] = 4
    pts = np.concatenate([[0], np.cumsum(steps)[:-1]])
    path = write_video(tmp_path / "v.mp4", pictures=60, rate=200, pts=pts, form=form, x264="bframes=2")
    times = pts / 200
    for i in range(59):
        reading = read_video(path, times[i], times[i + 1], VideoRequest(3, 48))
        assert numbers_of(reading.array) == [i] * 3
    whole = read_video(path, 0.0, float(times[-1]), VideoRequest(100, 48))
    assert numbers_of(whole.array) == expected_numbers(times, 0.0, float(times[-1]), 100)


@pytest.mark.parametrize("x264", ["bframes=0", "bframes=2", "bframes=3:b-pyramid=strict"])
@pytest.mark.parametrize("pictures", [6, 7, 8])
def test_a_film_of_unequal_pictures_ends_when_its_last_one_does(
    x264: str, pictures: int, tmp_path: Path, write_video: WriteVideo, numbers_of: NumbersOf
) -> None:
    """Recordings of screens stand still for seconds; MP4 declares when the last frame is decoded, not shown."""
    pts = [0, 1, 2, 150, 151, 152, 300, 301][:pictures]
    path = write_video(tmp_path / "v.mp4", pictures=pictures, rate=30, pts=pts, x264=x264)
    reading = read_video(path, 0.0, pts[-1] / 30, VideoRequest(20, 48))
    assert numbers_of(reading.array) == expected_numbers(np.array(pts) / 30, 0.0, pts[-1] / 30, 20)
    assert reading.note is None
    with pytest.raises(MediaError, match="after the video ends"):
        read_video(path, 16.0, 17.0, VideoRequest(2, 48))


def test_a_last_picture_held_for_seconds_stays_on_screen(
    tmp_path: Path, write_video: WriteVideo, numbers_of: NumbersOf
) -> None:
    """A still at the end, as in slides and screen recordings, is no cut-off file: its frame lasts that long."""
    path = write_video(tmp_path / "v.mp4", pictures=20, hold_last=75)
    with av.open(str(path)) as container:
        assert container.duration / av.time_base == pytest.approx(19 / RATE + 3.0, abs=0.1)
    assert numbers_of(read_video(path, 1.0, 3.0, VideoRequest(4, 48)).array) == [19] * 4


@pytest.mark.parametrize("form", ["mp4", "matroska", "mpegts"])
def test_timestamps_that_do_not_start_at_zero(
    form: str, tmp_path: Path, write_video: WriteVideo, numbers_of: NumbersOf
) -> None:
    """Seconds count from the first frame, in the beginning, in the middle and at the end."""
    path = write_video(tmp_path / "v.mp4", pictures=50, pts=range(75, 125), form=form)
    with av.open(str(path)) as container:
        assert container.streams.video[0].start_time > 0
    times = np.arange(50) / RATE
    for start_s, stop_s in ((0.02, 0.42), (0.72, 1.32), (1.58, 1.98)):  # moments between two frames
        reading = read_video(path, start_s, stop_s, VideoRequest(5, 48))
        assert numbers_of(reading.array) == expected_numbers(times, start_s, stop_s, 5)


@pytest.mark.parametrize("form", ["mp4", "matroska", "webm"])
@pytest.mark.parametrize("offset", [0, 75])
def test_a_segment_that_ends_past_the_video_is_clamped_with_a_note(
    form: str, offset: int, tmp_path: Path, write_video: WriteVideo, numbers_of: NumbersOf
) -> None:
    codec = "libvpx-vp9" if form == "webm" else "libx264"
    path = write_video(tmp_path / "v.mp4", pictures=50, pts=range(offset, offset + 50), form=form, codec=codec)
    reading = read_video(path, 1.2, 5.0, VideoRequest(8, 48))
    assert reading.note is not None
    assert re.fullmatch(r"segment ends (2\.9\d|3\.0\d) s past the video's end; clamped", reading.note)
    assert numbers_of(reading.array) == expected_numbers(np.arange(50) / RATE, 1.2, 2.0, 8)


def test_a_segment_that_starts_past_the_video_is_an_error(tmp_path: Path, write_video: WriteVideo) -> None:
    path = write_video(tmp_path / "v.mp4", pictures=50)
    for start_s in (2.0, 2.01, 100.0):
        with pytest.raises(MediaError, match=rf"starts at {start_s:.2f} s, after the video ends \(2.00 s\)"):
            read_video(path, start_s, start_s + 1, VideoRequest(4, 48))


def test_the_very_end(tmp_path: Path, write_video: WriteVideo, numbers_of: NumbersOf) -> None:
    path = write_video(tmp_path / "v.mp4", pictures=50, x264="bframes=3")
    assert numbers_of(read_video(path, 1.8, 2.0, VideoRequest(5, 48)).array) == [45, 46, 47, 48, 49]
    assert numbers_of(read_video(path, 1.99, 2.0, VideoRequest(2, 48)).array) == [49, 49]


@pytest.mark.parametrize("pictures", [1, 2, 31])
def test_fewer_pictures_than_asked_for_are_repeated_in_order(
    pictures: int, tmp_path: Path, write_video: WriteVideo, numbers_of: NumbersOf
) -> None:
    path = write_video(tmp_path / "v.mp4", pictures=pictures, x264="bframes=2")
    reading = read_video(path, 0.0, pictures / RATE, VideoRequest(32, 48))
    numbers = numbers_of(reading.array)
    assert numbers == expected_numbers(np.arange(pictures) / RATE, 0.0, pictures / RATE, 32)
    assert set(numbers) == set(range(pictures))


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [((64, 48), 24, (24, 32)), ((48, 64), 24, (32, 24)), ((96, 54), 36, (36, 64)), ((64, 64), 80, (80, 80))],
)
def test_the_shorter_side_gets_the_asked_size_and_the_picture_keeps_its_shape(
    size: tuple[int, int],
    short_side: int,
    expected: tuple[int, int],
    tmp_path: Path,
    write_video: WriteVideo,
    numbers_of: NumbersOf,
) -> None:
    path = write_video(tmp_path / "v.mp4", pictures=30, size=size)
    pictures = read_video(path, 0.0, 1.2, VideoRequest(30, short_side)).array
    assert pictures.shape == (30, *expected, 3)
    assert pictures.dtype == np.uint8
    assert numbers_of(pictures) == list(range(30))


def picture_or_reason(path: Path, start_s: float, stop_s: float) -> tuple[Any, str]:
    """Five frames, or None and the reason that there are none."""
    try:
        return read_video(path, start_s, stop_s, VideoRequest(5, 48)).array, ""
    except MediaError as reason:
        return None, str(reason)


def packets_of(path: Path) -> list[tuple[int, int, float]]:
    """(first byte, byte after the last, seconds) of every coded frame of an MP4, in file order."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        return [(p.pos, p.pos + p.size, float(p.pts * p.time_base)) for p in packets]


def test_a_file_cut_off_gives_its_early_segments_and_a_reason_for_the_later_ones(
    tmp_path: Path, write_video: WriteVideo, numbers_of: NumbersOf
) -> None:
    whole = write_video(tmp_path / "w.mp4", pictures=200, **FORMS["index first"])
    packets = packets_of(whole)
    first_byte, last_byte = packets[0][0], packets[-1][1]
    cut = tmp_path / "cut.mp4"
    for share in (0.3, 0.6, 0.85):
        size = int(first_byte + share * (last_byte - first_byte))
        cut.write_bytes(whole.read_bytes()[:size])
        kept_to = max(seconds for _, end, seconds in packets if end <= size)
        assert 1.0 < kept_to < 7.5
        good = 0
        for first in range(0, 200, 5):
            start_s, stop_s = first / RATE, (first + 5) / RATE
            pictures, reason = picture_or_reason(cut, start_s, stop_s)
            if pictures is None:
                assert stop_s > kept_to - 0.2, "an early segment was lost"
                assert re.search(r"cut\.mp4 (is cut off|cannot be decoded|has no frame)", reason)
            else:
                assert start_s < kept_to, "a segment past the cut came back"
                assert numbers_of(pictures) == [min(first + i, round(kept_to * RATE)) for i in range(5)]
                good += 1
        assert good >= int((kept_to - 0.2) * RATE / 5)


def test_a_segment_behind_the_cut_does_not_cost_reading_all_that_is_before_it(
    tmp_path: Path, write_video: WriteVideo
) -> None:
    """Hours of a video whose end is missing would be decoded for every lost segment."""
    path = write_video(tmp_path / "v.mp4", pictures=3000, size=(256, 192), **FORMS["index first"])
    whole = path.stat().st_size
    os.truncate(path, whole * 3 // 4)

    def read_bytes() -> int:
        return int(re.findall(r"rchar: (\d+)", Path("/proc/self/io").read_text())[0])

    before = read_bytes()
    for start_s in (100.0, 110.0, 118.0):
        assert picture_or_reason(path, start_s, start_s + 1)[0] is None
    assert read_bytes() - before < whole  # the index, three times, is half of it


def test_a_file_cut_off_before_its_index_cannot_be_decoded_at_all(tmp_path: Path, write_video: WriteVideo) -> None:
    path = write_video(tmp_path / "v.MP4", pictures=100)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(MediaError, match=r"v\.MP4 cannot be decoded: damaged, cut off, or no media file"):
        read_video(path, 0.0, 1.0, VideoRequest(4, 48))


def test_damage_in_the_middle_leaves_what_was_before_it(
    tmp_path: Path, write_video: WriteVideo, numbers_of: NumbersOf
) -> None:
    whole = write_video(tmp_path / "w.mp4", pictures=150, **FORMS["index first"])
    packets = packets_of(whole)
    middle = (packets[0][0] + packets[-1][1]) // 2
    hurt = tmp_path / "hurt.mp4"
    for seed in range(8):
        rng = np.random.default_rng(seed)
        content = bytearray(whole.read_bytes())
        at = int(rng.integers(middle, len(content) - 400))
        content[at : at + 300] = rng.bytes(300)
        hurt.write_bytes(content)
        damaged_from = min(seconds for _, end, seconds in packets if end > at)
        for first in range(0, 150, 10):
            start_s, stop_s = first / RATE, (first + 5) / RATE
            pictures, reason = picture_or_reason(hurt, start_s, stop_s)
            if stop_s < damaged_from - 0.5:
                assert pictures is not None, (seed, first, reason)
                assert numbers_of(pictures) == list(range(first, first + 5))
            else:
                assert "hurt.mp4" in reason if pictures is None else pictures.shape == (5, 48, 64, 3)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"v\.MP4 is empty \(0 bytes\)"),
        (b"this is a text file, not a film\n" * 50, r"v\.MP4 cannot be decoded: damaged, cut off, or no media file"),
        (np.random.default_rng(0).bytes(50_000), r"v\.MP4 cannot be decoded: damaged, cut off, or no media file"),
    ],
    ids=["empty", "text", "random bytes"],
)
def test_what_is_no_video_says_so(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "v.MP4"
    path.write_bytes(content)
    with pytest.raises(MediaError, match=reason):
        read_video(path, 0.0, 1.0, VideoRequest(4, 48))


def test_a_file_that_is_not_there_or_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"gone\.MP4 is not there"):
        read_video(tmp_path / "gone.MP4", 0.0, 1.0, VideoRequest(4, 48))
    (tmp_path / "folder.MP4").mkdir()
    with pytest.raises(MediaError, match=r"folder\.MP4 cannot be read: it is a folder, not a regular file"):
        read_video(tmp_path / "folder.MP4", 0.0, 1.0, VideoRequest(4, 48))


def test_a_file_of_sound_alone_has_no_video(tmp_path: Path, write_sound: Callable[..., Path]) -> None:
    path = write_sound(tmp_path / "v.mp4", np.zeros(48000), 48000)
    with pytest.raises(NoMedia, match=r"v\.mp4 has no video stream"):
        read_video(path, 0.0, 1.0, VideoRequest(4, 48))


def test_no_file_stays_open_whatever_happens(tmp_path: Path, write_video: WriteVideo) -> None:
    whole = write_video(tmp_path / "w.mp4", pictures=50, **FORMS["index first"])
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    read_video(whole, 0.0, 1.0, VideoRequest(4, 48))  # libraries open what they keep open
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        read_video(whole, 0.0, 1.0, VideoRequest(4, 48))
        for path, start_s in ((cut, 1.8), (whole, 9.0)):
            with pytest.raises(MediaError):
                read_video(path, start_s, start_s + 0.2, VideoRequest(4, 48))
    assert len(os.listdir("/proc/self/fd")) == before


def test_before_the_first_picture_there_is_none(
    tmp_path: Path, write_video: WriteVideo, write_sound: Callable[..., Path], numbers_of: NumbersOf
) -> None:
    """The audio begins at second 0, the frame at 1: its first one stands in for a part, never for a whole segment."""
    film = write_video(tmp_path / "film.mkv", pictures=50, pts=range(25, 75), form="matroska")
    sound = write_sound(tmp_path / "sound.mkv", np.ones(3 * 48000) / 9, 48000, "aac", "matroska")
    path = tmp_path / "v.mkv"
    with av.open(str(film)) as one, av.open(str(sound)) as other, av.open(str(path), "w", format="matroska") as both:
        packets = []
        for source in (one, other):
            stream = both.add_stream_from_template(source.streams[0])
            for packet in source.demux(0):
                if packet.dts is not None:
                    packet.stream = stream
                    packets.append(packet)
        both.mux(sorted(packets, key=lambda packet: float(packet.dts * packet.time_base)))
    with pytest.raises(NoMedia, match=r"v\.mkv has no frame before 1\.00 s, when the segment is over"):
        read_video(path, 0.0, 0.8, VideoRequest(4, 48))
    reading = read_video(path, 0.5, 1.5, VideoRequest(4, 48))
    assert reading.note == "there is no frame before 1.00 s; the first one stands in"
    assert numbers_of(reading.array) == [0, 0, 3, 9]
    assert read_video(path, 1.0, 2.0, VideoRequest(4, 48)).note is None


def test_pictures_that_change_their_shape_are_a_reason_in_words(tmp_path: Path, write_video: WriteVideo) -> None:
    parts = [
        write_video(tmp_path / str(i), pictures=25, pts=range(25 * i, 25 * i + 25), form="mpegts", size=size)
        for i, size in enumerate(((64, 48), (96, 48)))
    ]
    path = tmp_path / "v.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert read_video(path, 0.1, 0.9, VideoRequest(4, 48)).array.shape == (4, 48, 64, 3)
    with pytest.raises(MediaError, match=r"v\.ts: its frames change their shape within the segment; .* 64 x 48 and 96"):
        read_video(path, 0.5, 1.5, VideoRequest(8, 48))


@pytest.mark.parametrize("form", ["mp4", "mov"])
@pytest.mark.parametrize("x264", ["bframes=0", "bframes=3"])
def test_an_edit_list_that_begins_within_the_film(
    form: str, x264: str, tmp_path: Path, write_video: WriteVideo, numbers_of: NumbersOf
) -> None:
    """What lies before second 0, as in clips cut without encoding them again, is decoded and not shown."""
    whole = write_video(tmp_path / "whole.mp4", pictures=60, x264=x264)
    path = tmp_path / "v.mp4"
    with av.open(str(whole)) as source, av.open(str(path), "w", format=form) as target:
        stream = target.add_stream_from_template(source.streams[0])
        for packet in source.demux(0):
            if packet.dts is not None:
                packet.stream, earlier = stream, round(Fraction(10, RATE) / packet.time_base)
                packet.pts, packet.dts = packet.pts - earlier, packet.dts - earlier
                target.mux(packet)
    assert numbers_of(read_video(path, 0.0, 2.0, VideoRequest(50, 48)).array) == list(range(10, 60))
    assert numbers_of(read_video(path, 0.0, np.inf, VideoRequest(5, 48)).array) == [15, 25, 35, 45, 55]
