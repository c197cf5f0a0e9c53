"""A miniature multiview_action tree, with the traps of the real one, by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmcache.extract.datasets import DATASETS
from mmcache.extract.datasets.kinect.nw_ucla import NwUcla
from mmcache.extract.media import read_media
from mmcache.extract.media.base.requests import SkeletonRequest, VideoRequest
from mmcache.extract.media.base.source import Source
from mmcache.extract.planning.extract_config import ExtractConfig
from mmcache.extract.planning.plan import make_plan
from mmcache.store.ground.errors import ConfigError

# Numbers without leading zeros, out of step with names; 12 has no depth, 13 no colour, 11 no skeleton.
RGB, DEPTH, SKELETONS = (8, 9, 10, 11, 12), (8, 9, 10, 11, 13), (8, 9, 10)


def write_take(folder: Path, kinds: str = "rgb depth skeletons") -> Path:
    """Every file says its number: red of the frame, grey of the depth, x of the skeleton."""
    folder.mkdir(parents=True)
    for number in RGB if "rgb" in kinds else ():
        # A timecode that falls, and other frames of the same moment.
        name = f"frame_{number}_tc_{90467400 - number}"
        Image.new("RGB", (64, 48), (10 * number, 0, 0)).save(folder / f"{name}_rgb.jpg", quality=100, subsampling=0)
        Image.new("L", (32, 24), 3).save(folder / f"{name}_depth_vis.jpg")
        Image.new("RGB", (32, 24), (3, 3, 3)).save(folder / f"{name}_maprgbd.png")
    for number in DEPTH if "depth" in kinds else ():
        values = np.full((24, 32), 500 + 30 * number, np.uint16)
        Image.fromarray(values).save(folder / f"frame_{number}_tc_{90467351 + number}_depth.png")
    for number in SKELETONS if "skeletons" in kinds else ():
        joints = "".join(f"{number},{joint / 10},2.0,2\n" for joint in range(20))
        (folder / f"frame_{number}_tc_{90467351 + number}_skeletons.txt").write_text(f"1\n{joints}")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    top = tmp_path / "multiview_action"
    write_take(top / "view_1/a01_s01_e00")
    (top / "view_1/a01_s01_e00/fileList.txt").write_text("8 12 90467319\n")
    write_take(top / "view_1/a12_s10_e03", "rgb")
    write_take(top / "view_2/a01_s01_e00", "depth skeletons")  # no fileList.txt
    write_take(top / "view_3/a08_s02_e11")
    write_take(top / "view_3/a11_s02_e01", "skeletons")
    (top / "view_3/Thumbs.db").touch()
    return tmp_path


def test_takes_labels_and_splits(root: Path) -> None:
    dataset = NwUcla(root)
    table = dataset.segments
    expected = {
        # action, subject, view, take; split; with view 1, 2, 3 for test
        "a01_s01_e00_v01": (0, 1, 1, 0, "train", "test", "train", "train"),
        "a01_s01_e00_v02": (0, 1, 2, 0, "train", "train", "test", "train"),
        "a08_s02_e11_v03": (6, 2, 3, 11, "test", "train", "train", "test"),
        "a11_s02_e01_v03": (8, 2, 3, 1, "test", "train", "train", "test"),
        "a12_s10_e03_v01": (9, 10, 1, 3, "train", "test", "train", "train"),
    }
    columns = ["action", "subject", "view", "take", "split", "split_view1", "split_view2", "split_view3"]
    assert table["id"].tolist() == table["video"].tolist() == list(expected)
    assert list(table[columns].itertuples(index=False, name=None)) == list(expected.values())
    assert (table["start_s"] == 0).all()
    assert np.isinf(table["stop_s"]).all()
    assert dataset.problems == []


def test_class_numbers_have_gaps_and_labels_none(root: Path) -> None:
    names = NwUcla(root).tasks["action"]
    assert len(names) == 10
    assert [names[label] for label in (0, 6, 8, 9)] == ["pick up with one hand", "donning", "throw", "carry"]


def test_modalities_are_those_whose_files_are_in_the_folder(root: Path) -> None:
    dataset = NwUcla(root)
    found = {video: "".join(m[0] for m in dataset.modalities if dataset.source(m, video)) for video in dataset._takes}
    assert found == {
        "a01_s01_e00_v01": "rds",
        "a12_s10_e03_v01": "r",  # depth_vis and maprgbd are no depth
        "a01_s01_e00_v02": "ds",
        "a08_s02_e11_v03": "rds",
        "a11_s02_e01_v03": "s",
    }
    source = NwUcla(root, depth="jet").source("depth", "a08_s02_e11_v03")
    assert source is not None
    assert source.variant == "jet"
    for video in ("a01_s01_e00", "../view_1/a01_s01_e00", ""):
        assert dataset.source("rgb", video) is None


def shown(source: Source | None, frames: int) -> Any:
    assert source is not None
    return np.asarray(read_media(source, 0, np.inf, VideoRequest(frames, 24)).array)[:, 0, 0, 0]


def test_moments_are_matched_by_number_though_every_modality_has_its_own_timecode(root: Path) -> None:
    dataset = NwUcla(root)
    rgb, depth, skeleton = (dataset.source(m, "a08_s02_e11_v03") for m in dataset.modalities)
    assert (np.rint(shown(rgb, 4) / 10) == [8, 9, 10, 11]).all()
    assert shown(depth, 4).tolist() == [9, 10, 11, 12]  # 30 mm are 1.02 steps of grey, and the first is 1
    assert skeleton is not None
    poses = np.asarray(read_media(skeleton, 0, np.inf, SkeletonRequest(3, 1, 20)).array)
    assert poses[:, 0, 0, 0].tolist() == [8, 9, 10]


def test_a_modality_alone_uses_all_its_pictures_in_the_order_of_numbers(root: Path) -> None:
    dataset = NwUcla(root)
    assert (np.rint(shown(dataset.source("rgb", "a12_s10_e03_v01"), 5) / 10) == RGB).all()
    assert (np.diff(shown(dataset.source("depth", "a01_s01_e00_v02"), 5).astype(int)) == [1, 1, 1, 2]).all()


def test_views_may_lie_in_the_root_itself(root: Path) -> None:
    assert len(NwUcla(root / "multiview_action").segments) == 5


def test_what_is_no_take_is_told_and_costs_no_other(root: Path) -> None:
    top = root / "multiview_action"
    for name in ("view_1/a07_s01_e00", "view_2/a01-s01", "view_4/a01_s01_e00"):
        (top / name).mkdir(parents=True)
    (top / "view_2/a02_s01_e00").mkdir()  # a take without files has no media
    dataset = NwUcla(root)
    assert len(dataset.segments) == 6
    allowed = "1, 2, 3, 4, 5, 6, 8, 9, 11, 12"
    assert dataset.problems == [
        "view_4 is none of the views 1, 2, 3",
        f"view_1/a07_s01_e00 is no take aAA_sSS_eEE of an action of {allowed}",
        f"view_2/a01-s01 is no take aAA_sSS_eEE of an action of {allowed}",
    ]
    assert dataset.source("rgb", "a02_s01_e00_v02") is None


def test_no_take_is_an_error_that_says_where_they_should_be(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "gone"):
        with pytest.raises(ConfigError, match=r"no take of Northwestern-UCLA below .*view_1/a01_s01_e00/"):
            NwUcla(root)


def test_the_command_line_knows_the_colourings(root: Path) -> None:
    assert DATASETS["nw-ucla"][0] is NwUcla
    given = {"root": root, "store": root / "s.zarr", "modalities": ["rgb"]}
    assert make_plan(ExtractConfig("nw-ucla", set={"depth": "jet"}, **given)).modalities[0].on_disk.sum() == 3
    with pytest.raises(ConfigError, match="--set depth=rainbow: allowed are grey, jet"):
        make_plan(ExtractConfig("nw-ucla", set={"depth": "rainbow"}, **given))
