import os
import pickle
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmcache.store import ConfigError, FeatureStore, FingerprintError, Presence, StoreError
from mmcache.store.errors import StoreMismatchError
from mmcache.store.fingerprint import Fingerprint
from mmcache.store.layout import StoreMeta
from mmcache.store.npy_folder import export_npy, file_name, import_npy
from mmcache.store.quantise import dequantise, quantise
from mmcache.store.verify import verify

Tree = Callable[[Path], dict[str, bytes]]
C, M, F, T = Presence.CACHED, Presence.MISSING, Presence.FAILED, Presence.TO_DO
PROPERTY = settings(max_examples=20)
N = 23
ODD_IDS = ["../x", "a/b", ".", "..", "ä ö", "%41", "A", "a", "/etc/passwd", "", " ", "a,b", 'q"r', "x\ny", "NA", "nan"]
ODD_CLASSES = [
    'take "it"',
    "back\\slash",
    "line\nbreak",
    "a\\nb",
    "\\u0041",
    "löök 動画",
    "",
    " spaced ",
    "1",
    "a,b",
    "\t",
]


def imported(folder: Path, root: Path, **how: Any) -> FeatureStore:
    import_npy(folder, root, **how)
    return FeatureStore.open(root)


@pytest.fixture
def user_folder(tmp_path: Path) -> Callable[..., Path]:
    """What a feature release looks like: segments.csv with id, split and labels, and <modality>/<id>.npy."""

    def make(table: str, **modalities: dict[str, NDArray[Any]]) -> Path:
        folder = tmp_path / "features"
        folder.mkdir()
        (folder / "segments.csv").write_text(table)
        for modality, arrays in modalities.items():
            (folder / modality).mkdir()
            for name, array in arrays.items():
                np.save(folder / modality / f"{name}.npy", array, allow_pickle=array.dtype == object)
        return folder

    return make


def tokens(length: int, width: int = 3, dtype: str = "float16", value: float = 1.5) -> NDArray[np.floating]:
    return np.full((length, width), value, dtype)


TABLE = "id,split,verb\na,train,take\nb,train,cut\nc,test,take\n"


# There and back.


@pytest.fixture(scope="module")
def source(
    make_store: Callable[..., Path], random_tokens: Callable[..., NDArray[np.floating]], make_folder: Callable
) -> FeatureStore:
    """Odd ids and an extra column of each kind; two views, lengths; some segments missing, failed or not done."""
    rng = np.random.default_rng(0)
    presence = rng.choice([C, M, T], N, p=[0.8, 0.1, 0.1])
    presence[:2], presence[-2:] = (C, M), (F, C)
    lengths = np.where(presence[:, None] == C, rng.integers(1, 5, (N, 2)), 0)
    lengths[0] = 4
    arrays = {"audio": random_tokens(N, 2, 4, 3), "rgb/swin": random_tokens(N, 2, 2, 5, dtype="float32")}
    segments = pd.DataFrame(
        {
            "id": [*ODD_IDS, *(f"P01_{row:03}" for row in range(len(ODD_IDS), N))],
            "video": [f"0{row // 4}" for row in range(N)],
            "start_s": np.cumsum(rng.random(N)),
            "stop_s": 100 + rng.random(N),
            "split": np.where(np.arange(N) % 4 == 3, "validation", "train"),
            "verb": np.arange(N) % 3,
            "noun": np.arange(N) % 5 - 1,
            "narration": [f'cut the "löök", {row}\n' for row in range(N)],
            "score": rng.random(N),
            "kitchen": np.arange(N) * 10**12,
            "sharp": np.arange(N) % 2 == 0,
        }
    )
    return FeatureStore.open(make_store(arrays, 4, {"audio": presence}, {"audio": lengths}, segments))


