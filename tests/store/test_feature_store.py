import gc
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from mmcache.store import ConfigError, FeatureStore, Presence, StoreError
from mmcache.store.format.layout import write_group
from mmcache.store.manage.verify import verify
from mmcache.store.write.create import create_store

C, M, F, T = Presence.CACHED, Presence.MISSING, Presence.FAILED, Presence.TO_DO
PRESENCE = {
    "rgb/swin_t": np.array([C, C, M, C, M, F, C, C, T, C]),
    "rgb/swin_b": np.array([C, C, C, C, M, C, C, C, C, C]),
    "audio": np.array([C, M, C, C, M, F, M, C, T, M]),
}
LENGTHS = np.array([[3], [0], [1], [4], [0], [0], [0], [2], [0], [0]])


@pytest.fixture(scope="module")
def tokens(random_tokens: Callable[..., NDArray[np.floating]]) -> dict[str, NDArray[np.floating]]:
    return {
        "rgb/swin_t": random_tokens(10, 2, 2, 3, seed=1),
        "rgb/swin_b": random_tokens(10, 1, 3, 5, dtype="float32", seed=2),
        "audio": random_tokens(10, 1, 4, 2, seed=3),
    }


@pytest.fixture(scope="module")
def root(make_store: Callable[..., Path], tokens: dict[str, NDArray[np.floating]]) -> Path:
    """Ten segments, two of them validation; row 4 has nothing; two encoders for rgb."""
    return make_store(tokens, 3, PRESENCE, {"audio": LENGTHS})


@pytest.fixture
def store(root: Path) -> FeatureStore:
    return FeatureStore.open(root)


def test_what_a_store_shows(store: FeatureStore, make_segments: Callable[[int], pd.DataFrame]) -> None:
    """Design, section 9: the names that other programs rely on."""
    assert len(store) == 10
    assert store.modalities == ["audio", "rgb"]
    assert store.arrays == [("audio", "enc"), ("rgb", "swin_t"), ("rgb", "swin_b")]
    assert store.tasks == {"verb": ["take", "cut", "wash"], "noun": ["cup", "pan", "box", "knife"]}
    assert store.segments["id"].tolist() == make_segments(10)["id"].tolist()
    assert store.tokens["rgb"].shape == (10, 2, 2, 3)
    assert store.present["rgb"].dtype == np.uint8
    assert store.lengths["rgb"] is None
    np.testing.assert_array_equal(store.lengths["audio"], LENGTHS)
    assert repr(store) == f"FeatureStore({str(store.path)!r}, 10 segments, audio, rgb)"
    assert [line["id"] for line in store.failures] == ["P01_005", "P01_005"]
    assert store.notes == []


def test_the_modality_alone_is_its_first_encoder(store: FeatureStore) -> None:
    for name, encoder in (("rgb", "swin_t"), ("rgb/swin_b", "swin_b"), ("rgb=swin_b", "swin_b"), ("audio/enc", "enc")):
        assert store.resolve(name)[1] == encoder
        assert store.tokens[name].encoder == encoder
    assert store.tokens["rgb"] is store.tokens["rgb/swin_t"]
    np.testing.assert_array_equal(store.present["rgb=swin_b"], PRESENCE["rgb/swin_b"])


