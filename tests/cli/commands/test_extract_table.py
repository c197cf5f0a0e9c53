"""A table of one's own from the command line: what is said before the start, and what becomes of files not there."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mmcache.store.feature_store import FeatureStore

OPTIONS = ["--weights", "random", "--modalities", "rgb", "--encoder", "rgb=swin3d_demo"]


@pytest.fixture
def films(epic_root: Path) -> list[Path]:
    return sorted(epic_root.rglob("*.MP4"))[:2]


def test_how_a_table_is_understood_is_said_and_files_not_there_are_failures(
    films: list[Path], tmp_path: Path, mmcache: Callable
) -> None:
    rows = [f"{films[0]},0,1,Train,cut,1", f"{films[1]},0,1,Valid,wash,2", "bb.mp4,0,1,Valid,cut,3", ",0,1,Train,cut,4"]
    table = tmp_path / "clips.csv"
    table.write_text("\n".join(["video,start_s,end_time,subset,activity,Take No", *rows]) + "\n")
    arguments = ["extract", "--dataset", "manifest", "--root", table, "--store", tmp_path / "s.zarr", *OPTIONS]
    dry = mmcache(*arguments, "--dry-run", "--json")
    assert dry.code == 0
    understood, warnings = (json.loads(dry.out)[name] for name in ("understood", "warnings"))
    assert "column 'end_time' is read as stop" in understood
    assert all(line in dry.err for line in understood + warnings)
    assert any("files of 1 segment do not exist" in line for line in warnings)
    for line in (
        "column 'video' is read as rgb",
        "column 'start_s' is read as start",
        "column 'end_time' is read as stop",
        "column 'subset' is read as split",
        "carried along: Take No as take_no",
        "labels: activity (2 classes)",
        f"warning: rgb: files of 1 segment do not exist and will fail: {tmp_path}/bb.mp4 is not there",
    ):
        assert line in dry.err
    done = mmcache(*arguments, "--json")
    assert done.code == 3
    assert "33.3% of the segments failed, more than --max-failures allows (1.0%)" in done.err
    summary = json.loads(done.out)
    assert (summary["understood"], summary["warnings"]) == (understood, warnings)
    assert summary["counts"]["rgb"] == {"cached": 2, "failed": 1, "missing": 1, "to_do": 0}
    (failure,) = summary["failures"]
    assert (failure["id"], failure["reason"]) == ("line4", f"{tmp_path}/bb.mp4 is not there")
    store = FeatureStore.open(tmp_path / "s.zarr")
    assert store.segments["take_no"].tolist() == ["1", "2", "3", "4"]
    assert (store.meta.eval_split, store.meta.splits) == ("validation", {"train": 2, "validation": 2})


def test_a_table_without_labels_wants_its_flag(films: list[Path], tmp_path: Path, mmcache: Callable) -> None:
    table = tmp_path / "clips.csv"
    table.write_text(f"rgb\n{films[0]}\n")
    arguments = ["extract", "--dataset", "manifest", "--root", table, *OPTIONS, "--dry-run"]
    refused = mmcache(*arguments)
    assert refused.code == 2
    assert "has no labels: name their column label" in refused.err
    assert mmcache(*arguments, "--unlabelled").code == 0
