"""The form of the exported folder, and exports that cannot be."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcache.store import ConfigError, FeatureStore, Presence, StoreError
from mmcache.store.exchange.npy_export import export_npy
from mmcache.store.exchange.npy_form import file_name


def test_the_exported_folder_is_of_the_documented_form(source: FeatureStore, tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    export_npy(source, tmp_path / "deep" / "features", progress=lambda *step: steps.append(step))
    cached = {m: int((source.present[m] == Presence.CACHED).sum()) for m in source.modalities}
    assert [step for step in steps if step[1] == step[2]] == [(m, n, n) for m, n in cached.items()]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["features"]
    folder = tmp_path / "deep" / "features"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    about = {"segments.csv", "mmcache.json", "classes/verb.txt", "classes/noun.txt"}
    assert files >= about
    assert {path.split("/")[0] for path in files - about} == {"audio", "rgb"}
    assert len(files - about) == sum(cached.values())
    row = source.segments.index[source.segments["id"] == "../x"][0]
    np.testing.assert_array_equal(
        np.load(folder / "rgb" / "..%2Fx.npy", allow_pickle=False), source.tokens["rgb"].read(np.array([row]))[0]
    )


@settings(max_examples=20)
@given(st.lists(st.text(max_size=8), min_size=2, max_size=5, unique=True))
def test_no_id_leads_out_of_its_folder_or_to_the_file_of_another(ids: list[str]) -> None:
    ids = [name for name in ids if not any("\ud800" <= letter <= "\udfff" for letter in name)]
    for name in ids:
        assert "/" not in file_name(name)
        assert "\0" not in file_name(name)
        assert file_name(name) not in (".", "..")
    assert len({file_name(name) for name in ids}) == len(ids)


def test_an_export_that_fails_leaves_nothing(make_store: Callable[..., Path], tmp_path: Path) -> None:
    root = make_store({"m": np.ones((5, 1, 2, 3), np.float16)})
    shard = root / "tokens/m/enc/c/1/0/0/0"
    raw = bytearray(shard.read_bytes())
    raw[1] ^= 4
    shard.write_bytes(raw)
    with pytest.raises(StoreError, match="checksum"):
        export_npy(FeatureStore.open(root), tmp_path / "features")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_is_said(
    source: FeatureStore, make_store: Callable[..., Path], make_segments: Callable[[int], pd.DataFrame], tmp_path: Path
) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(ConfigError, match="there exists already; give the name of a new folder"):
        export_npy(source, tmp_path / "there")
    for view in (2, -1):
        with pytest.raises(ConfigError, match=f"--view {view}: audio has 2 cached views"):
            export_npy(source, tmp_path / "features", view)
    long = make_segments(2).assign(id=["ä" * 42, "ä" * 43])  # 6 letters for each one, and '.npy'
    store = FeatureStore.open(make_store({"m": np.ones((2, 1, 1, 1), np.float16)}, segments=long))
    with pytest.raises(ConfigError, match="is too long for a file name; export to HDF5 instead"):
        export_npy(store, tmp_path / "features")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_modality_named_as_the_folder_of_classes_is_refused(make_store: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a modality named 'classes' conflicts with the folder of class names"):
        export_npy(FeatureStore.open(make_store({"classes": np.ones((2, 1, 1, 1), np.float16)})), tmp_path / "o")


def test_what_a_killed_export_left_is_removed(source: FeatureStore, tmp_path: Path) -> None:
    (tmp_path / ".tmp-1-features" / "rgb").mkdir(parents=True)
    export_npy(source, tmp_path / "features")
    assert [path.name for path in tmp_path.iterdir()] == ["features"]
