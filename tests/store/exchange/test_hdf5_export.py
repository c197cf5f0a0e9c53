"""HDF5 out, and back in again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from mmcache.store import ConfigError, FeatureStore, Presence, StoreError
from mmcache.store.exchange.hdf5_export import export_hdf5
from mmcache.store.exchange.hdf5_import import import_hdf5
from mmcache.store.manage.verify import verify
from mmcache.store.write.create import create_store

C, M, F, T = Presence.CACHED, Presence.MISSING, Presence.FAILED, Presence.TO_DO
N = 70  # more than one block of rows is read at a time


@pytest.fixture(scope="module")
def source(
    make_store: Callable[..., Path],
    random_tokens: Callable[..., NDArray[np.floating]],
    make_segments: Callable[[int], pd.DataFrame],
) -> FeatureStore:
    """Two modalities of two views in two dtypes, one with lengths; some segments missing, failed or not done."""
    presence = np.random.default_rng(0).choice([C, M, F, T], N, p=[0.7, 0.1, 0.1, 0.1])
    lengths = np.where(presence[:, None] == C, np.random.default_rng(1).integers(1, 5, (N, 2)), 0)
    tokens = {"audio": random_tokens(N, 2, 4, 3), "rgb/swin": random_tokens(N, 2, 2, 5, dtype="float32")}
    segments = make_segments(N).assign(score=np.linspace(0, 1, N), kitchen=np.arange(N), narration="cut the löök")
    return FeatureStore.open(make_store(tokens, 8, {"audio": presence}, {"audio": lengths}, segments))


@pytest.mark.parametrize("view", [0, 1])
def test_what_is_exported_is_imported_again(source: FeatureStore, view: int, tmp_path: Path) -> None:
    export_hdf5(source, tmp_path / "features.h5", view=view)
    import_hdf5(tmp_path / "features.h5", tmp_path / "new.zarr", shard_bytes=300)
    new = FeatureStore.open(tmp_path / "new.zarr")
    assert verify(new.path) == []
    assert new.modalities == source.modalities
    assert new.tasks == source.tasks
    assert new.segments.equals(source.segments)
    assert (new.meta.dataset, new.meta.splits) == (source.meta.dataset, source.meta.splits)
    assert new.meta.eval_split == source.meta.eval_split
    for modality in source.modalities:
        ours, theirs = new.tokens[modality], source.tokens[modality]
        assert (ours.encoder, ours.fingerprint, ours.dtype) == (theirs.encoder, theirs.fingerprint, theirs.dtype)
        present = source.present[modality] == C
        np.testing.assert_array_equal(new.present[modality], np.where(present, C, M))
        np.testing.assert_array_equal(ours.read(np.arange(N)), theirs.read(np.arange(N), view))
    np.testing.assert_array_equal(new.lengths["audio"][:, 0], source.lengths["audio"][:, view])


def test_the_store_of_an_extract_goes_out_and_in(epic_store: Path, tmp_path: Path) -> None:
    source = FeatureStore.open(epic_store)
    export_hdf5(source, tmp_path / "epic.h5")
    import_hdf5(tmp_path / "epic.h5", tmp_path / "epic.zarr")
    new = FeatureStore.open(tmp_path / "epic.zarr")
    assert verify(new.path) == []
    assert new.segments.equals(source.segments)
    for modality in source.modalities:
        rows = np.arange(len(source))
        np.testing.assert_array_equal(new.tokens[modality].read(rows), source.tokens[modality].read(rows))
        np.testing.assert_array_equal(new.present[modality] == C, source.present[modality] == C)
    for split in source.meta.splits:
        assert new.rows(split).tolist() == source.rows(split).tolist()


def test_the_exported_file_is_of_the_documented_form(source: FeatureStore, tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    export_hdf5(source, tmp_path / "deep" / "features.h5", progress=lambda *step: steps.append(step))
    assert steps == [("audio", 64, N), ("audio", N, N), ("rgb", 64, N), ("rgb", N, N)]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["features.h5"]
    with h5py.File(tmp_path / "deep" / "features.h5") as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        assert {name for name in names if not name.startswith("segments/")} == {
            *("features/audio", "features/rgb", "lengths/audio", "present/audio", "present/rgb"),
            *("labels/verb", "labels/noun", "classes/verb", "classes/noun", "ids", "split"),
        }
        assert file["features/audio"].shape == (N, 4, 3)
        assert file["features/rgb"].dtype == np.float32
        assert file["ids"].asstr()[0] == "P01_000"
        assert set(np.unique(file["present/audio"][:])) == {0, 1}


def test_an_export_that_fails_leaves_the_old_file(
    source: FeatureStore, make_store: Callable[..., Path], tmp_path: Path
) -> None:
    export_hdf5(source, tmp_path / "features.h5")
    before = (tmp_path / "features.h5").read_bytes()
    damaged = make_store({"m": np.ones((5, 1, 2, 3), np.float16)})
    (damaged / "tokens/m/enc/c/1/0/0/0").write_bytes(b"short")
    with pytest.raises(StoreError, match="truncated"):
        export_hdf5(FeatureStore.open(damaged), tmp_path / "features.h5")
    assert (tmp_path / "features.h5").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_damaged_tokens_are_not_exported(make_store: Callable[..., Path], tmp_path: Path) -> None:
    """The file has no checksums, so nobody would notice any more."""
    root = make_store({"m": np.ones((4, 1, 5, 3), np.float16)})
    shard = root / "tokens/m/enc/c/1/0/0/0"
    raw = bytearray(shard.read_bytes())
    raw[1] ^= 4
    shard.write_bytes(raw)
    with pytest.raises(StoreError, match="checksum"):
        export_hdf5(FeatureStore.open(root), tmp_path / "features.h5")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("view", [2, -1])
def test_a_view_that_is_not_cached_is_a_mistake_of_the_user(source: FeatureStore, view: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"view {view}"):
        export_hdf5(source, tmp_path / "features.h5", view=view)
    assert list(tmp_path.iterdir()) == []


def test_columns_with_gaps_are_exported(
    make_segments: Callable[[int], pd.DataFrame], make_meta: Callable[..., Any], tmp_path: Path
) -> None:
    gaps = {
        "note": ["a", None, "c"],
        "score": [0.5, np.nan, 1.0],
        "count": pd.Series([1, None, 3], dtype="Int64"),
        "place": pd.Series(["a", None, "c"], dtype="category"),
        "sharp": pd.Series([True, None, False], dtype="boolean"),
        "day": pd.to_datetime(pd.Series(["2020-01-01", None, "2021-01-01"])),
    }
    ends = {"note": ("a", "c"), "place": ("a", "c"), "day": ("2020-01-01", "2021-01-01")}
    segments = make_segments(3).assign(**gaps)
    create_store(tmp_path / "toy.zarr", segments, make_meta(segments))
    export_hdf5(FeatureStore.open(tmp_path / "toy.zarr"), tmp_path / "features.h5")
    with h5py.File(tmp_path / "features.h5") as file:
        for column, (first, last) in ends.items():
            texts = file[f"segments/{column}"].asstr()[:]
            assert (texts[0][:10], texts[2][:10]) == (first, last)
        np.testing.assert_array_equal(file["segments/score"][:], gaps["score"])
        assert (file["segments/count"][0], file["segments/count"][2]) == (1, 3)
