from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmcache.store import ConfigError, FeatureStore, Presence, StoreError, k_average
from mmcache.store.format.layout import read_meta
from mmcache.store.format.small_array import write_chunk
from mmcache.store.manage.reduce import reduce_store
from mmcache.store.manage.verify import verify


def test_a_reduced_set_is_the_k_average_of_its_source(store_copy: Path) -> None:
    made = reduce_store(store_copy, 7)
    assert made == ["audio/ast_demo-k7", "imu/imu_demo-k7", "rgb/swin3d_demo-k7"]
    store = FeatureStore.open(store_copy)
    rows = np.arange(len(store))
    for name in made:
        source = name.removesuffix("-k7")
        np.testing.assert_array_equal(store.present[name], store.present[source])
        np.testing.assert_array_equal(store.tokens[name].read(rows), k_average(store.tokens[source].read(rows), 7)[0])
        assert store.tokens[name].fingerprint.preprocessing["reduced_from"] == {
            "encoder": source.partition("/")[2],
            "k": None,
        }
    assert verify(store_copy) == []
    assert store.resolve("rgb") == ("rgb", "swin3d_demo")
    assert read_meta(store_copy).coverage["train"]["rgb"]["swin3d_demo-k7"] == 30


def test_lengths_are_reduced_too(make_store: Callable[..., Path]) -> None:
    tokens = np.random.default_rng(0).normal(size=(4, 2, 5, 3)).astype(np.float16)
    lengths = np.array([[5, 4], [3, 1], [2, 5], [1, 1]])
    root = make_store({"m": tokens}, 2, {}, {"m": lengths})
    reduce_store(root, 3)
    store = FeatureStore.open(root)
    for view in (0, 1):
        expected, counts = k_average(tokens[:, view], 3, lengths[:, view])
        np.testing.assert_array_equal(store.tokens["m/enc-k3"].read(np.arange(4), view), expected)
        np.testing.assert_array_equal(store.lengths["m/enc-k3"][:, view], counts)
    assert verify(root) == []


def test_an_unfinished_one_is_finished_to_the_same_bytes(
    store_copy: Path, tree: Callable[[Path], dict[str, bytes]]
) -> None:
    reduce_store(store_copy, 7)
    whole = tree(store_copy)
    present = store_copy / "present/rgb/swin3d_demo-k7/c/0"
    rows = FeatureStore.open(store_copy).tokens["rgb/swin3d_demo-k7"].grid.rows_per_shard
    write_chunk(present, np.full(rows, Presence.TO_DO, np.uint8))
    assert tree(store_copy) != whole
    reduce_store(store_copy, 7)
    assert tree(store_copy) == whole


def test_reducing_again_changes_nothing(store_copy: Path, tree: Callable[[Path], dict[str, bytes]]) -> None:
    reduce_store(store_copy, 7, ["rgb"])
    before = tree(store_copy)
    assert reduce_store(store_copy, 7, ["rgb"]) == ["rgb/swin3d_demo-k7"]
    assert tree(store_copy) == before


def test_what_a_killed_one_left_is_removed(store_copy: Path, tree: Callable[[Path], dict[str, bytes]]) -> None:
    reduce_store(store_copy, 7, ["rgb"])
    whole = tree(store_copy)
    (store_copy / "tokens/rgb/swin3d_demo-k7/c/0/0/0/.tmp-123-0").write_bytes(b"half a shard")
    reduce_store(store_copy, 7, ["rgb"])
    assert tree(store_copy) == whole


def test_damaged_tokens_are_not_made_into_sound_ones(make_store: Callable[..., Path]) -> None:
    """The derived set has checksums of its own, so nobody would notice any more."""
    root = make_store({"m": np.ones((4, 1, 5, 3), np.float16)})
    shard = root / "tokens/m/enc/c/1/0/0/0"
    raw = bytearray(shard.read_bytes())
    raw[1] ^= 4
    shard.write_bytes(raw)
    with pytest.raises(StoreError, match="checksum"):
        reduce_store(root, 2)


@pytest.mark.parametrize(
    ("k", "names", "message"),
    [
        (0, None, "at least 1 token"),
        (1000, None, "no token set is longer than 1000: audio/ast_demo has 146"),
        (7, ["rbg"], "unknown tokens 'rbg'"),
    ],
)
def test_what_cannot_be_reduced_is_said(k: int, names: list[str] | None, message: str, epic_store: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        reduce_store(epic_store, k, names)
