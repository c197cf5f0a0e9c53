"""Folders of images, optical flow, depth and IMU in a manifest: what each cell is read as, and that it is read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmcache.extract.datasets.manifest.manifest import Manifest
from mmcache.extract.media import AudioRequest, ImuRequest, MediaError, VideoRequest, read_media
from mmcache.extract.media.base.source import Source
from mmcache.store.ground.errors import ConfigError

EGO4D = "component_idx,component_timestamp_ms,canonical_timestamp_ms,gyro_x,gyro_y,gyro_z,accl_x,accl_y,accl_z"
GOPRO = ("Milliseconds,AcclX,AcclY,AcclZ", "Milliseconds,GyroX,GyroY,GyroZ")


def pictures(folder: Path, numbers: range, mode: str = "L") -> Path:
    """Image n is grey n; 16-bit ones are n metres deep."""
    folder.mkdir(parents=True)
    for number in numbers:
        size = (16, 12)
        if mode == "I;16":
            Image.fromarray(np.full(size[::-1], 1000 * number, np.uint16)).save(folder / f"d-{number:04d}.png")
        else:
            Image.new(mode, size, number).save(folder / f"frame_{number:05d}.png")
    return folder


def manifest(folder: Path, header: str, *rows: str, **settings: Any) -> Manifest:
    (folder / "manifest.csv").write_text("\n".join([header, *rows]) + "\n")
    return Manifest(folder, labels="none", **settings)


def read(dataset: Manifest, modality: str, row: int, frames: int) -> Any:
    segment = dataset.segments.iloc[row]
    source = dataset.source(modality, segment["video"])
    assert source is not None
    return read_media(source, segment["start_s"], segment["stop_s"], VideoRequest(frames, 12)).array


@pytest.mark.parametrize("modality", ["rgb", "ir"])
@pytest.mark.parametrize("lowest", [0, 1, 40])
def test_a_folder_with_a_rate_has_a_clock_that_starts_with_its_first_picture(
    modality: str, lowest: int, tmp_path: Path
) -> None:
    pictures(tmp_path / "p", range(lowest, lowest + 50))
    rows = ("p,0,1,10", "p,2.5,3.5,10", "p,4,,10")
    dataset = manifest(tmp_path, f"{modality},start,stop,{modality}_rate", *rows)
    assert dataset.problems == []
    assert dataset.segments["video"].nunique() == 1
    for row, first in enumerate((0, 25, 40)):
        found = read(dataset, modality, row, 10)[:, 0, 0, 0]
        assert found.tolist() == list(range(lowest + first, lowest + first + 10))


def test_a_folder_without_a_rate_is_one_segment(tmp_path: Path) -> None:
    pictures(tmp_path / "p", range(1, 21))
    dataset = manifest(tmp_path, "rgb,audio,start,stop", "p,,,", "p,x.wav,0,2.5")
    assert dataset.source("rgb", "p") == Source("frames", (tmp_path / "p",))
    for row in (0, 1):
        assert read(dataset, "rgb", row, 10)[:, 0, 0, 0].tolist() == list(range(2, 22, 2))
    assert manifest(tmp_path, "rgb", "p").source("audio", "p") is None, "images have no sound"
    named = manifest(tmp_path, "audio", "p").source("audio", "p")
    assert named is not None, "a folder that is said to be sound is a mistake to be told"
    with pytest.raises(MediaError, match=r"p cannot be read: it is a folder, not a regular file"):
        read_media(named, 0.0, 1.0, AudioRequest(rate=16000, max_seconds=10.0))


def test_a_row_that_starts_inside_a_folder_without_a_clock_is_named(tmp_path: Path) -> None:
    """All such rows would be given the same images, those of the whole folder."""
    pictures(tmp_path / "p", range(1, 21))
    dataset = manifest(tmp_path, "id,rgb,rgb_rate,start", "a,p,,0", "b,p,,1", "c,p,10,1", "d,gone,,1")
    assert dataset.segments["id"].tolist() == ["a", "c", "d"]
    assert dataset.problems == [
        "manifest.csv line 3 (b): has a start, but its folder of images has no rate (as in a column rgb_rate)"
    ]


def test_rows_of_one_folder_with_different_rates_are_different_videos(tmp_path: Path) -> None:
    pictures(tmp_path / "p", range(1, 41))
    dataset = manifest(tmp_path, "rgb,rgb_rate,start,stop", "p,10,1,2", "p,20,1,2")
    assert dataset.segments["video"].tolist() == ["p", "p#2"]
    assert [int(read(dataset, "rgb", row, 1)[0, 0, 0, 0]) for row in (0, 1)] == [16, 31]
    assert "rgb_rate" not in dataset.segments.columns


def test_flow_is_a_folder_of_u_and_v(tmp_path: Path) -> None:
    for axis, numbers in (("u", range(1, 31)), ("v", range(1, 31))):
        pictures(tmp_path / "f" / axis, numbers)
    dataset = manifest(tmp_path, "flow,flow_rate,start,stop", "f,30,0,1", "f,30,0.5,1")
    assert read(dataset, "flow", 1, 15)[:, 0, 0].tolist() == [[n, n, 128] for n in range(16, 31)]
    (tmp_path / "f/v").rename(tmp_path / "f/w")
    with pytest.raises(MediaError, match="the folder v is not there"):
        read(dataset, "flow", 0, 4)


@pytest.mark.parametrize("colouring", ["grey", "jet"])
def test_depth_is_a_folder_of_16_bit_pictures_or_a_video(
    colouring: str, tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    pictures(tmp_path / "d", range(1, 8), "I;16")
    write_video(tmp_path / "d.mp4")
    dataset = manifest(tmp_path, "depth,depth_rate,stop", "d,2,3.5", "d.mp4,,1", depth=colouring)
    source = dataset.source("depth", "d")
    assert source == Source("depth", (tmp_path / "d",), 2.0, 1.0, variant=colouring)
    near_to_far = read(dataset, "depth", 0, 7)[:, 0, 0].astype(int)
    if colouring == "grey":
        assert (np.diff(near_to_far[:, 0]) > 10).all()
    assert dataset.source("depth", "d#2") == Source("video", (tmp_path / "d.mp4",))
    assert read(dataset, "depth", 1, 3).shape == (3, 12, 16, 3)


@pytest.mark.parametrize("rate", ["zero", "0", "-5", "inf", "nan"])
def test_a_rate_that_is_none_is_refused(rate: str, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=rf"line 2: ir_rate '{rate}' is no number of images a second \(1 such\)|'nan' in manifest"
    ):
        manifest(tmp_path, "rgb,ir,ir_rate", f"a.mp4,p,{rate}", "b.mp4,p,25")


def test_imu_is_known_by_its_header(tmp_path: Path) -> None:
    times = np.arange(0, 3000, 5)
    (tmp_path / "ego.csv").write_text(
        "\n".join([EGO4D, *(f"0,{ms},{ms},1,2,3,4,5,{ms / 1000}" for ms in times)]), encoding="utf-8-sig"
    )
    for name, header in zip(("a.csv", "g.csv"), GOPRO, strict=True):
        (tmp_path / name).write_text("\n".join([header, *(f"{ms},1,2,{ms / 1000}" for ms in times)]))
    dataset = manifest(tmp_path, "id,imu", "e,ego.csv", "g,a.csv;g.csv", "h,a.csv", "i,gone.csv")
    kinds = [dataset.source("imu", video) for video in dataset.segments["video"]]
    assert [source and source.kind for source in kinds] == ["ego4d_imu", "imu", "imu", "imu"]
    assert kinds[3] is not None
    assert kinds[3].absent() == f"{tmp_path / 'gone.csv'} is not there"
    for source, axis in zip(kinds[:2], (2, 2), strict=True):
        assert source is not None
        np.testing.assert_allclose(
            read_media(source, 1.0, 2.0, ImuRequest(points=2)).array[:, axis], [1.25, 1.75], atol=1e-4
        )
    assert kinds[2] is not None
    with pytest.raises(
        MediaError, match=r"a\.csv: it has no gyroscope, and the encoder takes both sensors\. Give its file too"
    ):
        read_media(kinds[2], 1.0, 2.0, ImuRequest(points=2))