@pytest.mark.parametrize("view", [0, 1])
def test_what_is_exported_is_imported_again(source: FeatureStore, view: int, tmp_path: Path) -> None:
    export_npy(source, tmp_path / "features", view)
    new = imported(tmp_path / "features", tmp_path / "new.zarr", shard_bytes=300)
    assert verify(new.path) == []
    assert (new.modalities, new.tasks) == (source.modalities, source.tasks)
    assert new.segments.to_dict("list") == source.segments.to_dict("list")
    for field in ("dataset", "splits", "eval_split", "recommended"):
        assert getattr(new.meta, field) == getattr(source.meta, field)
    for modality in source.modalities:
        ours, theirs = new.tokens[modality], source.tokens[modality]
        assert (ours.encoder, ours.fingerprint, ours.dtype) == (theirs.encoder, theirs.fingerprint, theirs.dtype)
        cached = source.present[modality] == C
        np.testing.assert_array_equal(new.present[modality], np.where(cached, C, M))
        read, expected = ours.read(np.arange(N)), theirs.read(np.arange(N), view)
        lengths = source.lengths[modality]
        if lengths is not None:
            np.testing.assert_array_equal(new.lengths[modality][:, 0], lengths[:, view])
            expected = np.where(np.arange(expected.shape[1])[:, None] < lengths[:, view, None, None], expected, 0)
        np.testing.assert_array_equal(read, expected)


def test_the_store_of_an_import_goes_out_and_in_to_the_same_bytes(
    source: FeatureStore, tmp_path: Path, tree: Tree
) -> None:
    export_npy(source, tmp_path / "one")
    first = imported(tmp_path / "one", tmp_path / "first.zarr", shard_bytes=300)
    export_npy(first, tmp_path / "two")
    assert tree(tmp_path / "two") == tree(tmp_path / "one")
    assert tree(imported(tmp_path / "two", tmp_path / "second.zarr", shard_bytes=300).path) == tree(first.path)


def test_the_exported_folder_is_of_the_documented_form(source: FeatureStore, tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    export_npy(source, tmp_path / "deep" / "features", progress=lambda *step: steps.append(step))
    cached = {m: int((source.present[m] == C).sum()) for m in source.modalities}
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


@PROPERTY
@given(st.lists(st.text(max_size=8), min_size=2, max_size=5, unique=True))
def test_no_id_leads_out_of_its_folder_or_to_the_file_of_another(ids: list[str]) -> None:
    ids = [name for name in ids if not any("\ud800" <= letter <= "\udfff" for letter in name)]
    for name in ids:
        assert "/" not in file_name(name)
        assert "\0" not in file_name(name)
        assert file_name(name) not in (".", "..")
    assert len({file_name(name) for name in ids}) == len(ids)


# Other separators of lines do not come back: see the report.
CLASS_NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x85\u2028\u2029"), max_size=6)


@PROPERTY
@given(
    classes=st.lists(st.one_of(st.sampled_from(ODD_CLASSES), CLASS_NAMES), min_size=3, max_size=5, unique=True),
    data=st.data(),
)
def test_odd_class_names_and_labels_come_back(
    classes: list[str], data: st.DataObject, make_folder: Callable[[], Path]
) -> None:
    from mmcache.store.create import create_store
    from mmcache.store.reports import finish_reports
    from mmcache.store.writer import add_tokens

    labels = data.draw(st.lists(st.integers(-1, len(classes) - 1), min_size=3, max_size=3))
    folder = make_folder()
    segments = pd.DataFrame({"id": list("abc"), "video": "v", "start_s": 0.0, "stop_s": 1.0, "split": "train"})
    segments["verb"] = labels
    create_store(folder / "a.zarr", segments, StoreMeta("toy", {"verb": classes}, {"train": 3}, "train"))
    writer = add_tokens(folder / "a.zarr", "m", Fingerprint("enc", "import", "0", {}, None, 1), 1, 1)
    commit = writer.shard(0)
    commit.put(0, np.ones((1, 1, 1), np.float16))
    commit.commit()
    finish_reports(folder / "a.zarr")
    export_npy(FeatureStore.open(folder / "a.zarr"), folder / "out")
    new = imported(folder / "out", folder / "b.zarr")
    assert new.tasks == {"verb": classes}
    assert new.labels("verb").tolist() == labels


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


def test_what_a_killed_export_left_is_removed(source: FeatureStore, tmp_path: Path) -> None:
    (tmp_path / ".tmp-1-features" / "rgb").mkdir(parents=True)
    export_npy(source, tmp_path / "features")
    assert [path.name for path in tmp_path.iterdir()] == ["features"]


def test_int8_tokens_are_exported_as_the_floats_they_stand_for(
    make_store: Callable[..., Path], tmp_path: Path, user_folder: Callable[..., Path]
) -> None:
    values = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float16)
    store = imported(user_folder(TABLE, m={"b": values}), tmp_path / "a.zarr", dtype="int8")
    export_npy(store, tmp_path / "out")
    exported = np.load(tmp_path / "out" / "m" / "b.npy", allow_pickle=False)
    np.testing.assert_array_equal(exported, dequantise(*quantise(values)))
    again = imported(tmp_path / "out", tmp_path / "b.zarr")
    np.testing.assert_array_equal(again.tokens["m"].read(np.array([1]))[0], exported)


