"""Recommendations that travel with data are a few bounded numbers; everything else is ignored, and named."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcache.store.exchange.hdf5_import import import_hdf5
from mmcache.store.exchange.npy_import import import_npy
from mmcache.store.feature_store import FeatureStore
from mmcache.store.format.recommended import RECOMMENDABLE, ignored_note, take_recommended

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from([*RECOMMENDABLE, "strategy", "out", "eval_split", "teacher", "start", "test_time", "device"])


@given(st.dictionaries(NAMES | st.text(max_size=12), JSON, max_size=6) | JSON)
def test_only_bounded_numbers_of_the_list_are_taken_and_the_rest_is_named(found: Any) -> None:
    taken, ignored = take_recommended(found)
    assert set(taken) <= set(RECOMMENDABLE)
    for value in taken.values():
        assert type(value) in (int, float)
        assert 0 <= value <= 100_000
    if isinstance(found, dict):
        assert len(taken) + len(ignored) == len(found)
    assert take_recommended(taken) == (taken, []), "what was taken is taken again as it is"


def test_sensible_values_are_taken_as_they_are() -> None:
    demo = {"k": 24, "width": 96, "heads": 4, "epochs": 30, "batch_size": 32, "lr": 0.001}
    assert take_recommended(demo) == (demo, [])
    assert take_recommended({"lr": "1e-3"}) == ({"lr": 0.001}, []), "YAML reads 1e-3 as text"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("width", 10**9, "width: 1000000000"),
        ("width", True, "width: True"),
        ("lr", "x", "lr: 'x'"),
        ("lr", float("nan"), "lr: nan"),
        ("epochs", 2.5, "epochs: 2.5"),
        ("k", [3], "k: [3]"),
        ("out", "/etc", "out"),
        ("strategy", "zeros", "strategy"),
        ("eval_split", "train", "eval_split"),
        ("a b", 3, "'a b'"),
    ],
)
def test_what_is_ignored_is_named(name: str, value: object, said: str) -> None:
    assert take_recommended({name: value, "k": 7} if name != "k" else {name: value})[1] == [said]
    note = ignored_note("a.zarr", [said])
    assert note.startswith(f"a.zarr recommends options that data may not set; these are ignored: {said}. ")
    assert "\n" not in note


def test_an_import_keeps_what_may_be_recommended_and_names_the_rest(tmp_path: Path) -> None:
    found = {"k": 7, "strategy": "zeros"}
    folder = tmp_path / "features"
    (folder / "rgb").mkdir(parents=True)
    (folder / "segments.csv").write_text("id,split,label\na,train,x\nb,test,x\n")
    for name in ("a", "b"):
        np.save(folder / "rgb" / f"{name}.npy", np.ones((2, 3), np.float32))
    (folder / "mmcache.json").write_text(json.dumps({"recommended": found}))
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["features/rgb"], file["labels/label"] = np.ones((2, 2, 3), np.float32), [0, 0]
        file["split"] = ["train", "test"]
        file.attrs["recommended"] = json.dumps(found)
    for imported, where in (
        (import_npy(folder, tmp_path / "npy.zarr"), folder / "mmcache.json"),
        (import_hdf5(tmp_path / "f.h5", tmp_path / "h5.zarr"), tmp_path / "f.h5"),
    ):
        assert ignored_note(str(where), ["strategy"]) in imported.notes
        assert FeatureStore.open(imported.root).meta.recommended == {"k": 7}
