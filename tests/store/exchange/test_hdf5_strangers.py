"""HDF5 files that read other files, hold less than they say, or hold what is no number: named, never read as zeros."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mmcache.store import ConfigError, FeatureStore, Presence
from mmcache.store.exchange.hdf5_import import import_hdf5
from mmcache.store.exchange.import_summary import ImportSummary
from mmcache.store.ground.errors import TooManyFailures
from mmcache.store.manage.verify import verify

C, M, F = Presence.CACHED, Presence.MISSING, Presence.FAILED
N = 4
TOKENS = 1 + np.arange(N * 6, dtype=np.float16).reshape(N, 2, 3)
Change = Callable[[h5py.File], Any]


def write(folder: Path, change: Change | None = None) -> Path:
    """A file of four segments, changed before it is closed."""
    path = folder / "f.h5"
    with h5py.File(path, "w") as file:
        file["features/rgb"] = TOKENS
        file["labels/verb"] = [0, 1, 0, 1]
        file["split"] = ["train", "train", "test", "test"]
        file["ids"] = ["a", "b", "c", "d"]
        if change is not None:
            change(file)
    return path


def imported(folder: Path, change: Change | None = None) -> tuple[FeatureStore, ImportSummary]:
    done = import_hdf5(write(folder, change), folder / "new.zarr")
    assert verify(done.root) == []
    return FeatureStore.open(done.root), done


def replace(name: str, value: Any) -> Change:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = value

    return change


def other_file(file: h5py.File) -> str:
    """Another file beside it, of tokens that would fit."""
    path = Path(file.filename).with_name("other.h5")
    with h5py.File(path, "w") as other:
        other["x"] = TOKENS
    return str(path)


def virtual(gone: bool) -> Change:
    def change(file: h5py.File) -> None:
        layout = h5py.VirtualLayout(TOKENS.shape, "f2")
        path = other_file(file)
        layout[:] = h5py.VirtualSource(path, "x", TOKENS.shape)
        if gone:
            os.unlink(path)
        del file["features/rgb"]
        file.create_virtual_dataset("features/rgb", layout)

    return change


def external_storage(file: h5py.File) -> None:
    secret = Path(file.filename).with_name("secret.bin")
    secret.write_bytes(TOKENS.tobytes())
    del file["features/rgb"]
    file.create_dataset("features/rgb", TOKENS.shape, "f2", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])


def through_a_group(file: h5py.File) -> None:
    """A soft link in this file, on a way that leads through another one."""
    file["away"] = h5py.ExternalLink(other_file(file), "/")
    replace("features/rgb", h5py.SoftLink("/away/x"))(file)


def unknown_filter(file: h5py.File) -> None:
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk(TOKENS.shape)
    plan.set_filter(32099, h5py.h5z.FLAG_OPTIONAL, (1,))
    del file["features/rgb"]
    space = h5py.h5s.create_simple(TOKENS.shape)
    made = h5py.h5d.create(file["features"].id, b"rgb", h5py.h5t.NATIVE_FLOAT, space, plan)
    h5py.Dataset(made)[:] = TOKENS


def declared(name: str, shape: tuple[int, ...], dtype: Any = "f2", **how: Any) -> Change:
    def change(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file.create_dataset(name, shape, dtype, **how)

    return change


LATIN = np.array([b"a", b"b\xfc", b"c", b"d"])
RECORDS = np.zeros(N, [("x", "f4"), ("y", "i4")])
REFUSED: dict[str, tuple[Change, str]] = {
    "virtual, source gone": (
        virtual(True),
        r"'features/rgb' of .* is virtual: its values lie elsewhere \('.*other.h5'",
    ),
    "virtual, source there": (virtual(False), r"'features/rgb' of .* is virtual"),
    "external storage": (external_storage, r"'features/rgb' of .* keeps its values in another file \('.*secret.bin'\)"),
    "external link": (
        lambda file: replace("features/rgb", h5py.ExternalLink(other_file(file), "/x"))(file),
        r"'features/rgb' of .* is a link to another file \('.*other.h5'\), which is not read",
    ),
    "link through another file": (through_a_group, r"'features/rgb' of .* is a link to another file"),
    "group in another file": (
        lambda file: replace("labels", h5py.ExternalLink(other_file(file), "/"))(file),
        r"'labels' of .* is a link to another file",
    ),
    "link to itself": (replace("features/rgb", h5py.SoftLink("/features/rgb")), "leads back to itself"),
    "dangling link": (replace("ids", h5py.SoftLink("/gone/away")), "'ids' of .* leads nowhere: there is no 'gone'"),
    "group of itself": (lambda f: f["features"].__setitem__("audio", f["/"]), "'features/audio' must be a data set"),
    "named type": (replace("features/rgb", np.dtype("f4")), "'features/rgb' of .* must be a data set, is a named type"),
    "nothing stored": (declared("features/rgb", TOKENS.shape), r"shape \(4, 2, 3\), but its values were never written"),
    "absurd, rows": (declared("features/rgb", (10**12, 2, 3), chunks=(1, 2, 3)), "values were never written"),
    "absurd, tokens": (declared("features/rgb", (N, 10**9, 10**3), chunks=(1, 2, 3)), "values were never written"),
    "absurd ids": (declared("ids", (10**12,), h5py.string_dtype(), chunks=(10,)), "'ids' of .* never written"),
    "labels in part": (
        lambda f: (declared("labels/verb", (N,), "i4", chunks=(1,))(f), f["labels/verb"].__setitem__(0, 1)),
        r"'labels/verb' of .* has the shape \(4,\), but parts of it were never written",
    ),
    "splits in part": (
        lambda f: (declared("split", (N,), h5py.string_dtype(), chunks=(1,))(f), f["split"].__setitem__(0, "train")),
        "'split' of .* never written",
    ),
    "unknown filter": (unknown_filter, "'features/rgb' of .* is compressed by a filter that is not installed .*32099"),
    "ids in Latin-1": (replace("ids", LATIN), r"'ids' of .* has text in row 1 that is not UTF-8: b'b\\xfc'"),
    "int8 features": (
        replace("features/rgb", np.ones((N, 2, 3), np.int8)),
        "'features/rgb' is int8; allowed: float16, float32; multiply int8 tokens by their scale",
    ),
    "references": (
        lambda f: replace("ids", np.array([f["ids"].ref] * N, h5py.ref_dtype))(f),
        "'ids' of .* holds references or lists of varying length; numbers or text are read",
    ),
    "records": (replace("labels/verb", RECORDS), "'labels/verb' of .* holds records or arrays"),
    "complex features": (replace("features/rgb", TOKENS.astype(np.complex64)), "holds complex numbers"),
    "no shape": (replace("ids", h5py.Empty("f4")), "'ids' of .* has no shape"),
    "labels beyond int64": (replace("labels/verb", np.array([0, 1, 2**64 - 1, 1], np.uint64)), "must be whole numbers"),
    "lists": (
        lambda f: declared("segments/note", (N,), h5py.vlen_dtype(np.int32))(f),
        "'segments/note' of .* holds references or lists",
    ),
    "columns of one name": (
        lambda f: (replace_new(f, "segments/Note"), replace_new(f, "segments/note")),
        "'segments' of .* has the columns 'Note' and 'note'",
    ),
    "dataset is a number": (lambda f: f.attrs.__setitem__("dataset", 7), "has an attribute 'dataset' that is no text"),
    "eval_split is a list": (
        lambda f: f.attrs.__setitem__("eval_split", ["a", "b"]),
        "has an attribute 'eval_split' that is no text",
    ),
    "recommended is deep": (
        lambda f: f.attrs.__setitem__("recommended", "[" * 60000),
        "'recommended' attribute of .* damaged",
    ),
    "encoder is a number": (lambda f: f["features/rgb"].attrs.__setitem__("encoder", 7), "'encoder' that is no text"),
    "fingerprint is no mapping": (
        lambda f: f["features/rgb"].attrs.__setitem__("fingerprint", "[1]"),
        "the 'fingerprint' attribute of '/features/rgb' is damaged",
    ),
    "dev and val": (replace("split", ["train", "train", "dev", "val"]), "the splits 'dev' and 'val' would all become"),
}


def replace_new(file: h5py.File, name: str) -> None:
    file[name] = ["x"] * N


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    change, message = REFUSED[kind]
    with pytest.raises(ConfigError, match=message):
        imported(tmp_path, change)
    assert not (tmp_path / "new.zarr").exists()


def test_a_link_within_the_file_is_followed(tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        file["data/deep"] = TOKENS
        replace("features/rgb", h5py.SoftLink("/near/deep"))(file)
        file["near"] = h5py.SoftLink("data")

    store, _ = imported(tmp_path, change)
    np.testing.assert_array_equal(store.tokens["rgb"].read(np.arange(N)), TOKENS)


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_rows_that_were_never_written_fail_unless_they_are_absent(compression: str | None, tmp_path: Path) -> None:
    """Of a file that is filled row by row; what was written is right."""

    def change(file: h5py.File) -> None:
        declared("features/rgb", TOKENS.shape, chunks=(1, 1, 3), compression=compression)(file)
        file["features/rgb"][0] = TOKENS[0]
        file["features/rgb"][1, 0] = TOKENS[1, 0]  # one of its two chunks
        file["present/rgb"] = [1, 1, 1, 0]

    store, done = imported(tmp_path, change)
    assert store.present["rgb"].tolist() == [C, F, F, M]
    np.testing.assert_array_equal(store.tokens["rgb"].read([0]), TOKENS[:1])
    assert {line["id"]: line["reason"] for line in store.failures} == dict.fromkeys(
        "bc", "its tokens were never written to the file: they would read as zeros"
    )
    with pytest.raises(TooManyFailures, match=r"2 of 3 segments of rgb/hdf5 failed \(66.7%\)"):
        done.check()
    done.check(0.7)


def test_a_damaged_chunk_costs_its_segment(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        lambda f: (
            declared("features/rgb", TOKENS.shape, chunks=(1, 2, 3), fletcher32=True)(f),
            f["features/rgb"].__setitem__(slice(None), TOKENS),
        ),
    )
    with h5py.File(path) as file:
        at = file["features/rgb"].id.get_chunk_info(2).byte_offset
    raw = bytearray(path.read_bytes())
    raw[at] ^= 4
    path.write_bytes(raw)
    done = import_hdf5(path, tmp_path / "new.zarr")
    store = FeatureStore.open(done.root)
    assert store.present["rgb"].tolist() == [C, C, F, C]
    assert "cannot be read" in store.failures[0]["reason"]
    np.testing.assert_array_equal(store.tokens["rgb"].read([0, 1, 3]), TOKENS[[0, 1, 3]])


def test_without_ids_rows_are_numbered_and_that_is_said(tmp_path: Path) -> None:
    store, done = imported(tmp_path, lambda file: file.__delitem__("ids"))
    assert store.segments["id"].tolist() == ["0", "1", "2", "3"]
    assert done.notes == [f"{tmp_path / 'f.h5'} has no 'ids': its rows are numbered from 0"]


@pytest.mark.parametrize(
    ("given", "splits", "reported"),
    [
        (["Train", " TRAINING", "Val ", "val"], None, "the splits 'TRAINING' and 'Train' would all become 'train'"),
        (["train", "", "Eval", "eval"], ["train", "train", "validation", "validation"], "validation"),
        (["Training", "training", "fold1", "Fold2"], ["train", "train", "fold1", "fold2"], ""),
    ],
)
def test_splits_get_their_usual_names(
    given: list[str], splits: list[str] | None, reported: str, tmp_path: Path
) -> None:
    if splits is None:
        with pytest.raises(ConfigError, match=reported):
            imported(tmp_path, replace("split", given))
        return
    store, _ = imported(tmp_path, replace("split", given))
    assert store.segments["split"].tolist() == splits
    assert store.meta.eval_split == reported


def test_text_of_every_kind_is_read(tmp_path: Path) -> None:
    """Attributes in bytes, as MATLAB writes them, and ids padded with spaces, as Fortran writes them."""

    def change(file: h5py.File) -> None:
        file.attrs["dataset"] = np.bytes_("epic")
        kind = h5py.h5t.TypeID.copy(h5py.h5t.C_S1)
        kind.set_size(4)
        kind.set_strpad(h5py.h5t.STR_SPACEPAD)
        del file["ids"]
        made = h5py.h5d.create(file.id, b"ids", kind, h5py.h5s.create_simple((N,)))
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array([b"a   ", b"bb  ", b"ccc ", b"dddd"]), kind)

    store, _ = imported(tmp_path, change)
    assert store.meta.dataset == "epic"
    assert store.segments["id"].tolist() == ["a", "bb", "ccc", "dddd"]


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "f.h5")
    with pytest.raises(ConfigError, match=r"f\.h5 cannot be opened: it is a FIFO, not a regular file"):
        import_hdf5(tmp_path / "f.h5", tmp_path / "new.zarr")


def test_all_zero_tokens_are_imported_and_named(tmp_path: Path) -> None:
    store, done = imported(tmp_path, lambda f: f["features/rgb"].__setitem__((slice(1, 3)), 0))
    assert store.present["rgb"].tolist() == [C] * N
    (warning,) = done.warnings()
    assert warning.startswith("rgb/hdf5: all tokens of 2 segments ('b', 'c') are zero.")
    done.check(0)


@pytest.mark.parametrize("lengths", [None, [2, 1, 1, 2]])
def test_tokens_that_look_like_padding_are_told_where_there_are_no_lengths(
    lengths: list[int] | None, tmp_path: Path
) -> None:
    def change(file: h5py.File) -> None:
        file["features/rgb"][1:3, 1:] = 0
        if lengths is not None:
            file["lengths/rgb"] = lengths

    _, done = imported(tmp_path, change)
    assert done.notes == (
        []
        if lengths
        else [
            "rgb: 2 of 4 segments end in tokens that are all zero. If these pad shorter segments, say in "
            "'lengths/rgb' how many tokens are real"
        ]
    )


@pytest.mark.parametrize(
    ("name", "meant"),
    [("length", "lengths"), ("presence", "present"), ("Class_names", "classes"), ("segment", "segments")],
)
def test_a_member_that_was_probably_meant_is_refused(name: str, meant: str, tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        file[f"{name}/rgb"] = np.ones(len(TOKENS))

    with pytest.raises(ConfigError, match=f"'{name}' of .* is not part of the format; did you mean '{meant}'"):
        imported(tmp_path, change)


def test_other_members_are_named(tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        file["how_it_was_made/x"] = [1]

    notes = imported(tmp_path, change)[1].notes
    assert "not read, because they are not part of the format: 'how_it_was_made'" in notes


def test_minus_one_in_an_unsigned_type_is_no_class(tmp_path: Path) -> None:
    labels = np.full(len(TOKENS), -1).astype("u1")
    with pytest.raises(
        ConfigError, match=r"'labels/.*' is uint8 and has 255, which is -1 in unsigned numbers: write it as int32"
    ):
        imported(tmp_path, replace("labels/verb", labels))