# Folders of others.


def test_a_plain_folder_imports(user_folder: Callable[..., Path], tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float16).reshape(2, 3)
    folder = user_folder(TABLE, rgb={"a": values, "c": values + 1}, audio={"b": tokens(2, 4), "c": tokens(5, 4)})
    store = imported(folder, tmp_path / "new.zarr")
    assert verify(store.path) == []
    assert store.arrays == [("audio", "npy"), ("rgb", "npy")]
    assert store.meta.dataset == "features"
    assert (store.meta.splits, store.meta.eval_split) == ({"test": 1, "train": 2}, "test")
    assert store.tasks == {"verb": ["cut", "take"]}
    assert store.labels("verb").tolist() == [1, 0, 1]
    assert store.present["rgb"].tolist() == [C, M, C]
    assert store.present["audio"].tolist() == [M, C, C]
    assert store.lengths["rgb"] is None
    assert store.lengths["audio"][:, 0].tolist() == [0, 2, 5]
    assert store.segments["video"].tolist() == ["a", "b", "c"]
    np.testing.assert_array_equal(store.tokens["rgb"].read([0, 2]), [values, values + 1])
    assert store.tokens["audio"].read([1])[0, :, 0].tolist() == [1.5, 1.5, 0, 0, 0]
    assert store.tokens["rgb"].fingerprint.weights == "import"
    assert store.failures == []


@pytest.mark.parametrize(
    ("cells", "tasks", "labels"),
    [
        pytest.param("take cut take", ["cut", "take"], [1, 0, 1], id="words"),
        pytest.param("0 3 1", ["0", "1", "2", "3"], [0, 3, 1], id="numbers"),
        pytest.param("2.0 0.0 1.0", ["0", "1", "2"], [2, 0, 1], id="whole fractions"),
        pytest.param("0 -1 1", ["0", "1"], [0, -1, 1], id="unlabelled is -1"),
        pytest.param("take _ cut", ["cut", "take"], [1, -1, 0], id="unlabelled is empty"),
        pytest.param("1 _ 0", ["0", "1"], [1, -1, 0], id="numbers and an empty cell"),
        pytest.param("NA nan None", ["NA", "None", "nan"], [0, 2, 1], id="words that look like gaps"),
        pytest.param("1 2 x", ["1", "2", "x"], [0, 1, 2], id="a word among numbers"),
        pytest.param("0.5 1 2", ["0.5", "1.0", "2.0"], [0, 1, 2], id="fractions are names"),
    ],
)
def test_labels_are_numbers_or_words(
    cells: str, tasks: list[str], labels: list[int], user_folder: Callable[..., Path], tmp_path: Path
) -> None:
    rows = [f"{name},train,{cell.replace('_', '')}" for name, cell in zip("abc", cells.split(), strict=True)]
    folder = user_folder("\n".join(["id,split,verb", *rows]), m={"a": tokens(1)})
    store = imported(folder, tmp_path / "new.zarr")
    assert store.tasks == {"verb": tasks}
    assert store.labels("verb").tolist() == labels


