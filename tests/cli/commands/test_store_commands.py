"""mmcache store: merge, verify --repair, reduce, import and export, as they are typed."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmcache.store import FeatureStore, Presence
from mmcache.store.manage.verify import verify

C, M, F = Presence.CACHED, Presence.MISSING, Presence.FAILED
N, TOKENS, WIDTH = 8, 4, 6
SHARD_MB = 3 * TOKENS * WIDTH * 2 / 2**20  # three rows
WORDS = ["take", "cut", "wash"]


def write_folder(folder: Path, rows: range = range(N), missing: int | None = None) -> Path:
    """segments.csv with words for labels and a note, and rgb/<id>.npy; the same for the same row."""
    (folder / "rgb").mkdir(parents=True)
    lines = [f"P01_{row},{'test' if row % 4 == 3 else 'train'},{WORDS[row % 3]},note {row}" for row in rows]
    (folder / "segments.csv").write_text("\n".join(["id,split,verb,note", *lines]))
    for row in rows:
        if row != missing:
            tokens = np.random.default_rng(row).standard_normal((TOKENS, WIDTH)).astype(np.float16)
            np.save(folder / "rgb" / f"P01_{row}.npy", tokens)
    return folder


@pytest.fixture
def store(mmcache: Callable) -> Path:
    """ImportSummary from features/, segment 5 missing."""
    write_folder(Path("features"), missing=5)
    done = mmcache("store", "import", "features", "--store", "a.zarr", "--tasks", "verb", "--shard-mb", SHARD_MB)
    assert (done.code, done.out) == (0, "features -> a.zarr\n")
    return Path("a.zarr")


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def flip(file: Path, place: int = 1) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 4
    file.write_bytes(data)


# import


def test_a_folder_is_imported(store: Path) -> None:
    opened = FeatureStore.open(store)
    assert verify(store) == []
    assert opened.tasks == {"verb": sorted(WORDS)}
    assert opened.present["rgb"].tolist() == [C, C, C, C, C, M, C, C]
    assert opened.tokens["rgb"].shape == (N, 1, TOKENS, WIDTH)
    assert opened.tokens["rgb"].grid.n_shards == 3
    assert opened.segments["note"].tolist() == [f"note {row}" for row in range(N)]
    assert opened.meta.dataset == "features"


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
def test_a_folder_is_imported_as_the_dtype_asked_for(dtype: str, mmcache: Callable, store: Path) -> None:
    assert mmcache("store", "import", "features", "--store", "b.zarr", "--tasks", "verb", "--dtype", dtype).code == 0
    one, other = FeatureStore.open(store).tokens["rgb"], FeatureStore.open("b.zarr").tokens["rgb"]
    assert other.dtype == dtype
    rows = np.arange(N)
    np.testing.assert_allclose(other.read_float(rows), one.read(rows), atol=0.03 if dtype == "int8" else 0)


def test_a_file_that_cannot_be_used_is_shown_by_info(mmcache: Callable) -> None:
    folder = write_folder(Path("features"))
    (folder / "rgb" / "P01_2.npy").write_bytes(b"")
    assert mmcache("store", "import", folder, "--store", "a.zarr", "--max-failures", "0.125").code == 0
    shown = mmcache("store", "info", "a.zarr").out
    assert "failed: rgb/npy: the file cannot be read" in shown
    assert json.loads(mmcache("store", "info", "a.zarr", "--json").out)["arrays"][0]["coverage"]["train"]["failed"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["features", "--tasks", "verb,action"], "task 'action' is no column of features/segments.csv"),
        (["features", "--dtype", "float61"], "--dtype float61: allowed are float16, float32, int8"),
        (["features.h5", "--tasks", "verb"], "--tasks is for folders of .npy files"),
        (["nowhere"], "nowhere is not there"),
        (["empty"], "empty/segments.csv cannot be read"),
    ],
)
def test_imports_that_cannot_be_are_refused(arguments: list[str], message: str, mmcache: Callable) -> None:
    write_folder(Path("features"))
    Path("empty").mkdir()
    done = mmcache("store", "import", *arguments, "--store", "new.zarr")
    assert done.code == 2
    assert message in done.err


def test_an_import_of_nothing_ends_with_exit_code_3(mmcache: Callable) -> None:
    folder = write_folder(Path("features"))
    for file in (folder / "rgb").iterdir():
        file.rename(file.with_name(f"{file.stem}_rgb.npy"))
    done = mmcache("store", "import", folder, "--store", "a.zarr")
    assert (done.code, done.out) == (3, "")
    assert "rgb: 8 of 8 files match no segment, such as 'P01_0_rgb.npy'; ids are such as 'P01_0'" in done.err
    assert not Path("a.zarr").exists()


@pytest.mark.parametrize(
    ("allowed", "code"), [([], 3), (["--max-failures", "0.24"], 3), (["--max-failures", "0.25"], 0)]
)
def test_too_many_failures_end_with_exit_code_3(allowed: list[str], code: int, mmcache: Callable) -> None:
    folder = write_folder(Path("features"))
    for row in (2, 4):
        np.save(folder / "rgb" / f"P01_{row}.npy", np.full((TOKENS, WIDTH), np.nan, np.float16))
    done = mmcache("store", "import", folder, "--store", "a.zarr", *allowed)
    assert (done.code, done.out) == (code, "" if code else "features -> a.zarr\n")
    assert "failed: rgb/npy: NaN or infinity among the tokens (P01_2, P01_4)" in done.err
    assert ("2 of 8 segments of rgb/npy failed (25.0%), more than --max-failures allows" in done.err) == (code == 3)
    assert FeatureStore.open("a.zarr").present["rgb"].tolist() == [C, C, F, C, F, C, C, C]


# export


@pytest.mark.parametrize("target", ["out", "out.h5", "out.hdf5", "deep/out"])
def test_what_is_exported_is_imported_again(target: str, mmcache: Callable, store: Path) -> None:
    done = mmcache("store", "export", store, target)
    assert (done.code, done.out) == (0, f"a.zarr -> {target}\n")
    assert Path(target).is_dir() == (not Path(target).suffix)
    assert mmcache("store", "import", target, "--store", "b.zarr", "--shard-mb", SHARD_MB).code == 0
    assert files(Path("b.zarr")) == files(store)


def test_of_an_exported_folder_numpy_reads_the_tokens(mmcache: Callable, store: Path) -> None:
    assert mmcache("store", "export", store, "out").code == 0
    assert sorted(path.name for path in Path("out/rgb").iterdir()) == [f"P01_{row}.npy" for row in range(N) if row != 5]
    for file in Path("out/rgb").iterdir():
        np.testing.assert_array_equal(np.load(file), np.load(Path("features/rgb") / file.name))
    assert Path("out/classes/verb.txt").read_text().split() == sorted(WORDS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x.npz"], "x.npz: give a file ending in .h5, .hdf5, .hdf, or a folder name without an ending"),
        (["x.zarr"], "x.zarr: give a file ending in .h5"),
        (["features"], "features exists already; give the name of a new folder"),
        (["out", "--view", "1"], "--view 1: rgb"),
        (["out.h5", "--view", "1"], "--view 1: rgb"),
    ],
)
def test_exports_that_cannot_be_are_refused(arguments: list[str], message: str, mmcache: Callable, store: Path) -> None:
    before = sorted(Path().iterdir())
    done = mmcache("store", "export", store, *arguments)
    assert done.code == 2
    assert message in done.err
    assert sorted(Path().iterdir()) == before


# merge


def import_part(mmcache: Callable, store: Path, number: int, rows: range) -> None:
    """<number>.zarr, of the same tokens and classes as `store`, but of some segments only."""
    folder = write_folder(Path(f"{number}") / "features", rows, missing=5)
    (folder / "classes").mkdir()
    (folder / "classes" / "verb.txt").write_text("\n".join(sorted(WORDS)))  # a part need not have every class
    (folder / "mmcache.json").write_text(json.dumps({"fingerprints": {"rgb": _fingerprint(store)}}))
    assert mmcache("store", "import", folder, "--store", f"{number}.zarr", "--shard-mb", SHARD_MB).code == 0


def test_parts_of_other_segments_are_merged_to_the_store_of_all(mmcache: Callable, store: Path) -> None:
    for number, rows in enumerate((range(4), range(4, N))):
        import_part(mmcache, store, number, rows)
    done = mmcache("store", "merge", "0.zarr", "1.zarr", "--store", "deep/one.zarr")
    assert (done.code, done.out) == (0, "deep/one.zarr: 8 segments, rgb/npy\n")
    assert files(Path("deep/one.zarr")) == files(store)


def test_a_part_without_test_segments_leaves_the_split_of_results_to_the_others(mmcache: Callable, store: Path) -> None:
    for number, rows in enumerate((range(3), range(3, N))):
        import_part(mmcache, store, number, rows)
    shown = mmcache("store", "info", "0.zarr")
    assert (shown.code, shown.out.splitlines()[1]) == (
        0,
        "tasks: verb (3 classes); `mmcache fuse` needs --eval-split: the store names no split for results",
    )
    assert json.loads(mmcache("store", "info", "0.zarr", "--json").out)["eval_split"] == ""
    assert mmcache("store", "merge", "0.zarr", "1.zarr", "--store", "one.zarr").code == 0
    assert "results are reported on 'test'" in mmcache("store", "info", "one.zarr").out


def test_parts_that_do_not_go_together_are_refused(mmcache: Callable, store: Path) -> None:
    write_folder(Path("other"), range(3))
    assert mmcache("store", "import", "other", "--store", "0.zarr").code == 0
    done = mmcache("store", "merge", store, "0.zarr", "--store", "one.zarr")
    assert done.code == 2
    assert "a.zarr and 0.zarr differ in their dataset: 'features' and 'other'" in done.err
    assert not Path("one.zarr").exists()


def _fingerprint(store: Path) -> object:
    return FeatureStore.open(store).tokens["rgb"].fingerprint.to_attributes()["fingerprint"]


def test_modalities_are_merged_and_again_nothing_changes(mmcache: Callable, store: Path) -> None:
    shutil.copytree("features", "other")
    Path("other/rgb").rename("other/flow")
    Path("other/mmcache.json").write_text('{"dataset": "features"}')
    assert mmcache("store", "import", "other", "--store", "b.zarr", "--tasks", "verb", "--shard-mb", SHARD_MB).code == 0
    merge = ("store", "merge", store, "b.zarr", "--store", "one.zarr")
    done = mmcache(*merge)
    assert (done.code, done.out) == (0, "one.zarr: 8 segments, flow/npy, rgb/npy\n")
    before = files(Path("one.zarr"))
    assert mmcache(*merge).code == 0
    assert files(Path("one.zarr")) == before
    assert before["tokens/rgb/npy/c/0/0/0/0"] == files(store)["tokens/rgb/npy/c/0/0/0/0"]
    assert mmcache("store", "verify", "one.zarr").code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.zarr", "--store", "a.zarr"], "a.zarr is one of the stores to merge; give another --store"),
        (["a.zarr", "nowhere.zarr", "--store", "b.zarr"], "no store at nowhere.zarr"),
        (["a.zarr"], "Missing option '--store'"),
        (["--store", "b.zarr"], "Missing argument"),
    ],
)
def test_merges_that_cannot_be_are_refused(arguments: list[str], message: str, mmcache: Callable, store: Path) -> None:
    done = mmcache("store", "merge", *arguments)
    assert done.code == 2
    assert message in done.err
    assert not Path("b.zarr").exists()


# reduce


def test_reduce_adds_smaller_sets(mmcache: Callable, store: Path) -> None:
    for arguments, name in (
        (["--dtype", "int8"], "rgb/npy-int8"),
        (["--k", 2], "rgb/npy-k2"),
        (["--k", 3, "--dtype", "int8"], "rgb/npy-k3-int8"),
        (["--k", 100, "--dtype", "float32", "--tokens", "rgb"], "rgb/npy-float32"),
    ):
        done = mmcache("store", "reduce", store, *arguments, "--shard-mb", SHARD_MB)
        assert (done.code, done.out) == (0, f"a.zarr: {name}\n")
    opened = FeatureStore.open(store)
    shapes = {f"{m}/{e}": opened.tokens[f"{m}/{e}"].shape[2] for m, e in opened.arrays}
    assert shapes == {
        "rgb/npy": 4,
        "rgb/npy-int8": 4,
        "rgb/npy-k2": 2,
        "rgb/npy-k3-int8": 3,
        "rgb/npy-float32": 4,
    }
    assert verify(store) == []
    shown = mmcache("store", "info", store).out
    assert re.search(r"rgb/npy-int8: int8 changes a segment by 0\.\d\d % \(worst [01]\.\d\d %\)", shown)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to reduce by: give --k, --dtype or both"),
        (["--k", 0], "--k 0: at least 1 token must be left"),
        (["--dtype", "int4"], "--dtype int4: allowed are float16, float32, int8"),
        (["--dtype", "float16"], "no token set is of another dtype than float16: rgb/npy has 4 of float16"),
        (["--k", 4, "--dtype", "float16"], "no token set is longer than 4 or of another dtype than float16"),
        (["--k", 2, "--tokens", "rbg"], "unknown tokens 'rbg'. Did you mean 'rgb'?"),
    ],
)
def test_reductions_that_cannot_be_are_refused(
    arguments: list[object], message: str, mmcache: Callable, store: Path
) -> None:
    before = files(store)
    done = mmcache("store", "reduce", store, *arguments)
    assert done.code == 2
    assert message in done.err
    assert files(store) == before


# verify --repair


def test_a_sound_store_needs_no_repair(mmcache: Callable, store: Path) -> None:
    before = files(store)
    done = mmcache("store", "verify", store, "--repair")
    assert (done.code, done.out) == (0, "a.zarr: sound, nothing to repair\n")
    assert json.loads(mmcache("store", "verify", store, "--repair", "--json").out) == {
        "found": [],
        "left": 0,
        "to_do": {},
    }
    assert files(store) == before


@pytest.mark.parametrize("as_json", [False, True])
def test_repair_mends_what_can_be_and_import_does_the_rest(as_json: bool, mmcache: Callable, store: Path) -> None:
    before = files(store)
    flip(store / "tokens/rgb/npy/c/0/0/0/0")
    flip(store / "tokens/rgb/zarr.json", 30)
    assert mmcache("store", "verify", store).code == 1
    assert files(store) != before
    done = mmcache("store", "verify", store, "--repair", *(["--json"] if as_json else []))
    assert done.code == 0
    if as_json:
        said = json.loads(done.out)
        assert (said["left"], said["to_do"]) == (0, {"rgb/npy": 1})
        assert {finding["where"] for finding in said["found"]} == {"rgb/npy", "tokens/rgb/zarr.json"}
    else:
        assert "rgb/npy: 1 segments are marked; the command that made them" in done.out
        assert "rgb/npy: tokens fail their checksum (P01_0)" in done.out
        assert done.out.endswith("a.zarr: repaired\n")
    assert mmcache("store", "verify", store).code == 0
    assert mmcache("store", "import", "features", "--store", store, "--tasks", "verb").code == 0
    assert files(store) == before


@pytest.mark.parametrize("as_json", [False, True])
def test_what_cannot_be_mended_is_told_and_the_exit_code_is_1(as_json: bool, mmcache: Callable, store: Path) -> None:
    """A zarr.json whose spare copy is damaged too."""
    flip(store / "tokens/rgb/npy/zarr.json", 30)
    flip(store / ".spare/tokens/rgb/npy/zarr.json.copy", 30)
    done = mmcache("store", "verify", store, "--repair", *(["--json"] if as_json else []))
    assert done.code == 1
    if as_json:
        said = json.loads(done.out)
        assert said["left"] >= 1
        assert "tokens/rgb/npy/zarr.json" in {finding["where"] for finding in said["found"]}
    else:
        assert "not repaired: tokens/rgb/npy/zarr.json: fails its checksum" in done.out
        assert "a.zarr: repaired" not in done.out
    assert mmcache("store", "verify", store).code == 1


def test_where_no_store_is_nothing_is_repaired(mmcache: Callable) -> None:
    Path("folder").mkdir()
    for path in ("nowhere.zarr", "folder"):
        done = mmcache("store", "verify", path, "--repair")
        assert done.code == 2
        assert f"no store at {path}" in done.err
    assert [path.name for path in Path().iterdir()] == ["folder"]


@pytest.mark.parametrize("command", ["info", "verify", "reduce", "merge", "import", "export"])
def test_every_command_explains_itself(command: str, mmcache: Callable) -> None:
    done = mmcache("store", command, "--help")
    assert done.code == 0
    assert f"Example: mmcache store {command} " in done.out