@pytest.mark.parametrize("name", ["rgd", "rgb/swin", "audio/swin_t", "", "/"])
def test_unknown_tokens_are_refused(store: FeatureStore, name: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown tokens '{name}'.*Known: audio, audio/enc, rgb, rgb/swin_b"):
        store.tokens[name]


def test_unknown_names_get_the_nearest_one(store: FeatureStore) -> None:
    with pytest.raises(ConfigError, match=r"unknown tokens 'rgd'\. Did you mean 'rgb'\?"):
        store.rows(modalities=["rgd"])
    with pytest.raises(ConfigError, match=r"unknown split 'tran'\. Did you mean 'train'\? Known: train, validation"):
        store.rows("tran")
    with pytest.raises(ConfigError, match=r"unknown task 'nuon'\. Did you mean 'noun'\? Known: noun, verb"):
        store.labels("nuon")


def test_names_are_looked_up_as_in_any_mapping(store: FeatureStore) -> None:
    mapping: Mapping[str, Any]
    for mapping in (store.tokens, store.present, store.lengths):
        assert list(mapping) == ["audio", "rgb"]
        assert len(mapping) == 2
        assert "rgb/swin_b" in mapping
        assert "depth" not in mapping
        assert mapping.get("depth") is None


def test_rows_have_at_least_one_of_the_modalities(store: FeatureStore) -> None:
    assert store.rows().tolist() == [0, 1, 2, 3, 6, 7, 9]
    assert store.rows("train").tolist() == [0, 1, 2, 6, 9]
    assert store.rows("validation").tolist() == [3, 7]
    assert store.rows("train", ["audio"]).tolist() == [0, 2]
    assert store.rows(None, ["audio", "rgb/swin_b"]).tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert store.rows(None, []).tolist() == []


def test_the_presence_matrix_has_the_modalities_in_the_order_asked_for(store: FeatureStore) -> None:
    names = ["rgb/swin_b", "audio", "rgb"]
    expected = np.stack([PRESENCE["rgb/swin_b"], PRESENCE["audio"], PRESENCE["rgb/swin_t"]], axis=1) == C
    np.testing.assert_array_equal(store.presence_matrix(names), expected)
    np.testing.assert_array_equal(store.presence_matrix(), expected[:, [1, 2]])
    assert store.presence_matrix([]).shape == (10, 0)


def test_labels(store: FeatureStore) -> None:
    assert store.labels("noun").tolist() == [-1, 0, 1, 2, 3, -1, 0, 1, 2, 3]
    assert store.labels("verb").dtype == np.int64


# Batches.


def epoch_of(store: FeatureStore, **options: Any) -> list[Any]:
    return list(store.batches(**{"batch_size": 2, **options}))


@pytest.mark.parametrize("split", ["train", "validation", None])
@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_every_row_comes_exactly_once_an_epoch(store: FeatureStore, split: str | None, batch_size: int) -> None:
    batches = epoch_of(store, split=split, batch_size=batch_size)
    rows = [row for batch in batches for row in batch.rows.tolist()]
    assert sorted(rows) == store.rows(split).tolist()
    assert all(len(batch.rows) == batch_size for batch in batches[:-1])


def test_segments_with_none_of_the_modalities_are_left_out(store: FeatureStore) -> None:
    rows = {row for batch in epoch_of(store, split=None) for row in batch.rows.tolist()}
    assert rows == set(range(10)) - {4, 5, 8}
    rows = {row for batch in epoch_of(store, split=None, modalities=["audio"]) for row in batch.rows.tolist()}
    assert rows == {0, 2, 3, 7}


def test_a_batch_holds_what_the_store_says_of_its_rows(
    store: FeatureStore, tokens: dict[str, NDArray[np.floating]]
) -> None:
    names = ["rgb/swin_b", "audio"]
    for batch in epoch_of(store, split=None, modalities=names, batch_size=4):
        assert batch.modalities == list(batch.tokens) == ["rgb", "audio"]  # by modality, whatever names its source
        present = np.stack([PRESENCE[name][batch.rows] == C for name in names], axis=1)
        assert batch.present.dtype == torch.bool
        np.testing.assert_array_equal(batch.present, present)
        for i, name in enumerate(names):
            expected = tokens[name][batch.rows, 0] * present[:, i, None, None]
            modality = name.partition("/")[0]
            assert batch.tokens[modality].numpy().dtype == tokens[name].dtype
            np.testing.assert_array_equal(batch.tokens[modality], expected)
        np.testing.assert_array_equal(batch.lengths["audio"], LENGTHS[batch.rows, 0])
        assert batch.lengths["rgb"].tolist() == [3] * len(batch.rows)
        assert set(batch.labels) == {"verb", "noun"}
        for task, labels in batch.labels.items():
            assert labels.dtype == torch.int64
            np.testing.assert_array_equal(labels, store.labels(task)[batch.rows])


def test_the_order_depends_on_seed_and_epoch_alone(store: FeatureStore) -> None:
    def order(**options: Any) -> list[int]:
        return [row for batch in epoch_of(store, split=None, **options) for row in batch.rows.tolist()]

    assert order(seed=1, epoch=2) == order(seed=1, epoch=2, batch_size=5)
    assert len({tuple(order(seed=seed, epoch=epoch)) for seed in range(3) for epoch in range(3)}) == 9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "trian"}, r"unknown split 'trian'\. Did you mean 'train'\?"),
        ({"modalities": ["rgb", "adio"]}, r"unknown tokens 'adio'\. Did you mean 'audio'\?"),
    ],
)
def test_batches_of_what_is_not_there_are_refused(store: FeatureStore, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        epoch_of(store, **options)


def test_an_epoch_that_is_left_early_leaves_no_thread_and_no_file_open(root: Path) -> None:
    def threads() -> set[str]:
        names = (Path("/proc/self/task") / task / "comm" for task in os.listdir("/proc/self/task"))
        return {name.parent.name for name in names if name.read_text().startswith("mmcache")}

    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    batches = FeatureStore.open(root).batches(batch_size=1)
    next(batches)
    assert len(os.listdir("/proc/self/fd")) > before
    batches.close()
    del batches
    gc.collect()
    assert threads() == set()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_damaged_shard_ends_the_epoch_with_a_store_error(
    make_store: Callable[..., Path], random_tokens: Callable[..., NDArray[np.floating]]
) -> None:
    root = make_store({"m": random_tokens(8, 1, 2, 3)})
    shard = root / "tokens/m/enc/c/1/0/0/0"
    os.truncate(shard, shard.stat().st_size - 1)
    with pytest.raises(StoreError, match="c/1/0/0/0 fails its checksum: the file is damaged or truncated"):
        epoch_of(FeatureStore.open(root), split=None)


@pytest.mark.parametrize("kind", ["present", "length"])
def test_a_store_that_lacks_an_arrays_metadata_says_so(make_store: Callable[..., Path], kind: str) -> None:
    root = make_store({"m": np.ones((3, 1, 2, 3), np.float16)}, lengths={"m": np.ones((3, 1))})
    (root / kind / "m/enc/zarr.json").unlink()
    with pytest.raises(StoreError, match=rf"{kind}/m/enc/zarr\.json is damaged; .*No such file"):
        FeatureStore.open(root)


def test_tokens_that_lost_their_metadata_are_never_passed_over(make_store: Callable[..., Path]) -> None:
    """A run without a word about them would train on the other modalities alone."""
    root = make_store({"m": np.ones((3, 1, 2, 3), np.float16)})
    (root / "tokens/m/enc/zarr.json").unlink()
    with pytest.raises(StoreError, match=r"m/enc/zarr\.json is missing, although there are tokens.*verify --repair"):
        FeatureStore.open(root)


def test_tokens_that_are_not_listed_are_never_passed_over(make_store: Callable[..., Path]) -> None:
    root = make_store({"m": np.ones((3, 1, 2, 3), np.float16)})
    write_group(root, "tokens/m", {"encoders": []})
    with pytest.raises(StoreError, match=r"tokens/m/zarr\.json does not list 'enc' among its encoders"):
        FeatureStore.open(root)


@pytest.mark.parametrize("kind", ["present", "length"])
def test_a_damaged_small_array_is_a_store_error(make_store: Callable[..., Path], kind: str) -> None:
    root = make_store({"m": np.ones((3, 1, 2, 3), np.float16)}, lengths={"m": np.ones((3, 1))})
    chunk = root / kind / "m/enc/c" / ("0" if kind == "present" else "0/0")
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"\x99")
    store = FeatureStore.open(root)
    with pytest.raises(StoreError, match=f"{kind}/m/enc cannot be read .*; the store is damaged there"):
        (store.present if kind == "present" else store.lengths)["m"]


