"""EPIC-KITCHENS-100 media trees by hand: which file a modality is read from, and on which clock."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from mmcache.extract.datasets.epic.epic_media import EpicMedia, is_extension
from mmcache.extract.media import read_media
from mmcache.extract.media.base.requests import VideoRequest
from mmcache.extract.media.base.source import Source


def pictures(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    for number in range(1, count + 1):
        Image.new("L", (8, 8), number).save(folder / f"frame_{number:010d}.jpg", quality=100)
    return folder


@pytest.mark.parametrize("base", [".", "EPIC-KITCHENS"])
@pytest.mark.parametrize(
    "tree", ["P01/rgb_frames", "rgb_frames/train/P01", "rgb_frames/test/P01", "rgb_frames/P01", "rgb_frames"]
)
def test_extracted_pictures_stand_in_for_a_film_that_is_not_there(base: str, tree: str, tmp_path: Path) -> None:
    folder = tmp_path / base / tree / "P01_01"
    folder.mkdir(parents=True)
    media = EpicMedia(tmp_path)
    assert media.source("rgb", "P01_01") == Source("frames", (folder,), rate=60.0)
    assert media.source("rgb", "P01_02") is None
    assert media.source("audio", "P01_01") is None
    film = tmp_path / base / "P01/videos/P01_01.MP4"
    film.parent.mkdir(parents=True)
    film.touch()
    assert media.source("rgb", "P01_01") == Source("video", (film,))
    assert media.source("audio", "P01_01") == Source("audio", (film,))


def test_the_era_of_a_video_sets_its_frame_clock(tmp_path: Path) -> None:
    assert [is_extension(video) for video in ("P01_01", "P37_99", "P01_101", "P36_105")] == [False, False, True, True]
    for video in ("P01_01", "P01_101", "P01_109", "P27_103"):
        (tmp_path / video[:3] / "rgb_frames" / video).mkdir(parents=True)
    sources = [EpicMedia(tmp_path).source("rgb", v) for v in ("P01_01", "P01_101", "P01_109", "P27_103")]
    assert [source.rate for source in sources if source] == [60.0, 50.0, 50.0, 50.0]


@pytest.fixture(scope="module")
def first_release() -> Iterator[Path]:
    """146,918 frames of P27_103, as first released, and two of P01_109; hard links, in memory."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        for video, count in (("P27_103", 146_918), ("P01_109", 2)):
            folder = Path(name) / video[:3] / "rgb_frames" / video
            folder.mkdir(parents=True)
            first = folder / "frame_0000000001.jpg"
            first.touch()
            for number in range(2, count + 1):
                (folder / f"frame_{number:010d}.jpg").hardlink_to(first)
        yield Path(name)


def test_the_two_videos_first_released_at_another_rate_are_told_by_their_number_of_pictures(
    first_release: Path,
) -> None:
    sources = [EpicMedia(first_release).source("rgb", video) for video in ("P27_103", "P01_109")]
    assert [source.rate for source in sources if source] == [60.0, 50.0]


def test_flow_needs_both_axes_and_is_brought_to_one_scale(tmp_path: Path) -> None:
    for video in ("P01_01", "P01_101"):
        (tmp_path / "P01/flow_frames" / video / "u").mkdir(parents=True)
    media = EpicMedia(tmp_path)
    assert media.source("flow", "P01_01") is None
    for video in ("P01_01", "P01_101"):
        (tmp_path / "P01/flow_frames" / video / "v").mkdir()
    old, new = media.source("flow", "P01_01"), media.source("flow", "P01_101")
    assert old is not None
    assert new is not None
    assert (old.kind, old.rate, old.gain) == ("flow", 30.0, 1.0)
    assert (new.kind, new.rate) == ("flow", 50.0)
    # 8 pixels in a fiftieth of a second are 13.3 in a thirtieth: that share of 25, the old bound.
    assert new.gain == pytest.approx(13.333 / 25, rel=1e-3)


def test_the_flow_of_a_moment_is_that_of_its_picture_in_both_eras(tmp_path: Path) -> None:
    """The official map: (n - 1) // 2 + 1 for 2018, n for the extension."""
    for video, count in (("P01_01", 60), ("P01_101", 100)):
        for axis in ("u", "v"):
            pictures(tmp_path / "P01/flow_frames" / video / axis, count)
    for video, rate in (("P01_01", 60), ("P01_101", 50)):
        source = EpicMedia(tmp_path).source("flow", video)
        assert source is not None
        seconds = np.arange(1, 80) / 80
        for second in seconds:
            reading = read_media(
                Source("flow", source.paths, rate=source.rate, first=source.first),
                second,
                second + 1e-4,
                VideoRequest(1, 8),
            )
            number = max(1, int(np.floor((second + 0.5e-4) * rate + 1e-6)))
            expected = (number - 1) // 2 + 1 if rate == 60 else number
            assert int(np.asarray(reading.array)[0, 0, 0, 0]) == expected, second


def test_sound_apart_from_the_film_is_found_too(tmp_path: Path) -> None:
    media = EpicMedia(tmp_path)
    packed = tmp_path / "EPIC_audio.hdf5"
    with h5py.File(packed, "w") as file:
        file["P01_01"] = np.zeros(10, np.float32)
    assert media.source("audio", "P01_01") == Source("hdf5_audio", (packed,), rate=24000.0, entry="P01_01")
    wav = tmp_path / "audio/P01_01.wav"
    wav.parent.mkdir()
    wav.touch()
    assert media.source("audio", "P01_01") == Source("audio", (wav,))
