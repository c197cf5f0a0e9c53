"""What is exported to a folder of .npy files is imported again as it was."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcache.store import FeatureStore, Presence
from mmcache.store.exchange.npy_export import export_npy
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.format.layout import StoreMeta
from mmcache.store.format.quantise import dequantise, quantise
from mmcache.store.format.reports import finish_reports
from mmcache.store.ground.errors import Problems
from mmcache.store.manage.verify import verify
from mmcache.store.segments.labels import escaped, read_labels
from mmcache.store.write.add_tokens import add_tokens
from mmcache.store.write.create import create_store
from mmcache.store.write.shard_commit import ShardCommit

C, M = Presence.CACHED, Presence.MISSING
PROPERTY = settings(max_examples=20)
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


@pytest.mark.parametrize("view", [0, 1])
def test_what_is_exported_is_imported_again(
    source: FeatureStore, view: int, tmp_path: Path, imported: Callable
) -> None:
    export_npy(source, tmp_path / "features", view)
    new = imported(tmp_path / "features", tmp_path / "new.zarr", shard_bytes=300)
    assert verify(new.path) == []
    assert (new.modalities, new.tasks) == (source.modalities, source.tasks)
    assert new.segments.to_dict("list") == source.segments.to_dict("list")
    for field in ("dataset", "splits", "eval_split", "recommended"):
        assert getattr(new.meta, field) == getattr(source.meta, field)
    rows = np.arange(len(source))
    for modality in source.modalities:
        ours, theirs = new.tokens[modality], source.tokens[modality]
        assert (ours.encoder, ours.fingerprint, ours.dtype) == (theirs.encoder, theirs.fingerprint, theirs.dtype)
        cached = source.present[modality] == C
        np.testing.assert_array_equal(new.present[modality], np.where(cached, C, M))
        read, expected = ours.read(rows), theirs.read(rows, view)
        lengths = source.lengths[modality]
        if lengths is not None:
            np.testing.assert_array_equal(new.lengths[modality][:, 0], lengths[:, view])
            expected = np.where(np.arange(expected.shape[1])[:, None] < lengths[:, view, None, None], expected, 0)
        np.testing.assert_array_equal(read, expected)


def test_the_store_of_an_import_goes_out_and_in_to_the_same_bytes(
    source: FeatureStore, tmp_path: Path, tree: Callable[[Path], dict[str, bytes]], imported: Callable
) -> None:
    export_npy(source, tmp_path / "one")
    first = imported(tmp_path / "one", tmp_path / "first.zarr", shard_bytes=300)
    export_npy(first, tmp_path / "two")
    assert tree(tmp_path / "two") == tree(tmp_path / "one")
    assert tree(imported(tmp_path / "two", tmp_path / "second.zarr", shard_bytes=300).path) == tree(first.path)


def test_int8_tokens_are_exported_as_the_floats_they_stand_for(
    make_store: Callable[..., Path], tmp_path: Path, user_folder: Callable[..., Path], imported: Callable
) -> None:
    values = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float16)
    store = imported(user_folder(m={"b": values}), tmp_path / "a.zarr", dtype="int8")
    export_npy(store, tmp_path / "out")
    exported = np.load(tmp_path / "out" / "m" / "b.npy", allow_pickle=False)
    np.testing.assert_array_equal(exported, dequantise(*quantise(values)))
    again = imported(tmp_path / "out", tmp_path / "b.zarr")
    np.testing.assert_array_equal(again.tokens["m"].read(np.array([1]))[0], exported)


# Other separators of lines have a test of their own.
CLASS_NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x85\u2028\u2029"), max_size=6)


@PROPERTY
@given(
    classes=st.lists(st.one_of(st.sampled_from(ODD_CLASSES), CLASS_NAMES), min_size=3, max_size=5, unique=True),
    data=st.data(),
)
def test_odd_class_names_and_labels_come_back(
    classes: list[str], data: st.DataObject, make_folder: Callable[[], Path], imported: Callable
) -> None:
    labels = data.draw(st.lists(st.integers(-1, len(classes) - 1), min_size=3, max_size=3))
    folder = make_folder()
    segments = pd.DataFrame({"id": list("abc"), "video": "v", "start_s": 0.0, "stop_s": 1.0, "split": "train"})
    segments["verb"] = labels
    create_store(folder / "a.zarr", segments, StoreMeta("toy", {"verb": classes}, {"train": 3}, "train"))
    writer = add_tokens(folder / "a.zarr", "m", Fingerprint("enc", "import", "0", {}, None, 1), 1, 1)
    commit = ShardCommit(writer, 0)
    commit.put(0, np.ones((1, 1, 1), np.float16))
    commit.commit()
    finish_reports(folder / "a.zarr")
    export_npy(FeatureStore.open(folder / "a.zarr"), folder / "out")
    new = imported(folder / "out", folder / "b.zarr")
    assert new.tasks == {"verb": classes}
    assert new.labels("verb").tolist() == labels


def test_a_class_name_with_another_separator_of_lines_comes_back(make_folder: Callable[[], Path]) -> None:
    """U+0085, U+2028 and U+2029, at which splitlines would cut."""
    for name in ("a\x85b", "a\u2028b", "a\u2029b"):
        file = make_folder() / "verb.txt"
        file.write_text(f"{escaped(name)}\n")
        assert read_labels(pd.Series(["0"]), file, Problems())[0] == [name]


def test_an_id_or_text_with_a_carriage_return_comes_back(
    make_store: Callable[..., Path], make_segments: Callable[[int], pd.DataFrame], tmp_path: Path, imported: Callable
) -> None:
    segments = make_segments(2).assign(id=["x\ry", "z"], narration=["a", "b\rc"])
    export_npy(
        FeatureStore.open(make_store({"m": np.ones((2, 1, 1, 1), np.float16)}, segments=segments)), tmp_path / "o"
    )
    assert imported(tmp_path / "o", tmp_path / "n.zarr").segments["id"].tolist() == ["x\ry", "z"]


@pytest.mark.parametrize("values", [["007", "008"], [0.5, np.nan]], ids=["text of digits", "gap"])
def test_extra_columns_keep_their_kind(
    values: list[Any],
    make_store: Callable[..., Path],
    make_segments: Callable[[int], pd.DataFrame],
    tmp_path: Path,
    imported: Callable,
) -> None:
    segments = make_segments(2).assign(extra=values)
    store = FeatureStore.open(make_store({"m": np.ones((2, 1, 1, 1), np.float16)}, segments=segments))
    export_npy(store, tmp_path / "o")
    assert str(imported(tmp_path / "o", tmp_path / "n.zarr").segments["extra"].tolist()) == str(values)
