"""Something-Something V2 label files, as the official ones are written, by hand."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmcache.extract.datasets import DATASETS
from mmcache.extract.datasets.ssv2.ssv2 import SomethingSomethingV2
from mmcache.extract.media.base.source import Source
from mmcache.extract.planning.extract_config import ExtractConfig
from mmcache.store.feature_store import FeatureStore
from mmcache.store.format.layout import Presence
from mmcache.store.ground.errors import ConfigError

LABELS = {
    "Tearing something that is not tearable": "2",
    "Approaching something with your camera": "0",
    "Putting something onto something": "1",
}
TRAIN = [
    {"id": "78687", "label": "putting a cup onto a table", "template": "Putting [something] onto [something]"},
    {"id": "42326", "label": "tearing iron", "template": "Tearing [something that is not tearable]"},
]
VALIDATION = [{"id": "7", "label": "approaching", "template": "Approaching [something] with your camera"}]
TEST = [{"id": "1420"}, {"id": "9"}]


def write(folder: Path, names: str = "something-something-v2-{}.json", train: object = TRAIN) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for kind, content in (("labels", LABELS), ("train", train), ("validation", VALIDATION), ("test", TEST)):
        (folder / names.format(kind)).write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("folder", "names"), [(".", "something-something-v2-{}.json"), ("labels", "{}.json"), ("annotations", "{}.json")]
)
def test_both_names_of_the_files_are_read(folder: str, names: str, tmp_path: Path) -> None:
    write(tmp_path / folder, names)
    dataset = SomethingSomethingV2(tmp_path)
    assert dataset.tasks == {"action": sorted(LABELS, key=lambda name: int(LABELS[name]))}
    table = dataset.segments
    assert table["id"].tolist() == ["78687", "42326", "7", "1420", "9"]
    assert table["split"].tolist() == ["train", "train", "validation", "test", "test"]
    assert table["action"].tolist() == [1, 2, 0, -1, -1]
    assert np.isinf(table["stop_s"]).all()
    assert dataset.problems == []


def test_answers_make_the_test_split_scorable(tmp_path: Path) -> None:
    write(tmp_path / "labels", "{}.json")
    answers = "1420;Putting something onto something\n9;No such class\n"
    (tmp_path / "labels/test-answers.csv").write_text(answers)
    assert SomethingSomethingV2(tmp_path).segments["action"].tolist() == [1, 2, 0, 1, -1]


@pytest.mark.parametrize("folder", ["20bn-something-something-v2", "videos", "."])
def test_videos_are_found_by_their_number(folder: str, tmp_path: Path) -> None:
    write(tmp_path)
    film = tmp_path / folder / "7.webm"
    film.parent.mkdir(exist_ok=True)
    film.touch()
    dataset = SomethingSomethingV2(tmp_path)
    assert dataset.source("rgb", "7") == Source("video", (film,))
    assert dataset.source("rgb", "78687") is None
    assert dataset.source("rgb", "../7") is None


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ({"id": "5", "template": "Juggling [something]"}, "'Juggling something' is no class"),
        ({"template": "Putting [something] onto [something]"}, "it has no number of a video"),
        ({"id": "../5", "template": "Putting [something] onto [something]"}, "it has no number of a video"),
        ("5", "it has no number of a video"),
        (TRAIN[0], "video 78687 is listed twice"),
    ],
)
def test_a_broken_item_is_told_and_costs_no_other(item: object, reason: str, tmp_path: Path) -> None:
    dataset = SomethingSomethingV2(write(tmp_path, train=[*TRAIN, item]))
    assert len(dataset.segments) == 5
    (problem,) = dataset.problems
    assert reason in problem


def test_files_of_another_form_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no something-something-v2-labels\.json and no something"):
        SomethingSomethingV2(tmp_path)
    write(tmp_path, train={"id": "5"})
    with pytest.raises(ConfigError, match="holds a dict; the official file holds a list"):
        SomethingSomethingV2(tmp_path)
    (tmp_path / "something-something-v2-train.json").write_text("[{")
    with pytest.raises(ConfigError, match="is not JSON"):
        SomethingSomethingV2(tmp_path)
    (tmp_path / "something-something-v2-labels.json").write_text('{"a": "0", "b": "2"}')
    with pytest.raises(ConfigError, match="without gaps"):
        SomethingSomethingV2(tmp_path)


@pytest.mark.slow
def test_webm_videos_of_any_length_are_extracted_whole(write_video: Callable[..., Path], tmp_path: Path) -> None:
    from mmcache.extract.planning.plan import make_plan
    from mmcache.extract.run.pipeline import NoProgress, run_extract

    write(tmp_path)
    (tmp_path / "videos").mkdir()
    for video, pictures in (("78687", 12), ("7", 40)):
        path = tmp_path / "videos" / f"{video}.webm"
        write_video(path, pictures=pictures, rate=12, codec="libvpx-vp9", form="webm", size=(128, 96))
    assert "ssv2" in DATASETS
    config = ExtractConfig(dataset="ssv2", root=tmp_path, store=tmp_path / "s.zarr", encoder={"rgb": "swin3d_demo"})
    summary = run_extract(make_plan(config), NoProgress())
    assert summary.failures == []
    store = FeatureStore.open(tmp_path / "s.zarr")
    c, m = Presence.CACHED, Presence.MISSING
    assert store.present["rgb"].tolist() == [c, m, c, m, m]