def test_a_classes_file_names_the_labels_and_the_tasks(user_folder: Callable[..., Path], tmp_path: Path) -> None:
    table = "id,split,verb,note\na,train,take,x\nb,train,,y\nc,train,wash,x\n"
    folder = user_folder(table, m={"a": tokens(1)})
    (folder / "classes").mkdir()
    (folder / "classes" / "verb.txt").write_text("wash\ncut\ntake\n")
    store = imported(folder, tmp_path / "one.zarr")
    assert store.tasks == {"verb": ["wash", "cut", "take"]}
    assert store.labels("verb").tolist() == [2, -1, 0]
    assert store.segments["note"].tolist() == ["x", "y", "x"]
    chosen = imported(folder, tmp_path / "two.zarr", tasks=["note"])
    assert chosen.tasks == {"note": ["x", "y"]}
    assert chosen.segments["verb"].tolist() == ["take", "", "wash"]


def test_one_axis_is_one_token(user_folder: Callable[..., Path], tmp_path: Path) -> None:
    values = np.arange(4, dtype=np.float32)
    store = imported(user_folder(TABLE, m={"a": values, "b": values[None]}), tmp_path / "new.zarr")
    np.testing.assert_array_equal(store.tokens["m"].read([0, 1]), [[values], [values]])


# Conversions.

DTYPES: list[tuple[Sequence[str], str]] = [
    (["float16"], "float16"),
    (["float32"], "float32"),
    (["float16", "float32"], "float32"),
    (["float64"], "float32"),
    ([">f4", "float16"], "float32"),
]


@pytest.mark.parametrize(("given", "stored"), DTYPES)
def test_halves_stay_halves_and_anything_else_becomes_float32(
    given: Sequence[str], stored: str, user_folder: Callable[..., Path], tmp_path: Path
) -> None:
    arrays = {name: tokens(2, dtype=dtype) for name, dtype in zip("abc", given, strict=False)}
    store = imported(user_folder(TABLE, m=arrays), tmp_path / "new.zarr")
    assert store.tokens["m"].dtype == stored
    assert (store.tokens["m"].read(np.arange(len(given))) == 1.5).all()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
def test_tokens_are_stored_as_asked_for(
    dtype: str, order: str, user_folder: Callable[..., Path], tmp_path: Path
) -> None:
    values = np.asarray(np.random.default_rng(0).standard_normal((5, 3)), "float32", order=order)  # type: ignore[call-overload]
    store = imported(user_folder(TABLE, m={"a": values}), tmp_path / "new.zarr", dtype=dtype)
    assert verify(store.path) == []
    assert store.tokens["m"].dtype == dtype
    expected = dequantise(*quantise(values)) if dtype == "int8" else values.astype(dtype)
    np.testing.assert_array_equal(store.tokens["m"].read_float(np.array([0]))[0], expected)


