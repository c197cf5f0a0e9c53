"""Annotations in JSON with a value of the wrong kind anywhere: told with the file, or used, never a traceback."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmcache.extract.datasets.base.dataset import Dataset
from mmcache.extract.datasets.ego4d.ego4d_ar import Ego4dActionRecognition
from mmcache.extract.datasets.ego4d.mmg_ego4d import MmgEgo4d
from mmcache.extract.datasets.ssv2.ssv2 import SomethingSomethingV2
from mmcache.store.ground.errors import ConfigError
from mmcache.store.segments.segment_table import check_segments, segments_to_bytes

UID, CLIP = "00000000-aaaa-4bbb-8ccc-1234567890ab", "c0000000-aaaa-4bbb-8ccc-1234567890ab"
TOUCHED = {"verb_category_id": 0, "noun_category_id": 1, "time_to_contact": 0.5, "box": [1, 2, 3, 4]}
RECORD = {"uid": "r", "video_id": UID, "frame": 900, "clip_uid": CLIP, "clip_frame": 30, "objects": [TOUCHED]}
STA = {
    "info": {"video_metadata": {UID: {"fps": 30.0}}},
    "annotations": [RECORD, {**RECORD, "frame": 3000, "clip_frame": 2130}],
    "verb_categories": [{"id": 0, "name": "take"}, {"id": 1, "name": "put"}],
    "noun_categories": [{"id": 0, "name": "cup"}, {"id": 1, "name": "tap"}],
}
FACTS = {"video_uid": UID, "duration_sec": 600.0, "is_stereo": False, "video_metadata": {"audio_duration_sec": 9.0}}
ITEMS = [
    {"id": "7", "label": "putting a cup", "template": "Putting [something]"},
    {"id": "8", "label": "tearing", "template": "Tearing [something]"},
]
CLIPS = [
    {"clip_id": "a", "video_uid": UID, "start": 1, "end": 2, "label": "run", "split": "base"},
    {"clip_id": "b", "video_uid": UID, "start": 1, "end": "2.5", "label": "hop", "split": "novel"},
]
SETS = "something_else/code/dataset_splits/compositional/"
# What makes a data set of files, and the files.
KINDS: dict[str, tuple[Callable[[Path], Dataset], dict[str, Any]]] = {
    "ego4d-ar": (
        Ego4dActionRecognition,
        {"fho_sta_train.json": STA, "fho_sta_val.json": STA, "ego4d.json": {"videos": [FACTS]}},
    ),
    "mmg-ego4d": (MmgEgo4d, {"mmg_ego4d.json": CLIPS, "ego4d.json": {"videos": [FACTS]}}),
    "ssv2": (
        SomethingSomethingV2,
        {
            "labels.json": {"Putting something": "0", "Tearing something": "1"},
            "train.json": ITEMS,
            "validation.json": [{"id": "9", "template": "Tearing [something]"}],
            "test.json": [{"id": "10"}],
            SETS + "train.json": ITEMS[:1],
            SETS + "validation.json": ITEMS[1:],
        },
    ),
}
ODD = [
    None, True, False, -1, 0, 1.5, 10**30, 10**400, -(10**400), float("nan"), float("inf"), [], {}, [[]], {"": {}},
    [None], [UID], {"id": 1}, UID, "", "x", "²", "٣", "-1", "../../x", "9" * 30, "a\x00\x1b[31m", "\ud800", "x" * 999,
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield from places(item, (*path, key))


def replaced(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    content = copy.deepcopy(content)
    inside = content
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    return content


def write(folder: Path, files: dict[str, Any]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_wrong_value_anywhere_is_told_with_its_file_or_is_used(
    kind: str, data: st.DataObject, tmp_path: Path
) -> None:
    make, files = KINDS[kind]
    whole = len(_opened(make, tmp_path, files).segments)
    name = data.draw(st.sampled_from(sorted(files)))
    place = data.draw(st.sampled_from(list(places(files[name]))))
    value = data.draw(st.sampled_from(ODD))
    changed = {**files, name: replaced(files[name], place, value)}
    try:
        dataset = _opened(make, tmp_path, changed)
    except ConfigError as error:
        reason = str(error)
    else:
        assert len(dataset.segments) + len(dataset.problems) >= whole or value in ([], {}), (
            "lists with nothing in them are lists"
        )
        assert all(len(problem) < 1000 for problem in dataset.problems)
        return
    assert name.rpartition("/")[2] in reason or name == "ego4d.json", "facts leave out videos, each with its reason"
    assert len(reason) < 2000


def _opened(make: Callable[[Path], Dataset], folder: Path, files: dict[str, Any]) -> Dataset:
    """The data set, with segments that a store takes."""
    write(folder, files)
    dataset = make(folder)
    segments_to_bytes(check_segments(dataset.segments, dataset.tasks))
    json.dumps(dataset.tasks, ensure_ascii=False).encode()
    return dataset
