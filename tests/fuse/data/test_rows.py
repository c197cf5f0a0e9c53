"""Which segments a run learns from, on a store in which many lack something."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcache.fuse.data.rows import Rows, choose_rows
from mmcache.fuse.data.validation import split_validation
from mmcache.fuse.options.resolve import resolve_options
from mmcache.store import ConfigError, FeatureStore

SOURCES = {"audio": "audio/ast_demo", "imu": "imu/imu_demo", "rgb": "rgb/swin3d_demo"}


def rows_of(path: Path, strategy: str = "dropout", sources: dict[str, str] = SOURCES, **options: Any) -> Rows:
    resolved = resolve_options(strategy, {"test": {"store": path, **options}})
    return choose_rows(resolved, FeatureStore.open(path), sources, "validation")


def test_what_is_held_out_is_whole_videos_of_train(epic_store: Path) -> None:
    store = FeatureStore.open(epic_store)
    rows = store.rows("train")
    train_rows, held = split_validation(store, rows, 0.2, seed=0)
    assert sorted([*train_rows, *held]) == sorted(rows)
    video = store.segments["video"].to_numpy()
    assert not set(video[train_rows]) & set(video[held])
    assert len(held) >= 0.2 * len(rows)
    assert (split_validation(store, rows, 0.2, seed=0)[1] == held).all()
    one_video = rows[video[rows] == video[rows[0]]]
    train_rows, held = split_validation(store, one_video, 0.25, seed=0)
    assert len(held) == 2
    assert len(train_rows) == 6


@pytest.mark.parametrize(
    "options",
    [{}, {"train_on": "complete"}, {"train_missing": {"imu": 0.5}}, {"train_modalities": ["rgb"]}, {"validation": 0.3}],
)
def test_no_row_has_two_purposes(options: dict[str, Any], epic_store: Path) -> None:
    rows, store = rows_of(epic_store, **options), FeatureStore.open(epic_store)
    split = store.segments["split"].to_numpy()
    assert set(split[rows.train]) == set(split[rows.validation]) == {"train"}
    assert set(split[rows.evaluated]) == {"validation"}
    assert not set(rows.train) & set(rows.validation)
    assert sorted(rows.every) == sorted({*rows.train, *rows.validation, *rows.evaluated})


def test_complete_ones_lack_nothing(epic_store: Path) -> None:
    rows, everything = rows_of(epic_store, train_on="complete"), rows_of(epic_store)
    assert 0 < len(rows.train) < len(everything.train)
    assert rows.present[rows.train].all()
    assert set(rows.train) == {row for row in everything.train if everything.present[row].all()}


def test_what_training_is_made_to_lack_is_there_for_validation_and_test(epic_store: Path) -> None:
    rows, whole = rows_of(epic_store, train_missing={"imu": 0.5}), rows_of(epic_store)
    imu = list(SOURCES).index("imu")
    for chosen in (rows.validation, rows.evaluated):
        assert (rows.present[chosen] == whole.present[chosen]).all()
    had, has = whole.present[whole.train, imu].sum(), rows.present[whole.train, imu].sum()
    assert 0 < has < had
    others = [m for m in range(3) if m != imu]
    assert (rows.present[:, others] == whole.present[:, others]).all()


def test_the_same_segments_lack_the_same_whichever_modalities_are_read(epic_store: Path) -> None:
    options = {"train_missing": {"imu": 0.4, "audio": 0.3}}
    rows = rows_of(epic_store, **options)
    two = {name: SOURCES[name] for name in ("rgb", "imu")}
    fewer = rows_of(epic_store, sources=two, **options)
    columns = [list(SOURCES).index(name) for name in two]
    shared = np.intersect1d(rows.train, fewer.train)
    assert len(shared)
    assert (rows.present[shared][:, columns] == fewer.present[shared]).all()


def test_labels_are_learned_from_segments_that_have_the_modalities_chosen(epic_store: Path) -> None:
    rows = rows_of(epic_store, train_modalities=["audio"])
    assert rows.labels_from.tolist() == [True, False, False]
    assert rows.present[rows.train, 0].all()
    assert len(rows.train) < len(rows_of(epic_store).train)


def test_alignment_reads_unlabelled_segments_but_none_of_a_held_out_video(epic_store: Path) -> None:
    options = {"align": 1.0, "align_share": 0.5, "train_modalities": ["audio"]}
    rows, store = rows_of(epic_store, "mmg", **options), FeatureStore.open(epic_store)
    video = store.segments["video"].to_numpy()
    assert set(rows.train) < set(rows.align)
    assert not set(video[rows.align]) & (set(video[rows.validation]) - set(video[rows.train]))
    assert (rows_of(epic_store).align == rows_of(epic_store).train).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_missing": {"audio": 1.0}, "train_modalities": ["audio"]}, "has any of train_modalities (audio)"),
        ({"train_missing": {"flow": 0.5}}, "unknown modality to miss 'flow'"),
    ],
)
def test_a_choice_that_leaves_nothing_is_refused(options: dict[str, Any], message: str, epic_store: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        rows_of(epic_store, **options)
    assert message in str(caught.value)
