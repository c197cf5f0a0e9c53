"""Media of EPIC-KITCHENS-100 in the layouts of its downloader and server."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from mmcache.extract.datasets import DATASETS
from mmcache.extract.datasets.epic.epic_kitchens import EpicKitchens
from mmcache.extract.media.base.source import Source

WriteEpic = Callable[..., Path]
TRAIN = [
    "P01_11_0,P01,P01_11,00:00:00.560,00:00:00.00,00:00:01.89,1,113,take plate,take,0,plate,2,['plate'],[2]",
    "P01_11_1,P01,P01_11,,00:00:02.10,00:00:03.00,126,180,switch-on board,switch-on,3,board,3,['board'],[3]",
]
EXTENSION = ["P01_101_0,P01,P01_101,,00:00:00.00,00:00:01.89,1,113,take plate,take,0,plate,2,['plate'],[2]"]


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


LAYOUTS: dict[str, tuple[str, str]] = {
    # layout -> (folder of the videos of P01, folder of its IMU files)
    "downloader": ("P01/videos", "P01/meta_data"),
    "downloader, one level up": ("EPIC-KITCHENS/P01/videos", "EPIC-KITCHENS/P01/meta_data"),
    "server, train": ("videos/train/P01", "meta_data/train/P01"),
    "server, test": ("videos/test/P01", "meta_data/test/P01"),
    "server, one level up": ("EPIC-KITCHENS/videos/test/P01", "EPIC-KITCHENS/meta_data/train/P01"),
    "server, 2018 split beside the downloader": ("videos/test/P01", "P01/meta_data"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_media_are_found_in_every_official_layout(layout: str, tmp_path: Path, write_epic: WriteEpic) -> None:
    videos, meta = LAYOUTS[layout]
    root = write_epic(tmp_path, EXTENSION)
    film = touch(root / videos / "P01_101.MP4")
    accl, gyro = (touch(root / meta / f"P01_101-{sensor}.csv") for sensor in ("accl", "gyro"))
    dataset = EpicKitchens(root)
    assert dataset.source("rgb", "P01_101") == Source("video", (film,))
    assert dataset.source("audio", "P01_101") == Source("audio", (film,))
    assert dataset.source("imu", "P01_101") == Source("imu", (accl, gyro))
    for modality in dataset.modalities:
        for other in ("P01_102", "P01_10", "P01_01", "P02_101"):
            assert dataset.source(modality, other) is None


def test_imu_exists_for_some_videos_only(tmp_path: Path, write_epic: WriteEpic) -> None:
    root = write_epic(tmp_path, [*TRAIN, *EXTENSION])
    for video in ("P01_11", "P01_101"):
        touch(root / "P01" / "videos" / f"{video}.MP4")
    for sensor in ("accl", "gyro"):
        touch(root / "P01" / "meta_data" / f"P01_101-{sensor}.csv")
    dataset = EpicKitchens(root)
    assert dataset.source("imu", "P01_11") is None
    assert dataset.source("imu", "P01_101") is not None
    assert dataset.source("rgb", "P01_11") is not None


@pytest.mark.parametrize("lost", ["accl", "gyro"])
def test_one_of_the_imu_pair_is_no_missing_modality_but_a_broken_download(
    lost: str, tmp_path: Path, write_epic: WriteEpic
) -> None:
    root = write_epic(tmp_path, EXTENSION)
    folder = root / "P01" / "meta_data"
    kept = {"accl": "gyro", "gyro": "accl"}[lost]
    touch(folder / f"P01_101-{kept}.csv")
    source = EpicKitchens(root).source("imu", "P01_101")
    assert source == Source("imu", (folder / "P01_101-accl.csv", folder / "P01_101-gyro.csv"))


def test_what_to_download_is_told_with_the_folders_looked_in(tmp_path: Path, write_epic: WriteEpic) -> None:
    text = EpicKitchens(write_epic(tmp_path, TRAIN)).expected_layout()
    assert str(tmp_path) in text
    assert "PXX/videos/PXX_YY.MP4" in text
    assert re.search(r"https://github\.com/epic-kitchens/epic-kitchens-download-scripts", text)


def test_the_table_of_data_sets_opens_it(tmp_path: Path, write_epic: WriteEpic) -> None:
    opened: Callable[..., object] = DATASETS["epic"][0]
    assert isinstance(opened(write_epic(tmp_path, TRAIN), None), EpicKitchens)
