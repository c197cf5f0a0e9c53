"""Miniature trees of UWA3D Multiview Activity II in the layouts that are about, by hand."""

from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from mmcache.extract.datasets import DATASETS
from mmcache.extract.datasets.kinect.uwa3d import Uwa3d
from mmcache.extract.media import read_media
from mmcache.extract.media.base.requests import SkeletonRequest, VideoRequest
from mmcache.extract.media.base.source import Source
from mmcache.store.ground.errors import ConfigError
from mmcache.store.segments.segment_table import is_task_name

RGB, DEPTH, SKELETON = "UWA3DII_RGB/UWA3D-RGB", "UWA3DII_Depth_ROI/UWA3D-Depth", "ActionsSkeleton"


def tree(root: Path, *names: str) -> Path:
    for name in names:
        if name.endswith(".mat"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        else:
            (root / name).mkdir(parents=True)
    return root


def found(dataset: Uwa3d) -> dict[str, dict[str, str]]:
    """id -> modality -> name on disk."""
    out = {}
    for video in dataset.segments["video"]:
        sources = {modality: dataset.source(modality, video) for modality in dataset.modalities}
        out[video] = {modality: source.paths[0].name for modality, source in sources.items() if source is not None}
    return out


def test_equal_names_are_paired_and_the_skeletons_fields_stand_in_another_order(tmp_path: Path) -> None:
    names = (f"{RGB}/a03_s10_v04_e01", f"{DEPTH}/a03_s10_v04_e01", f"{SKELETON}/a03_s10_e01_v04.mat")
    dataset = Uwa3d(tree(tmp_path, *names))
    rgb, depth, mat = (tmp_path / name for name in names)
    assert dataset.source("rgb", "a03_s10_v04_e01") == Source("frames", (rgb,), beside=((depth, ""),))
    assert dataset.source("depth", "a03_s10_v04_e01") == Source("depth", (depth,), variant="grey", beside=((rgb, ""),))
    assert dataset.source("skeleton", "a03_s10_v04_e01") == Source("mat_skeleton", (mat,))
    row = dataset.segments.iloc[0]
    assert row[["action", "subject", "view", "take"]].tolist() == [2, 10, 4, 1]
    assert dataset.tasks["action"][row["action"]] == "a03"
    assert len(dataset.tasks["action"]) == 30
    assert dataset.problems == []
    jet = Uwa3d(tmp_path, depth="jet").source("depth", "a03_s10_v04_e01")
    assert jet is not None
    assert jet.variant == "jet"


def test_takes_are_paired_in_their_order_where_numbers_differ(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        *(f"UWA3D-RGB/a01_s01_v01_e{number}" for number in ("01", "02")),
        *(f"WholeFrames/a01_s01_v01_e{number}" for number in ("00", "01")),
        *(f"{SKELETON}/view_1/a01_s01_e{number}_v01.mat" for number in ("00", "02")),
    )
    assert found(Uwa3d(root)) == {
        "a01_s01_v01_e01": {
            "rgb": "a01_s01_v01_e01",
            "depth": "a01_s01_v01_e00",
            "skeleton": "a01_s01_e00_v01.mat",
        },
        "a01_s01_v01_e02": {
            "rgb": "a01_s01_v01_e02",
            "depth": "a01_s01_v01_e01",
            "skeleton": "a01_s01_e02_v01.mat",
        },
    }


def test_what_has_no_partner_stays_alone_and_is_told(tmp_path: Path) -> None:
    """No order pairs two takes with one; only a number that both have does."""
    root = tree(
        tmp_path,
        *(f"{RGB}/view_2/a05_s03_v02_e{number}" for number in ("01", "02")),
        f"{DEPTH}/view_2/a05_s03_v02_e02",
        f"{DEPTH}/view_3/a05_s03_v03_e00",
        f"{SKELETON}/a06_s01_e01_v01.mat",
    )
    dataset = Uwa3d(root)
    assert found(dataset) == {
        "a05_s03_v02_e01": {"rgb": "a05_s03_v02_e01"},
        "a05_s03_v02_e02": {"rgb": "a05_s03_v02_e02", "depth": "a05_s03_v02_e02"},
        "a05_s03_v03_e00": {"depth": "a05_s03_v03_e00"},
        "a06_s01_v01_e01": {"skeleton": "a06_s01_e01_v01.mat"},
    }
    assert dataset.problems == [
        "a05_s03_v02_e01 has rgb but no depth to pair with",
        "a05_s03_v03_e00 has depth but no rgb to pair with",
        "a06_s01_v01_e01 has skeleton but no rgb and no depth to pair with",
    ]


def test_a_modality_that_is_not_on_disk_at_all_is_not_missed(tmp_path: Path) -> None:
    assert Uwa3d(tree(tmp_path, f"{DEPTH}/a05_s03_v03_e00")).problems == []


def test_every_published_pair_of_views_is_a_split(tmp_path: Path) -> None:
    dataset = Uwa3d(tree(tmp_path, *(f"{RGB}/a01_s01_v0{view}_e01" for view in (1, 2, 3, 4))))
    table = dataset.segments.set_index("view")
    columns = [column for column in table.columns if column.startswith("split_")]
    assert len(columns) == 6 * 2 + 3
    assert all(is_task_name(column) for column in columns)
    assert table["split"].tolist() == table["split_v34_v12"].tolist() == ["test", "test", "train", "train"]
    assert table["split_v12_v34"].tolist() == ["train", "train", "test", "test"]
    assert table["split_v123_v4"].tolist() == ["train", "train", "train", "test"]
    assert table["split_v12_v3"].tolist() == ["train", "train", "test", ""]
    assert table["split_v24_v1"].tolist() == ["test", "train", "", "train"]
    cross = [column for column in columns if len(column) == len("split_v12_v3")]
    assert len(cross) == 12
    assert len({tuple(table[column]) for column in cross}) == 12
    for column in cross:
        assert Counter(table[column]) == {"train": 2, "test": 1, "": 1}
    assert dataset.eval_split == "test"


def test_takes_that_actionmae_leaves_out_are_in_no_part_of_its_split(tmp_path: Path) -> None:
    excluded = ("a21_s02_v04_e01", "a06_s06_v04_e01", "a02_s06_v03_e01", "a07_s02_v02_e01", "a16_s06_v02_e01")
    dataset = Uwa3d(tree(tmp_path, f"{RGB}/a21_s02_v04_e02", *(f"{RGB}/{name}" for name in excluded)))
    table = dataset.segments.set_index("id")
    for name in excluded:
        assert table.loc[name, ["split", "split_v34_v12"]].tolist() == ["excluded", ""]
    assert table.loc["a21_s02_v04_e01", "split_v12_v34"] == "test"
    assert table.loc["a21_s02_v04_e02", ["split", "split_v34_v12"]].tolist() == ["train", "train"]


def test_skeletons_known_to_be_bad_are_left_out_by_name(tmp_path: Path) -> None:
    names = [f"a{action}_s01_e01_v01" for action in (25, 26, 27)]
    root = tree(tmp_path, *(f"{SKELETON}/{name}.mat" for name in names), f"{RGB}/a25_s01_v01_e01")
    dataset = Uwa3d(root)
    assert found(dataset) == {
        "a25_s01_v01_e01": {"rgb": "a25_s01_v01_e01"},
        "a27_s01_v01_e01": {"skeleton": "a27_s01_e01_v01.mat"},
    }
    assert dataset.problems[:2] == [f"{SKELETON}/{name}.mat is known to be damaged and left out" for name in names[:2]]


def test_what_is_no_take_is_told_and_costs_no_other(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        f"{RGB}/a01_s01_v01_e01",
        f"{RGB}/a31_s01_v01_e01",
        f"{RGB}/a01_s01_v05_e01",
        "pictures/a02_s01_v01_e01",
        "whole/WholeFrames/a01_s01_v01_e01",
        f"{DEPTH}/a01_s01_v01_e01",
    )
    dataset = Uwa3d(root)
    assert list(found(dataset)) == ["a01_s01_v01_e01"]
    assert dataset.problems == [
        f"{RGB}/a01_s01_v05_e01: actions go from 1 to 30, views from 1 to 4",
        f"{RGB}/a31_s01_v01_e01: actions go from 1 to 30, views from 1 to 4",
        "pictures/a02_s01_v01_e01: no folder above it says RGB, Depth or WholeFrames",
        f"whole/WholeFrames/a01_s01_v01_e01 is also {DEPTH}/a01_s01_v01_e01, which is used",
    ]
    for video in ("../a01_s01_v01_e01", "a31_s01_v01_e01"):
        assert dataset.source("rgb", video) is None
    with pytest.raises(ConfigError, match=r"no take of UWA3D below .* UWA3D-RGB/a01_s01_v01_e01/"):
        Uwa3d(tree(tmp_path / "other", "a01_s01_v01"))


def test_pictures_with_a_comma_are_read_where_colour_and_depth_have_them(tmp_path: Path) -> None:
    assert DATASETS["uwa3d"][0] is Uwa3d
    rgb, depth = tmp_path / RGB / "a01_s01_v03_e01", tmp_path / DEPTH / "a01_s01_v03_e00"
    tree(tmp_path, f"{RGB}/a01_s01_v03_e01", f"{DEPTH}/a01_s01_v03_e00", SKELETON)
    for number in range(1, 11):
        Image.new("RGB", (32, 24), (20 * number,) * 3).save(rgb / f"{number:03d},.jpg", quality=100)
    for number in range(4, 14):
        Image.fromarray(np.full((24, 32), 500 + 30 * number, np.uint16)).save(depth / f"{number:03d}.png")
    with h5py.File(tmp_path / SKELETON / "a01_s01_e00_v03.mat", "w") as file:
        file["A"] = np.arange(7 * 45, dtype=float).reshape(7, 45).T / 100
    dataset = Uwa3d(tmp_path)
    sources = [dataset.source(modality, "a01_s01_v03_e01") for modality in dataset.modalities]
    pictures, maps = (
        np.asarray(read_media(source, 0, np.inf, VideoRequest(7, 24)).array)[:, 0, 0, 0].astype(int)
        for source in sources[:2]
        if source is not None
    )
    assert np.rint(pictures / 20).tolist() == list(range(4, 11))
    assert maps.tolist() == [1 + round(30 * number * 254 / 7500) for number in range(4, 11)]
    assert sources[2] is not None
    poses = np.asarray(read_media(sources[2], 0, np.inf, SkeletonRequest(7, 1, 25)).array)
    np.testing.assert_allclose(poses[:, 0, 14, 2], (np.arange(7) * 45 + 44) / 100, rtol=1e-6)
