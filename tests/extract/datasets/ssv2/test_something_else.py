"""Something-Else beside Something-Something V2: boxes and divisions, in trees written by hand."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmcache.extract.datasets.ssv2.ssv2 import SomethingSomethingV2
from mmcache.extract.media import read_media
from mmcache.extract.media.base.requests import BoxesRequest
from mmcache.extract.media.base.source import Source
from mmcache.extract.planning.extract_config import ExtractConfig
from mmcache.store.feature_store import FeatureStore
from mmcache.store.format.layout import Presence
from mmcache.store.ground.errors import ConfigError
from mmcache.store.segments.segment_table import is_task_name

PUSH, TEAR = "Pushing [something] onto [something]", "Tearing [something that is not tearable]"
LABELS = {"Pushing something onto something": "0", "Tearing something that is not tearable": "1"}
TRAIN, VALIDATION = ("78687", "42326", "13", "2"), ("7", "1420")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    def items(videos: tuple[str, ...]) -> list[dict]:
        return [{"id": v, "label": "", "template": TEAR if v == "13" else PUSH, "placeholders": []} for v in videos]

    folder = tmp_path / "ssv2"
    folder.mkdir()
    for kind, content in (("labels", LABELS), ("train", items(TRAIN)), ("validation", items(VALIDATION))):
        (folder / f"something-something-v2-{kind}.json").write_text(json.dumps(content))
    (folder / "something-something-v2-test.json").write_text('[{"id": "99"}]')
    return folder


def picture(video: str, number: int, x2: float) -> dict:
    box = {"y1": 0, "y2": 120, "x1": 0, "x2": x2}
    labels = [{"box2d": box, "gt_annotation": "object 0", "category": "cup", "standard_category": "0000"}]
    return {"name": f"{video}/{number:04d}.jpg", "gt_placeholders": ["cup"], "nr_instances": 1, "labels": labels}


def part(path: Path, videos: dict[str, int], x2: float = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({v: [picture(v, n, x2) for n in range(1, count + 1)] for v, count in videos.items()}))
    return path


def boxes_of(dataset: SomethingSomethingV2, video: str) -> np.ndarray:
    source = dataset.source("boxes", video)
    assert source is not None
    return np.asarray(read_media(source, 0.0, np.inf, BoxesRequest(2, 1, 0.5)).array)


@pytest.mark.parametrize("folder", [".", "something-else", "bounding_box_annotations"])
def test_boxes_are_found_in_whichever_part_they_are(folder: str, root: Path) -> None:
    part(root / folder / "bounding_box_smthsmth_part1.json", {"78687": 3, "555": 1})
    second = part(root / folder / "bounding_box_smthsmth_part2.json", {"7": 12, "78687": 9}, x2=200)
    sizes = root / folder / "videoid2size.json"
    sizes.write_text('{"78687": [400, 240], "7": [800, 240]}')
    dataset = SomethingSomethingV2(root)
    source = dataset.source("boxes", "7")
    assert source is not None
    assert (source.kind, source.paths, source.rate, source.first) == ("else_boxes", (second, sizes), 12.0, 1.0)
    np.testing.assert_allclose(boxes_of(dataset, "7")[0, 0], [0, 0, 0.25, 0.5, 2, 1])
    np.testing.assert_allclose(boxes_of(dataset, "78687")[0, 0], [0, 0, 0.25, 0.5, 2, 1])
    assert dataset.source("boxes", "1420") is None
    assert dataset.source("boxes", "../7") is None
    assert dataset.problems == []


def test_the_video_stands_in_for_the_table_of_sizes(write_video: Callable[..., Path], root: Path) -> None:
    part(root / "annotations.json", {"7": 12})
    (root / "videos").mkdir()
    film = write_video(root / "videos/7.webm", pictures=12, rate=12, codec="libvpx-vp9", form="webm", size=(200, 240))
    dataset = SomethingSomethingV2(root)
    source = dataset.source("boxes", "7")
    assert source is not None
    assert source.paths == (root / "annotations.json", film)
    np.testing.assert_allclose(boxes_of(dataset, "7")[1, 0], [0, 0, 0.5, 0.5, 2, 1])


@pytest.mark.parametrize(("boxes", "share"), [("auto", 0.25), ("annotated", 0.25), ("detected", 0.5)])
def test_annotated_and_detected_boxes_are_never_mixed(boxes: str, share: float, root: Path) -> None:
    part(root / "bounding_box_smthsmth_part1.json", {"7": 1})
    part(root / "detected_compositional.json", {"7": 1, "1420": 1}, x2=200)
    (root / "videoid2size.json").write_text('{"1420": [400, 240], "7": [400, 240]}')
    dataset = SomethingSomethingV2(root, boxes=boxes)
    assert boxes_of(dataset, "7")[0, 0, 2] == share
    assert (dataset.source("boxes", "1420") is not None) == (boxes == "detected")


def test_detected_boxes_prepared_for_stlt_are_told_by_their_folder(root: Path) -> None:
    frame = [{"category": "hand", "x1": 0, "y1": 0, "x2": 100, "y2": 60, "score": 0.75}]
    folder = root / "something_else_detections"
    folder.mkdir()
    for name, video in (("train", "78687"), ("val", "7")):
        item = {"id": video, "template": PUSH, "size": [200, 240], "frames": [frame] * 5}
        (folder / f"{name}_dataset.json").write_text(json.dumps([item]))
    assert SomethingSomethingV2(root, boxes="annotated").source("boxes", "7") is None
    dataset = SomethingSomethingV2(root)
    for video in ("7", "78687"):
        np.testing.assert_allclose(boxes_of(dataset, video)[0, 0], [0, 0, 0.5, 0.25, 1, 0.75])


def test_a_part_cut_off_is_told_and_the_others_are_used(root: Path) -> None:
    cut = part(root / "bounding_box_smthsmth_part1.json", {"7": 3, "13": 3})
    cut.write_bytes(cut.read_bytes()[:-30])
    part(root / "bounding_box_smthsmth_part2.json", {"2": 3})
    dataset = SomethingSomethingV2(root)
    assert [video for video in ("7", "13", "2") if dataset.source("boxes", video)] == ["7", "2"]
    (problem,) = dataset.problems
    assert "part1.json is cut off or no JSON: the 1 videos before that are used" in problem


def test_the_setting_is_checked_like_any_other(root: Path) -> None:
    config = ExtractConfig(dataset="ssv2", root=root, set={"boxes": "guessed"})
    with pytest.raises(ConfigError, match="boxes=guessed: allowed are auto, annotated, detected"):
        config.check()


def test_a_root_that_is_not_there_has_no_media(root: Path, tmp_path: Path) -> None:
    dataset = SomethingSomethingV2(tmp_path / "none", root)
    assert [dataset.source(modality, "7") for modality in ("rgb", "flow", "boxes")] == [None] * 3


def splits(root: Path, files: dict[str, list[str]], base: str = "something_else/code/dataset_splits") -> None:
    for name, videos in files.items():
        path = root / base / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        items = [{"id": v, "template": TEAR if v == "13" else PUSH, "placeholders": []} for v in videos]
        path.write_text(json.dumps(items))


@pytest.mark.parametrize("base", ["dataset_splits", "something_else/code/dataset_splits", "code/dataset_splits"])
def test_divisions_become_columns(base: str, root: Path) -> None:
    files = {
        "compositional/train": ["7", "13"],
        "compositional/validation": ["78687"],
        "compositional_shuffled/train": ["2"],
        "compositional_shuffled/validation": ["7"],
        "compositional_oneobject/train": ["42326"],
        "fewshot/base_training_set": ["78687"],
        "fewshot/base_validation_set": ["7"],
        "fewshot/finetune_5shot_training": ["13"],
        "fewshot/finetune_5shot_validation": ["1420"],
        "fewshot/finetune_10shot_train": ["13", "2"],
        "fewshot/finetune_10shot_validation": ["1420"],
    }
    splits(root, files, base)
    dataset = SomethingSomethingV2(root)
    table = dataset.segments.set_index("id")
    divided = {
        column: {video: split for video, split in table[column].items() if split}
        for column in table.columns
        if column.startswith("split_")
    }
    train, validation = "train", "validation"
    assert divided == {
        "split_compositional": {"7": train, "13": train, "78687": validation},
        "split_compositional_shuffled": {"2": train, "7": validation},
        "split_oneobject": {"42326": train},
        "split_fewshot_base": {"78687": train, "7": validation},
        "split_fewshot_5shot": {"13": train, "1420": validation},
        "split_fewshot_10shot": {"13": train, "2": train, "1420": validation},
    }
    assert all(is_task_name(column) for column in divided)
    assert table["split"].tolist() == ["train"] * 4 + ["validation"] * 2 + ["test"]
    assert table["action"].tolist() == [0, 0, 1, 0, 0, 0, -1]
    assert dataset.problems == []


def test_without_their_files_there_are_no_such_columns(root: Path) -> None:
    assert not [column for column in SomethingSomethingV2(root).segments if column.startswith("split_")]


def test_what_contradicts_something_something_is_told(root: Path) -> None:
    splits(root, {"compositional/train": ["7", "4711"], "compositional/validation": ["7", "2"]})
    wrong = [{"id": "78687", "template": TEAR}, {"id": "99", "template": TEAR}, "13"]
    path = root / "something_else/code/dataset_splits/fewshot/base_training_set.json"
    path.parent.mkdir()
    path.write_text(json.dumps(wrong))
    path.with_name("base_validation_set.json").write_text("{}")
    dataset = SomethingSomethingV2(root)
    assert dataset.problems == [
        "compositional/train.json: 1 items (4711) are no videos of Something-Something V2; left out",
        "compositional/validation.json: 1 items (7) are in train too; left out of validation",
        "fewshot/base_training_set.json: 1 items (78687) have another class than in Something-Something V2, whose "
        "class is kept",
        "fewshot/base_training_set.json: 1 items (no id) are no videos of Something-Something V2; left out",
        "fewshot/base_validation_set.json is not used: it holds a dict; the official file holds a list",
    ]
    table = dataset.segments.set_index("id")
    assert table["split_compositional"].to_dict() == {**dict.fromkeys(table.index, ""), "7": "train", "2": "validation"}
    assert table.loc["78687", "action"] == 0


def test_packed_pictures_stand_in_for_videos(root: Path) -> None:
    import h5py

    for name, videos in (("dataset.hdf5", ["7", "13"]), ("flow_frames.h5", ["7"])):
        with h5py.File(root / name, "w") as file:
            for video in videos:
                file.create_group(video)
    film = root / "videos/13.webm"
    film.parent.mkdir()
    film.touch()
    dataset = SomethingSomethingV2(root)
    assert dataset.source("rgb", "7") == Source("hdf5_frames", (root / "dataset.hdf5",), entry="7")
    assert dataset.source("rgb", "13") == Source("video", (film,))
    assert dataset.source("flow", "7") == Source("hdf5_frames", (root / "flow_frames.h5",), entry="7")
    assert dataset.source("flow", "13") is None
    assert dataset.source("audio", "7") is None


@pytest.mark.slow
def test_boxes_are_extracted_with_the_layout_transformer(root: Path, tmp_path: Path) -> None:
    from mmcache.extract.planning.plan import make_plan
    from mmcache.extract.run.pipeline import NoProgress, run_extract

    part(root / "bounding_box_smthsmth_part1.json", {"78687": 30, "7": 5, "13": 0})
    (root / "videoid2size.json").write_text('{"78687": [400, 240], "7": [400, 240]}')
    config = ExtractConfig(dataset="ssv2", root=root, store=tmp_path / "s.zarr", encoder={"boxes": "stlt_9"})
    summary = run_extract(make_plan(config), NoProgress())
    assert summary.failures == []
    store = FeatureStore.open(tmp_path / "s.zarr")
    c, m = Presence.CACHED, Presence.MISSING
    assert store.present["boxes"].tolist() == [c, m, m, m, c, m, m]
    assert store.tokens["boxes"].shape == (7, 1, 17, 768)
