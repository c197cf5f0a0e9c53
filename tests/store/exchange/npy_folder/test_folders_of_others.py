"""Plain folders of features, with nothing in them but a table, labels and arrays."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmcache.store import FeatureStore, Presence
from mmcache.store.exchange.npy_import import import_npy
from mmcache.store.manage.verify import verify

C, M = Presence.CACHED, Presence.MISSING


def test_a_plain_folder_imports(
    user_folder: Callable[..., Path], tmp_path: Path, imported: Callable, tokens: Callable
) -> None:
    values = np.arange(6, dtype=np.float16).reshape(2, 3)
    folder = user_folder(rgb={"a": values, "c": values + 1}, audio={"b": tokens(2, 4), "c": tokens(5, 4)})
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


def test_one_axis_is_one_token(user_folder: Callable[..., Path], tmp_path: Path, imported: Callable) -> None:
    values = np.arange(4, dtype=np.float32)
    store = imported(user_folder(m={"a": values, "b": values[None]}), tmp_path / "new.zarr")
    np.testing.assert_array_equal(store.tokens["m"].read([0, 1]), [[values], [values]])


@pytest.mark.parametrize(
    ("cells", "tasks", "labels"),
    [
        pytest.param("take cut take", ["cut", "take"], [1, 0, 1], id="words"),
        pytest.param("0 3 1", ["0", "1", "2", "3"], [0, 3, 1], id="numbers"),
        pytest.param("2.0 0.0 1.0", ["0", "1", "2"], [2, 0, 1], id="whole fractions"),
        pytest.param("0 -1 1", ["0", "1"], [0, -1, 1], id="unlabelled is -1"),
        pytest.param("take _ cut", ["cut", "take"], [1, -1, 0], id="unlabelled is empty"),
        pytest.param("1 _ 0", ["0", "1"], [1, -1, 0], id="numbers and an empty cell"),
        pytest.param("none na -", ["-", "na", "none"], [2, 1, 0], id="words that look like gaps"),
        pytest.param("1 2 x", ["1", "2", "x"], [0, 1, 2], id="a word among numbers"),
        pytest.param("cut -1 take", ["cut", "take"], [0, -1, 1], id="unlabelled among words"),
    ],
)
def test_labels_are_numbers_or_words(
    cells: str,
    tasks: list[str],
    labels: list[int],
    user_folder: Callable[..., Path],
    tmp_path: Path,
    imported: Callable,
    tokens: Callable,
) -> None:
    rows = [f"{name},train,{cell.replace('_', '')}" for name, cell in zip("abc", cells.split(), strict=True)]
    folder = user_folder("\n".join(["id,split,verb", *rows]), m={"a": tokens(1)})
    store = imported(folder, tmp_path / "new.zarr")
    assert store.tasks == {"verb": tasks}
    assert store.labels("verb").tolist() == labels


def test_numbers_that_are_not_whole_are_kept_and_are_no_labels(
    user_folder: Callable[..., Path], tmp_path: Path, tokens: Callable
) -> None:
    folder = user_folder("id,split,verb,score\na,train,cut,0.5\nb,test,wash,2\n", m={"a": tokens(1)})
    done = import_npy(folder, tmp_path / "new.zarr")
    store = FeatureStore.open(tmp_path / "new.zarr")
    assert store.tasks == {"verb": ["cut", "wash"]}
    assert store.segments["score"].tolist() == [0.5, 2.0]
    assert "'score': kept as columns; numbers with fractions are no labels" in done.notes


def test_white_space_around_cells_and_the_ending_of_files_are_no_part_of_ids(
    user_folder: Callable[..., Path], tmp_path: Path, imported: Callable, tokens: Callable
) -> None:
    table = "id, split, verb\na.npy , train ,cut\n\u202ab.npy,Test set, cut \n"
    store = imported(user_folder(table, m={"a": tokens(1), "b": tokens(1)}), tmp_path / "new.zarr")
    assert store.present["m"].tolist() == [Presence.CACHED] * 2
    assert store.segments["split"].tolist() == ["train", "test"]
    assert store.tasks == {"verb": ["cut"]}


def test_a_classes_file_names_the_labels_and_the_tasks(
    user_folder: Callable[..., Path], tmp_path: Path, imported: Callable, tokens: Callable
) -> None:
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


@pytest.mark.parametrize("name", ["clip(1)", "a+b", "ä", "x@y", "v=1", "a,b", "a&b", "50%", "動画"])
def test_a_file_may_have_the_name_of_its_segment(
    name: str, user_folder: Callable[..., Path], tmp_path: Path, imported: Callable, tokens: Callable
) -> None:
    """Only what is no file name has to be percent-encoded."""
    folder = user_folder(f'id,split,verb\n"{name}",train,take\n', m={name: tokens(1)})
    assert imported(folder, tmp_path / "new.zarr").present["m"].tolist() == [C]


def test_an_id_too_long_for_a_file_is_a_missing_file(
    user_folder: Callable[..., Path], tmp_path: Path, imported: Callable, tokens: Callable
) -> None:
    folder = user_folder(f"id,split\n{'ä' * 100},train\nb,train\n", m={"b": tokens(1)})
    assert imported(folder, tmp_path / "new.zarr").present["m"].tolist() == [M, C]