def test_an_empty_store_opens(tmp_path: Path, make_segments: Any, make_meta: Any) -> None:
    create_store(tmp_path / "toy.zarr", make_segments(3), make_meta(make_segments(3)))
    store = FeatureStore.open(tmp_path / "toy.zarr")
    assert store.modalities == []
    assert store.rows().tolist() == []
    assert epoch_of(store) == []


def test_segments_that_last_as_long_as_their_media_are_no_damage(
    tmp_path: Path, make_segments: Any, make_meta: Any
) -> None:
    """Tables without a stop have infinity there."""
    segments = make_segments(4).assign(stop_s=[np.inf, 3.0, 5.0, np.inf], start_s=[0.0, 1.0, 2.0, 3.0])
    create_store(tmp_path / "s.zarr", segments, make_meta(segments))
    assert FeatureStore.open(tmp_path / "s.zarr").segments["stop_s"].tolist() == [np.inf, 3.0, 5.0, np.inf]
    assert verify(tmp_path / "s.zarr") == []


def test_a_folder_that_is_no_modality_does_not_matter(make_store: Callable[..., Path]) -> None:
    """A writer killed while it added a modality leaves one without metadata."""
    root = make_store({"m": np.ones((3, 1, 2, 3), np.float16)})
    (root / "tokens" / "rgb").mkdir()
    assert FeatureStore.open(root).modalities == ["m"]


def test_the_store_of_an_extract(epic_store: Path) -> None:
    store = FeatureStore.open(str(epic_store))
    assert store.modalities == ["audio", "imu", "rgb"]
    seen = []
    for batch in store.batches(split="train", batch_size=10, seed=4):
        assert bool(batch.present.any(dim=1).all())
        seen += batch.rows.tolist()
        for i, name in enumerate(store.modalities):
            nonzero = batch.tokens[name].flatten(1).any(dim=1)
            assert nonzero.tolist() == batch.present[:, i].tolist()
            assert bool(torch.isfinite(batch.tokens[name]).all())
    assert sorted(seen) == store.rows("train").tolist()
