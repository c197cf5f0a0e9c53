"""Where videos lie in a large JSON file: what the json module finds there, without parsing it."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmcache.extract.datasets.ssv2 import box_index
from mmcache.extract.datasets.ssv2.box_index import find_extents, scan

TEXT = st.text(alphabet='ab"\\{}[],: é\n/', max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | st.just("id"), inner, max_size=3),
    max_leaves=12,
)
VALUES = st.lists(JSON, max_size=3) | st.dictionaries(TEXT, JSON, max_size=3)
IDS = st.integers(1, 220847).map(str)
MANY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "mmcache"


def parts(path: Path) -> dict[str, object]:
    """What lies at the extents that were found."""
    found, complete = scan(path)
    assert complete
    data = path.read_bytes()
    return {video: json.loads(data[start:stop]) for video, (start, stop) in found.items()}


@MANY
@given(
    videos=st.dictionaries(IDS, VALUES, min_size=1, max_size=5),
    indent=st.sampled_from([None, 1]),
    ascii_=st.booleans(),
    chunk=st.sampled_from([3, 16, 64, 1 << 20]),
)
def test_an_object_of_videos_is_divided_as_json_would(
    videos: dict[str, object], indent: int | None, ascii_: bool, chunk: int, tmp_path: Path
) -> None:
    (tmp_path / "a.json").write_text(json.dumps(videos, indent=indent, ensure_ascii=ascii_), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(box_index, "_CHUNK", chunk)
        assert parts(tmp_path / "a.json") == videos


@MANY
@given(
    videos=st.dictionaries(IDS, st.tuples(st.dictionaries(TEXT, JSON, max_size=3), JSON), min_size=1, max_size=4),
    numbers=st.booleans(),
    chunk=st.sampled_from([3, 16, 64, 1 << 20]),
)
def test_a_list_of_videos_is_divided_by_their_ids(
    videos: dict[str, tuple[dict[str, object], object]], numbers: bool, chunk: int, tmp_path: Path
) -> None:
    """Wherever `id` stands among the keys, and whatever else is called id deeper inside."""
    items = [
        {**{k: v for k, v in before.items() if k != "id"}, "id": int(video) if numbers else video, "frames": frames}
        for video, (before, frames) in videos.items()
    ]
    (tmp_path / "a.json").write_text(json.dumps(items))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(box_index, "_CHUNK", chunk)
        found = parts(tmp_path / "a.json")
    assert found == {str(item["id"]): item for item in items}


def test_an_item_without_id_and_a_video_listed_twice(tmp_path: Path) -> None:
    text = '[{"frames": [{"id": "9"}]}, {"id": "5", "n": 1}, {"id": "5", "n": 2}, {"id": null}, {"id": "a/b"}]'
    (tmp_path / "a.json").write_text(text)
    assert parts(tmp_path / "a.json") == {"5": {"id": "5", "n": 1}}


def test_values_that_are_no_containers_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"version": "1", "7": [1], "n": 5, "8": [2], "x": null}')
    assert parts(tmp_path / "a.json") == {"7": [1], "8": [2]}


@pytest.mark.parametrize("cut", [20, 29, 33, 41])
def test_a_file_cut_off_gives_what_is_before(cut: int, tmp_path: Path) -> None:
    text = '{"7": ["a"], "8": ["b"], "9": ["cccc"], "10": []}'
    (tmp_path / "a.json").write_text(text[:cut])
    problems: list[str] = []
    found = find_extents(tmp_path / "a.json", problems)
    assert list(found) == ["7", "8", "9"][: 1 + (cut > 23) + (cut > 39)]
    (problem,) = problems
    assert f"is cut off or no JSON: the {len(found)} videos before that are used" in problem


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"5", b"no JSON", b"]]]", bytes(range(200, 256)) + b"\x00"])
def test_a_file_without_videos_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    problems: list[str] = []
    assert find_extents(tmp_path / "a.json", problems) == {}
    assert "holds no boxes of videos" in problems[0]


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    problems: list[str] = []
    assert find_extents(tmp_path / "a.json", problems) == {}
    assert "cannot be read: No such file" in problems[0]


def test_an_index_is_kept_until_its_file_changes(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"7": [1], "8": [22]}')
    problems: list[str] = []
    first = find_extents(path, problems)
    (kept,) = cache.iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(box_index, "scan", lambda path: pytest.fail("looked through again"))
        assert find_extents(path, problems) == first
    path.write_text('{"7": [1], "8": [22], "9": [3]}')
    assert list(find_extents(path, problems)) == ["7", "8", "9"]
    assert list(cache.iterdir()) == [kept]
    assert problems == []


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not a zip", None])
def test_a_damaged_index_is_made_again(damage: bytes | None, cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"7": [1], "8": [22]}')
    problems: list[str] = []
    first = find_extents(path, problems)
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    assert find_extents(path, problems) == first
    assert kept.read_bytes() == whole
    np.savez(kept.with_suffix(""), stamp=np.array([object()], object), allow_pickle=True)
    assert find_extents(path, problems) == first
    assert problems == []


def test_where_no_index_can_be_kept_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    path = tmp_path / "a.json"
    path.write_text('{"7": [1]}')
    problems: list[str] = []
    assert find_extents(path, problems) == {"7": (6, 9)}
    (problem,) = problems
    assert "could not be kept" in problem
    assert "each run looks it through again" in problem