def test_a_value_that_the_dtype_cannot_hold_is_a_failure(user_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = user_folder(TABLE, m={"a": tokens(1, dtype="float32"), "b": tokens(1, dtype="float32", value=1e6)})
    store = imported(folder, tmp_path / "new.zarr", dtype="float16")
    assert store.present["m"].tolist() == [C, F, M]
    assert [(line["id"], line["reason"]) for line in store.failures] == [("b", "values that float16 cannot hold")]


def test_another_dtype_is_refused(user_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = user_folder(TABLE, m={"a": tokens(1)})
    with pytest.raises(ConfigError, match="--dtype float61: allowed are float16, float32, int8"):
        import_npy(folder, tmp_path / "new.zarr", dtype="float61")
    store = imported(folder, tmp_path / "new.zarr")
    with pytest.raises(StoreMismatchError, match="holds float16 tokens"):
        import_npy(folder, store.path, dtype="float32")


# Files that cannot be used.


class Bomb:
    """Unpickled, it leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def _truncated(file: Path) -> None:
    np.save(file, tokens(200))
    os.truncate(file, 500)


BAD_FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty": (lambda file: file.write_bytes(b""), "cannot be read: No data left in file"),
    "text": (lambda file: file.write_text("1 2 3\n" * 30), "cannot be read"),
    "truncated in its tokens": (_truncated, "cannot be read"),
    "truncated in its header": (lambda file: (np.save(file, tokens(2)), os.truncate(file, 20)), "cannot be read"),
    "pickled objects": (lambda file: np.save(file, np.array([[Bomb(file.parent / "boom")]])), "cannot be read"),
    "a pickle": (lambda file: file.write_bytes(pickle.dumps(Bomb(file.parent / "boom"))), "cannot be read"),
    "a folder": (lambda file: (file.unlink(), file.mkdir()), "cannot be read: .*Is a directory"),
    "three axes": (lambda file: np.save(file, np.ones((2, 2, 3), "f2")), r"has shape \(2, 2, 3\); expected \(T, D\)"),
    "no axes": (lambda file: np.save(file, np.float32(1)), r"has shape \(\); expected \(T, D\)"),
    "no tokens": (lambda file: np.save(file, np.ones((0, 3), "f2")), r"has shape \(0, 3\); expected \(T, D\)"),
    "integers": (lambda file: np.save(file, np.ones((2, 3), int)), "holds int64, not floats"),
    "complex numbers": (lambda file: np.save(file, np.ones((2, 3), complex)), "holds complex128, not floats"),
    "words": (lambda file: np.save(file, np.array([["a", "b", "c"]])), "holds <U1, not floats"),
    "another width": (lambda file: np.save(file, tokens(2, 4)), "has tokens of width 4, most have 3"),
    "NaN": (lambda file: np.save(file, tokens(2, value=np.nan)), "NaN or infinity among the tokens"),
    "infinity": (lambda file: np.save(file, tokens(2, value=np.inf)), "NaN or infinity among the tokens"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_cannot_be_used_is_a_failure_with_its_reason(
    kind: str, user_folder: Callable[..., Path], tmp_path: Path
) -> None:
    """And costs its own segment only; nothing is ever unpickled."""
    folder = user_folder(TABLE, m={"a": tokens(2), "b": tokens(2), "c": tokens(2)})
    spoil, reason = BAD_FILES[kind]
    spoil(folder / "m" / "b.npy")
    store = imported(folder, tmp_path / "new.zarr")
    assert store.present["m"].tolist() == [C, F, C]
    assert [(line["id"], line["modality"], line["encoder"]) for line in store.failures] == [("b", "m", "npy")]
    assert pd.Series(store.failures[0]["reason"]).str.contains(reason).all()
    assert (store.tokens["m"].read([0, 2]) == 1.5).all()
    assert verify(store.path) == []
    assert not (folder / "m" / "boom").exists()


def test_the_bomb_of_that_test_explodes_where_it_is_unpickled(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "boom")))  # noqa: S301
    assert (tmp_path / "boom").exists()


def test_an_archive_is_a_failure(user_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = user_folder(TABLE, m={"a": tokens(2)})
    np.savez(folder / "m" / "x.npz", tokens=tokens(2))
    (folder / "m" / "x.npz").rename(folder / "m" / "b.npy")
    store = imported(folder, tmp_path / "new.zarr")
    assert store.present["m"].tolist() == [C, F, M]


def test_where_no_file_can_be_used_all_fail(user_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = user_folder(TABLE, m={"a": np.ones((2, 3), int), "b": np.ones((2, 3), int)})
    store = imported(folder, tmp_path / "new.zarr")
    assert store.present["m"].tolist() == [F, F, M]
    assert verify(store.path) == []


# Again, and elsewhere.


def test_importing_again_changes_nothing(user_folder: Callable[..., Path], tmp_path: Path, tree: Tree) -> None:
    folder = user_folder(TABLE, m={"a": tokens(2), "b": tokens(3), "c": tokens(1, value=np.nan)})
    store = imported(folder, tmp_path / "new.zarr")
    before = tree(store.path)
    import_npy(folder, store.path)
    assert tree(store.path) == before


def test_a_modality_that_came_later_is_added(user_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = user_folder(TABLE, rgb={"a": tokens(2)})
    store = imported(folder, tmp_path / "new.zarr")
    (folder / "audio").mkdir()
    np.save(folder / "audio" / "b.npy", tokens(4))
    both = imported(folder, store.path)
    assert both.modalities == ["audio", "rgb"]
    assert (both.present["audio"].tolist(), both.present["rgb"].tolist()) == ([M, C, M], [C, M, M])
    assert verify(both.path) == []


def test_other_tokens_are_refused(user_folder: Callable[..., Path], tmp_path: Path, tree: Tree) -> None:
    folder = user_folder(TABLE, m={"a": tokens(2)})
    store = imported(folder, tmp_path / "new.zarr")
    before = tree(store.path)
    np.save(folder / "m" / "a.npy", tokens(2, value=2))
    with pytest.raises(FingerprintError, match="weights_sha256: the store has"):
        import_npy(folder, store.path)
    assert tree(store.path) == before


@pytest.mark.parametrize(
    "table", [TABLE.replace("c,", "d,"), TABLE.replace("cut", "wash"), TABLE.replace("b,train", "b,test"), TABLE[:-12]]
)
def test_other_segments_are_refused(table: str, user_folder: Callable[..., Path], tmp_path: Path, tree: Tree) -> None:
    folder = user_folder(TABLE, m={"a": tokens(2)})
    store = imported(folder, tmp_path / "new.zarr")
    before = tree(store.path)
    (folder / "segments.csv").write_text(table)
    with pytest.raises(StoreMismatchError, match="was made from other annotations"):
        import_npy(folder, store.path)
    assert tree(store.path) == before


# Folders of another form.


@pytest.mark.parametrize(
    ("table", "messages"),
    [
        pytest.param("name,verb\na,1\n", ["lacks the columns id, split; see `mmcache store"], id="columns"),
        pytest.param("", ["cannot be read: No columns to parse"], id="empty"),
        pytest.param("id,split,verb\n", ["has no segments: there is nothing to import"], id="no rows"),
        pytest.param("id,split\na,train\na,train\n", ["segment ids must be unique; 'a'"], id="repeated id"),
        pytest.param(b"id,split\n\xff,train\n", ["cannot be read: .*utf-8"], id="no UTF-8"),
        pytest.param('id,split\n"a,train\n', ["cannot be read"], id="no CSV"),
        pytest.param("id,split,start_s,stop_s\na,train,2,1\n", ["'a' does not stop after it starts"], id="span"),
        pytest.param("id,split,start_s,stop_s\na,train,x,1\n", ["'a' does not stop"], id="words"),
        pytest.param("id,split,verb\na,train,-2\n", ["'a' has a verb label outside -1"], id="label below -1"),
        pytest.param("id,split,verb\na,train,10000\n", ["'verb' has labels up to 10000 for 1"], id="large"),
        pytest.param(
            "id,split,Verb,2,big\na,train,x,y,99999\n",
            [
                "3 things to put right",
                "'Verb' cannot name a task",
                "'2' cannot name a task",
                "'big' has labels up to 99999",
            ],
            id="three at once",
        ),
    ],
)
def test_tables_of_another_form_are_refused(
    table: str | bytes, messages: list[str], user_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = user_folder("", m={"a": tokens(1)})
    (folder / "segments.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    with pytest.raises((ConfigError, StoreError)) as caught:
        import_npy(folder, tmp_path / "new.zarr")
    for message in messages:
        assert caught.match(message)
    assert [path.name for path in tmp_path.iterdir()] == ["features"]


def test_folders_of_another_form_are_refused(user_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = user_folder(TABLE)
    root = tmp_path / "new.zarr"
    with pytest.raises(ConfigError, match=r"has no folder of \.npy files"):
        import_npy(folder, root)
    for name in ("a b", "é"):
        (folder / name).mkdir()
        np.save(folder / name / "a.npy", tokens(1))
    with pytest.raises(ConfigError, match="2 things to put right") as caught:
        import_npy(folder, root)
    assert caught.match("modality 'a b' cannot name a folder")
    assert caught.match("modality 'é' cannot name a folder")
    (folder / "segments.csv").unlink()
    with pytest.raises(ConfigError, match=r"segments\.csv cannot be read"):
        import_npy(folder, root)
    with pytest.raises(ConfigError, match="is no folder"):
        import_npy(tmp_path / "nowhere", root)
    assert [path.name for path in tmp_path.iterdir()] == ["features"]


def test_tasks_and_classes_that_do_not_fit_are_told_at_once(user_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = user_folder(TABLE.replace("verb", "verb,noun").replace("take", "take,cup").replace("cut", "cut,pan"))
    (folder / "m").mkdir()
    np.save(folder / "m" / "a.npy", tokens(1))
    (folder / "classes").mkdir()
    (folder / "classes" / "verb.txt").write_text("take\n")
    (folder / "classes" / "noun.txt").write_text("mug\n")
    with pytest.raises(ConfigError, match="3 things to put right") as caught:
        import_npy(folder, tmp_path / "new.zarr", tasks=["verb", "noun", "action"])
    for message in (
        r"column 'verb' has 'cut', which .*verb\.txt does not list",
        r"column 'noun' has 'cup', which .*noun\.txt does not list \(2 such\)",
        r"task 'action' is no column of .*segments\.csv; there are: verb, noun",
    ):
        assert caught.match(message)
    assert [path.name for path in tmp_path.iterdir()] == ["features"]


@pytest.mark.parametrize(
    ("about", "message"),
    [
        (b"{", r"mmcache\.json cannot be read: .*Remove it to import without it"),
        (b"\xff", r"mmcache\.json cannot be read"),
        (b"[]", r"mmcache\.json cannot be read: it holds no mapping"),
        (b'{"fingerprints": {"m": {"encoder": "x"}}}', "the fingerprint of m in mmcache.json is not whole"),
    ],
)
def test_a_damaged_about_file_is_refused(
    about: bytes, message: str, user_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = user_folder(TABLE, m={"a": tokens(1)})
    (folder / "mmcache.json").write_bytes(about)
    with pytest.raises(ConfigError, match=message):
        import_npy(folder, tmp_path / "new.zarr")


def test_an_encoder_that_is_a_path_leads_nowhere(
    source: FeatureStore, user_folder: Callable[..., Path], tmp_path: Path
) -> None:
    export_npy(source, tmp_path / "out")
    about = tmp_path / "out" / "mmcache.json"
    about.write_text(about.read_text().replace('"encoder": "swin"', '"encoder": "../../swin"'))
    with pytest.raises(StoreError, match=r"encoder '\.\./\.\./swin' cannot name a folder"):
        import_npy(tmp_path / "out", tmp_path / "new.zarr")
    assert not list(tmp_path.rglob("swin"))
    shutil.rmtree(tmp_path / "out")


@pytest.mark.parametrize("name", ["clip(1)", "a+b", "ä", "x@y", "v=1", "a,b", "a&b", "50%", "動画"])
def test_a_file_may_have_the_name_of_its_segment(name, user_folder, tmp_path) -> None:
    """'Percent-encoded where they are no file name': these are file names. Now: MISSING, without a word."""
    folder = user_folder(f'id,split,verb\n"{name}",train,take\n', m={name: tokens(1)})
    assert imported(folder, tmp_path / "new.zarr").present["m"].tolist() == [C]


HEADERS = [b"(((", b"'''abc", b"{1:", b"{[]:1}", b"-" * 9000 + b"1"]
HEADERS += [
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (%s, 3), }" % first for first in (b"1" + b"0" * 20, b"True")
]


@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
def test_a_header_of_any_kind_is_a_failure(header, user_folder, tmp_path) -> None:
    folder = user_folder(TABLE, m={"a": tokens(2)})
    (folder / "m" / "b.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(64))
    assert imported(folder, tmp_path / "new.zarr").present["m"].tolist() == [C, F, M]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_header_with_a_flipped_bit_costs_its_segment_at_most(user_folder, tmp_path) -> None:
    from mmcache.store.errors import UnstorableTokens
    from mmcache.store.npy_folder import _header

    file = user_folder(TABLE, m={"a": tokens(2)}) / "m" / "a.npy"
    data = file.read_bytes()
    raised = {}
    for place in range(128):
        for bit in range(8):
            changed = bytearray(data)
            changed[place] ^= 1 << bit
            file.write_bytes(changed)
            try:
                _header(file)
            except UnstorableTokens:
                pass
            except Exception as error:
                raised[place, bit] = repr(error)
    assert raised == {}


def test_a_link_in_the_name_of_a_line(make_folder) -> None:
    """Class names with U+0085, U+2028 or U+2029: splitlines cuts them."""
    from mmcache.store.errors import Problems
    from mmcache.store.labels import escaped, read_labels

    for name in ("a\x85b", "a\u2028b", "a\u2029b"):
        file = make_folder() / "verb.txt"
        file.write_text(f"{escaped(name)}\n")
        assert read_labels(pd.Series(["0"]), file, Problems())[0] == [name]


def test_a_classes_file_that_is_no_utf8_is_refused(user_folder, tmp_path) -> None:
    folder = user_folder(TABLE, m={"a": tokens(1)})
    (folder / "classes").mkdir()
    (folder / "classes" / "verb.txt").write_bytes(b"take\nl\xf6\xf6k\n")
    with pytest.raises(ConfigError, match=r"verb\.txt"):
        import_npy(folder, tmp_path / "new.zarr")


def test_an_id_or_text_with_a_carriage_return_comes_back(make_store, make_segments, tmp_path) -> None:
    segments = make_segments(2).assign(id=["x\ry", "z"], narration=["a", "b\rc"])
    export_npy(
        FeatureStore.open(make_store({"m": np.ones((2, 1, 1, 1), np.float16)}, segments=segments)), tmp_path / "o"
    )
    assert imported(tmp_path / "o", tmp_path / "n.zarr").segments["id"].tolist() == ["x\ry", "z"]


@pytest.mark.parametrize("values", [["007", "008"], [0.5, np.nan]], ids=["text of digits", "gap"])
def test_extra_columns_keep_their_kind(values, make_store, make_segments, tmp_path) -> None:
    segments = make_segments(2).assign(extra=values)
    store = FeatureStore.open(make_store({"m": np.ones((2, 1, 1, 1), np.float16)}, segments=segments))
    export_npy(store, tmp_path / "o")
    assert str(imported(tmp_path / "o", tmp_path / "n.zarr").segments["extra"].tolist()) == str(values)


def test_a_modality_named_as_the_folder_of_classes_is_refused(make_store, tmp_path) -> None:
    with pytest.raises(ConfigError, match="a modality named 'classes' has no place in such a folder"):
        export_npy(FeatureStore.open(make_store({"classes": np.ones((2, 1, 1, 1), np.float16)})), tmp_path / "o")


def test_an_id_too_long_for_a_file_is_a_missing_file(user_folder, tmp_path) -> None:
    folder = user_folder(f"id,split\n{'ä' * 100},train\nb,train\n", m={"b": tokens(1)})
    assert imported(folder, tmp_path / "new.zarr").present["m"].tolist() == [M, C]
