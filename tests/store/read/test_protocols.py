"""Other published divisions of the same segments: columns split_<protocol>."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmcache.store import ConfigError, FeatureStore, StoreMeta
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.write.add_tokens import add_tokens
from mmcache.store.write.create import create_store

# rows 3 and 7 are the store's own validation split
VIEW = ["train", "train", "test", "test", "train", "train", "test", ""]
SHOT = ["base", "base", "validation", "novel", "", "", "", ""]
ONLY = ["train"] * 8


@pytest.fixture
def root(
    make_folder: Callable[[], Path],
    make_segments: Callable[[int], pd.DataFrame],
    make_meta: Callable[[pd.DataFrame], StoreMeta],
    fingerprint: Fingerprint,
    fill_tokens: Callable[..., None],
) -> Path:
    segments = make_segments(8).assign(split_view=VIEW, split_shot=SHOT, split_only=ONLY)
    path = make_folder() / "s.zarr"
    create_store(path, segments, make_meta(segments))
    fill_tokens(add_tokens(path, "rgb", fingerprint, 2, 3), np.ones((8, 1, 2, 3), np.float16))
    return path


def test_a_protocol_takes_the_place_of_the_split(root: Path) -> None:
    store = FeatureStore.open(root, protocol="view")
    assert store.meta.splits == {"test": 3, "train": 4}
    assert store.meta.eval_split == "test"
    assert store.segments["split"].tolist() == VIEW
    assert store.rows("train").tolist() == [0, 1, 4, 5]
    assert store.rows("test").tolist() == [2, 3, 6]
    assert len(store.rows()) == 8  # those outside of it are still there, in no split
    with pytest.raises(ConfigError, match=r"unknown split 'validation'.*Known: test, train\."):
        store.rows("validation")
    batches = list(store.batches("test", batch_size=2))
    assert sorted(row for batch in batches for row in batch.rows) == [2, 3, 6]


def test_results_stay_on_a_split_of_the_same_name(root: Path) -> None:
    assert FeatureStore.open(root, protocol="shot").meta.eval_split == "validation"
    assert FeatureStore.open(root, protocol="only").meta.eval_split == ""  # never train


def test_without_a_protocol_nothing_changes(root: Path) -> None:
    store = FeatureStore.open(root)
    assert store.protocols == ["view", "shot", "only"]
    assert store.meta.splits == {"train": 6, "validation": 2}
    assert store.rows("validation").tolist() == [3, 7]


def test_an_unknown_protocol_is_told_with_those_there_are(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown protocol of .*'veiw'\. Did you mean 'view'\? Known: only, shot"):
        FeatureStore.open(root, protocol="veiw")


def test_a_store_without_others_says_none(make_store: Callable[..., Path]) -> None:
    path = make_store({"rgb": np.ones((4, 1, 2, 3), np.float16)})
    with pytest.raises(ConfigError, match=r"unknown protocol of .* Known: none\."):
        FeatureStore.open(path, protocol="view")
