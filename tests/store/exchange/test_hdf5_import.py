"""HDF5 files of others: what imports, what fails and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcache.store import ConfigError, FeatureStore, FingerprintError, Presence, StoreError
from mmcache.store.exchange.hdf5_import import import_hdf5
from mmcache.store.manage.verify import verify

C, M, F = Presence.CACHED, Presence.MISSING, Presence.FAILED
REQUIRED: dict[str, Any] = {
    "features/rgb": np.arange(24, dtype=np.float16).reshape(3, 2, 4),
    "labels/verb": np.array([0, 2, -1]),
    "split": ["train", "train", "test"],
    "ids": ["a", "b", "c"],
}


def h5_file(path: Path, **contents: Any) -> Path:
    """The smallest file that imports, with changes: name -> value, None = left out ('/' is written '__')."""
    with h5py.File(path, "w") as file:
        for name, value in {**REQUIRED, **{n.replace("__", "/"): v for n, v in contents.items()}}.items():
            if value is not None:
                file[name] = value
    return path


def imported(folder: Path, **contents: Any) -> FeatureStore:
    import_hdf5(h5_file(folder / "features.h5", **contents), folder / "new.zarr")
    return FeatureStore.open(folder / "new.zarr")


def test_the_smallest_file_imports(tmp_path: Path) -> None:
    store = imported(tmp_path)
    assert verify(store.path) == []
    assert len(store) == 3
    assert store.arrays == [("rgb", "hdf5")]
    assert store.tasks == {"verb": ["0", "1", "2"]}
    assert store.labels("verb").tolist() == [0, 2, -1]
    assert store.meta.dataset == "features"
    assert store.meta.splits == {"test": 1, "train": 2}
    assert store.meta.eval_split == "test"
    assert store.present["rgb"].tolist() == [C, C, C]
    assert store.lengths["rgb"] is None
    np.testing.assert_array_equal(store.tokens["rgb"].read(np.arange(3)), REQUIRED["features/rgb"])
    assert store.tokens["rgb"].fingerprint.weights == "import"
    assert store.meta.coverage == {"test": {"rgb": {"hdf5": 1}}, "train": {"rgb": {"hdf5": 2}}}


def test_the_optional_parts_are_taken_over(tmp_path: Path) -> None:
    store = imported(
        tmp_path,
        features__audio=np.ones((3, 5, 2), np.float32),
        lengths__audio=[5, 0, 1],
        present__audio=[1, 0, 1],
        classes__verb=["take", "cut", "wash", "dry"],
        segments__video=["v1", "v1", "v2"],
        segments__start_s=[1.0, 2.0, 0.0],
        segments__stop_s=[2.0, 3.5, 1.0],
        segments__narration=["x", "y", "z"],
    )
    assert verify(store.path) == []
    assert store.modalities == ["audio", "rgb"]
    assert store.present["audio"].tolist() == [C, M, C]
    assert store.lengths["audio"][:, 0].tolist() == [5, 0, 1]
    assert store.tokens["audio"].dtype == np.float32
    assert store.tasks == {"verb": ["take", "cut", "wash", "dry"]}
    assert store.segments["video"].tolist() == ["v1", "v1", "v2"]
    assert store.segments["stop_s"].tolist() == [2.0, 3.5, 1.0]
    assert store.segments["narration"].tolist() == ["x", "y", "z"]


def test_ids_and_split_are_those_of_their_own_datasets(tmp_path: Path) -> None:
    """Not of columns of the same name among the optional ones."""
    store = imported(tmp_path, segments__id=["x", "y", "z"], segments__split=["test", "test", "test"])
    assert store.segments["id"].tolist() == ["a", "b", "c"]
    assert store.segments["split"].tolist() == ["train", "train", "test"]


@pytest.mark.parametrize("ids", [np.array([b"a", b"b", b"\xc3\xbc"]), np.array([7, 8, 9]), ["a", "b", "動画"]])
def test_ids_of_any_common_type(tmp_path: Path, ids: Any) -> None:
    expected = ["a", "b", "ü"] if ids[0] == b"a" else [str(name) for name in ids]
    assert imported(tmp_path, ids=ids).segments["id"].tolist() == expected


def test_importing_twice_changes_nothing(tmp_path: Path, tree: Callable[[Path], dict[str, bytes]]) -> None:
    store = imported(tmp_path)
    before = tree(store.path)
    files = {name: (store.path / name).stat().st_ino for name in before}
    import_hdf5(tmp_path / "features.h5", store.path)
    assert tree(store.path) == before
    assert {name: (store.path / name).stat().st_ino for name in before} == files, "done shards were written again"


def test_a_second_file_of_the_same_segments_adds_a_modality(tmp_path: Path) -> None:
    store = imported(tmp_path)
    audio = h5_file(tmp_path / "audio.h5", features__rgb=None, features__audio=np.ones((3, 1, 2), np.float16))
    with h5py.File(audio, "a") as file:
        file.attrs["dataset"] = "features"
    import_hdf5(audio, store.path)
    both = FeatureStore.open(store.path)
    assert both.modalities == ["audio", "rgb"]
    assert both.present["rgb"].tolist() == [C, C, C]
    assert verify(store.path) == []


def test_other_tokens_for_the_same_modality_are_refused(
    tmp_path: Path, tree: Callable[[Path], dict[str, bytes]]
) -> None:
    store = imported(tmp_path)
    before = tree(store.path)
    with pytest.raises(FingerprintError, match="weights_sha256: the store has"):
        imported(tmp_path, features__rgb=REQUIRED["features/rgb"] + 1)
    assert tree(store.path) == before


def test_other_segments_are_refused(tmp_path: Path) -> None:
    imported(tmp_path)
    with pytest.raises(StoreError, match="some segments differ"):
        imported(tmp_path, ids=["a", "b", "d"])


def test_what_is_no_hdf5_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("not HDF5")
    for name in ("text.h5", "nowhere.h5"):
        with pytest.raises(ConfigError, match=f"{name} (cannot be opened as HDF5|is not there)"):
            import_hdf5(tmp_path / name, tmp_path / "new.zarr")
    assert not (tmp_path / "new.zarr").exists()


@pytest.mark.parametrize(
    ("contents", "messages"),
    [
        pytest.param(
            {"split": None, "features__rgb": None, "labels__verb": None},
            ["lacks 'labels'", "lacks 'split'", "lacks 'features'"],
            id="lacking",
        ),
        pytest.param(
            {
                "labels__verb": [0, 1],
                "features__rgb": np.ones((3, 4), np.float16),
                "features__audio": np.ones((3, 2, 4)),
            },
            [
                r"'labels/verb' has shape \(2,\), but there are 3 ids",
                r"'features/rgb' must be \(N, T, D\), has shape \(3, 4\)",
                "'features/audio' is float64; allowed: float16, float32",
            ],
            id="shapes and types",
        ),
        pytest.param(
            {"split": None, "labels__verb": [0, 1], "features__rgb": np.ones((3, 4), np.float16)},
            ["lacks 'split'", "labels/verb", "features/rgb"],
            id="lacking and shapes",
        ),
        pytest.param(
            {"present__rgb": [1, 1], "lengths__rgb": [1, 1, 1, 1], "segments__video": ["a"]},
            ["present/rgb", "lengths/rgb", "segments/video"],
            id="lengths of the optional parts",
        ),
        pytest.param(
            {"features__a b": np.ones((3, 1, 1), np.float16), "labels__Verb 1": [0, 0, 0], "split": ["train"]},
            ["modality 'a b' cannot name a folder", "'Verb 1' cannot name a task", r"'split' has shape \(1,\)"],
            id="names",
        ),
    ],
)
def test_all_mistakes_are_told_at_once(tmp_path: Path, contents: dict[str, Any], messages: list[str]) -> None:
    with pytest.raises(ConfigError, match="3 things to put right") as caught:
        imported(tmp_path, **contents)
    for message in messages:
        assert caught.match(message)
    assert not (tmp_path / "new.zarr").exists()


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        pytest.param({"features__rgb": None, "features": np.ones((3, 2, 4), np.float16)}, "features", id="no group"),
        pytest.param({"labels__verb": None, "labels": [0, 0, 0]}, "labels", id="labels are no group"),
        pytest.param(
            {"features__rgb": None, "features__rgb__a": np.ones((3, 2, 4), "f2")}, "features/rgb", id="nested"
        ),
        pytest.param({"features__rgb": np.ones((3, 0, 4), np.float16)}, "features/rgb", id="no tokens"),
        pytest.param({"labels__verb": ["take", "cut", "take"]}, "labels/verb", id="labels are words"),
        pytest.param({"labels__verb": [0.5, 1, 2]}, "verb", id="labels are fractions"),
        pytest.param({"labels__verb": [np.nan, 1, 2]}, "verb", id="labels are NaN"),
        pytest.param({"labels__verb": np.zeros((3, 1), int)}, "labels/verb", id="labels of two axes"),
        pytest.param({"lengths__rgb": np.ones((3, 2), int)}, "lengths/rgb", id="lengths of two axes"),
        pytest.param({"lengths__rgb": [1, 3, 2]}, "lengths/rgb", id="length beyond the tokens"),
        pytest.param({"lengths__rgb": [1, 0, 2]}, "lengths/rgb", id="length 0 where present"),
        pytest.param({"present__rgb": [0, 1, 2]}, "present/rgb", id="presence is neither 0 nor 1"),
        pytest.param({"present__depth": [0, 1, 1]}, "depth", id="presence of what has no features"),
        pytest.param({"ids": "a"}, "ids", id="one id"),
        pytest.param({"ids": ["a", "b", "a"]}, "'a'", id="repeated id"),
        pytest.param({"classes__verb": ["take"]}, "verb", id="label beyond the classes"),
        pytest.param({"segments__start_s": [0.0, 5.0, 0.0]}, "'b' does not stop after it starts", id="no span"),
        pytest.param({"segments__start_s": ["0", "one", "0"]}, "start_s|'b' does not stop", id="spans are words"),
        pytest.param({"classes__verb": 3}, "classes/verb", id="classes are no vector"),
        pytest.param({"labels__verb": [0.0, np.inf, 1.0]}, "labels/verb", id="labels are infinite"),
        pytest.param(
            {"ids": np.zeros(0, "S1"), "split": np.zeros(0, "S1"), "labels__verb": np.zeros(0, int)}
            | {"features__rgb": np.ones((0, 2, 4), np.float16)},
            "ids",
            id="no segments",
        ),
    ],
)
def test_a_file_of_another_form_is_refused_by_name(tmp_path: Path, contents: dict[str, Any], message: str) -> None:
    """Never with a traceback, and before a store is made."""
    with pytest.raises((ConfigError, StoreError), match=message):
        imported(tmp_path, **contents)
    assert not (tmp_path / "new.zarr").exists()


NAMES = [
    *("ids", "split", "features", "labels", "lengths", "present", "classes", "segments"),
    *("features__rgb", "features__audio", "labels__verb", "labels__noun", "lengths__rgb", "present__rgb"),
    *("classes__verb", "segments__video", "segments__start_s", "segments__stop_s", "segments__id", "segments__verb"),
]
SCALARS = {
    "integers": st.integers(-2, 5),
    "fractions": st.sampled_from([0.0, 1.0, 0.5, -1.0, np.nan, np.inf]),
    "texts": st.sampled_from(["", "a", "train", "ü", "../x"]),
    "yes or no": st.booleans(),
}


@st.composite
def any_contents(draw: st.DrawFn) -> Any:
    """A dataset of any common type and small shape; mostly what a file of three segments has."""
    kind = draw(st.sampled_from(list(SCALARS)))
    shape = draw(st.sampled_from([(3,), (3,), (3,), (), (0,), (2,), (3, 1), (3, 2, 4), (3, 0, 4)]))
    values = draw(st.lists(SCALARS[kind], min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
    if kind == "texts":
        return np.array([value.encode() for value in values], dtype="S8").reshape(shape)
    dtypes = {"integers": ["i1", "i4", "i8"], "fractions": ["f2", "f4", "f8"], "yes or no": ["?"]}
    return np.array(values, dtype=draw(st.sampled_from(dtypes[kind]))).reshape(shape)


@settings(max_examples=150)
@given(st.dictionaries(st.sampled_from(NAMES), any_contents(), min_size=1, max_size=3))
def test_whatever_a_file_holds_it_is_imported_soundly_or_refused(
    make_folder: Callable[[], Path], contents: dict[str, Any]
) -> None:
    """Never another kind of error, and never a store that verify calls unsound."""
    groups = {name for name in contents if "__" not in name}
    covered = [name for name in (*REQUIRED, *contents) if name.replace("__", "/").split("/")[0] in groups - {name}]
    changes = {**contents, **dict.fromkeys(covered)}
    try:
        store = imported(make_folder(), **changes)
    except (ConfigError, StoreError):
        return
    assert verify(store.path) == []
    assert len(store) == 3


def test_tokens_that_are_no_numbers_are_failures(tmp_path: Path) -> None:
    """As in an extract: a store that verify would call unsound is never made."""
    features = REQUIRED["features/rgb"].copy()
    features[1, 0, 0] = np.nan
    store = imported(tmp_path, features__rgb=features)
    assert verify(store.path) == []
    assert store.present["rgb"].tolist() == [C, F, C]
    assert [(line["id"], line["modality"]) for line in store.failures] == [("b", "rgb")]
