"""Every command that writes, on a disk that becomes full at different moments of it.

One line says what happened and where, the exit code is 1, no temporary file is left, and the same command ends well
once there is room.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mmcache.store import FeatureStore
from mmcache.store.manage.verify import verify

N, TOKENS, WIDTH = 24, 4, 8
QUICK = ("--epochs", 2, "--width", 16, "--depth", 1, "--heads", 2)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two modalities of 24 segments, with the class in the tokens."""
    path, random = tmp_path_factory.mktemp("features") / "features.h5", np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for name in ("audio", "rgb"):
            tokens = random.standard_normal((N, TOKENS, WIDTH)) + (np.arange(N) % 3)[:, None, None]
            file[f"features/{name}"] = tokens.astype(np.float16)
        file["labels/verb"] = np.arange(N) % 3
        file["ids"] = [f"s{row:02}" for row in range(N)]
        file["split"] = ["test" if row % 3 == 1 else "train" for row in range(N)]
    return path


def fails_and_then_ends_well(
    mmcache: Callable[..., Any], disk: Any, levels: list[int], command: tuple[object, ...]
) -> None:
    """Run a command with so many free pages, a larger number each time, and at last on a disk with room."""
    failures = 0
    for pages in levels:
        disk.fill(pages)
        done = mmcache(*command)
        disk.make_space()
        assert [path for path in disk.path.rglob("*") if path.name.startswith(".tmp-")] == []
        if done.code == 0:
            break
        failures += 1
        assert done.code == 1, done.err
        (error,) = [line for line in done.err.replace("\r", "\n").splitlines() if "error:" in line]
        assert "No space left on device" in error
        assert str(disk.path) in error
        assert done.err.rstrip().endswith(error.strip())  # nothing is said after it
    assert failures >= 2
    assert mmcache(*command).code == 0


@pytest.mark.parametrize(
    ("levels", "command"),
    [
        ([0, 1, 2, 3], ("store", "export", "{disk}/toy.zarr", "{disk}/out.h5")),
        ([0, 1, 5, 20, 40], ("store", "export", "{disk}/toy.zarr", "{disk}/out")),
        ([0, 2, 7, 20], ("store", "import", "{features}", "--store", "{disk}/out.zarr")),
        ([0, 2, 7, 20], ("store", "reduce", "{disk}/toy.zarr", "--k", "2")),
        ([0, 2, 7, 20], ("store", "merge", "{disk}/toy.zarr", "--store", "{disk}/out.zarr")),
        ([0, 1, 2, 5], ("store", "verify", "{disk}/broken.zarr", "--repair")),
    ],
    ids=["export-hdf5", "export-npy", "import", "reduce", "merge", "repair"],
)
def test_commands_on_stores(
    levels: list[int],
    command: tuple[str, ...],
    mmcache: Callable[..., Any],
    disk: Any,
    features: Path,
    make_broken: Callable[[Path], None],
) -> None:
    store = disk.path / "toy.zarr"
    assert mmcache("store", "import", features, "--store", store).code == 0
    if "broken.zarr" in " ".join(command):
        make_broken(disk.path / "broken.zarr")
    filled = tuple(word.format(disk=disk.path, features=features) for word in command)
    fails_and_then_ends_well(mmcache, disk, levels, filled)
    for path in disk.path.glob("*.zarr"):
        assert verify(path) == []
    if command[1] == "export" and command[-1].endswith(".h5"):
        with h5py.File(disk.path / "out.h5") as out, h5py.File(features) as given:
            np.testing.assert_array_equal(out["features/rgb"], given["features/rgb"])


@pytest.fixture
def make_broken(mmcache: Callable[..., Any], features: Path) -> Callable[[Path], None]:
    """A store that lost its root and its group of tokens, both of which have spare copies."""

    def make(path: Path) -> None:
        assert mmcache("store", "import", features, "--store", path).code == 0
        for name in ("zarr.json", "tokens/zarr.json", "tokens/rgb/hdf5/c/0/0/0/0"):
            (path / name).unlink()

    return make


def test_fuse_and_report(mmcache: Callable[..., Any], large_disk: Any, features: Path) -> None:
    store, run = large_disk.path / "toy.zarr", large_disk.path / "run"
    assert mmcache("store", "import", features, "--store", store).code == 0
    fuse = ("fuse", "--store", store, "--out", run, "--strategy", "zeros", *QUICK, "--set", "tensorboard=true")
    fails_and_then_ends_well(mmcache, large_disk, [0, 1, 2, 12, 24], fuse)
    fails_and_then_ends_well(mmcache, large_disk, [0, 8, 30], ("report", run, "--out", large_disk.path / "report"))
    assert (large_disk.path / "report" / "report.md").exists()


def test_answers_of_a_teacher_and_evaluation(mmcache: Callable[..., Any], large_disk: Any, features: Path) -> None:
    store, teacher, run = (large_disk.path / name for name in ("toy.zarr", "teacher", "run"))
    assert mmcache("store", "import", features, "--store", store).code == 0
    assert mmcache("fuse", "--store", store, "--out", teacher, "--strategy", "zeros", *QUICK).code == 0
    fuse = ("fuse", "--store", store, "--out", run, "--strategy", "karmma", "--teacher", teacher, *QUICK)
    fails_and_then_ends_well(mmcache, large_disk, [0, 3, 6, 9], fuse)
    assert verify(store) == []
    assert len(FeatureStore.open(store)) == N


@pytest.mark.slow
@pytest.mark.parametrize("file", ["model.onnx", "model.pt2"])
def test_export_of_a_model(file: str, mmcache: Callable[..., Any], large_disk: Any, features: Path) -> None:
    store, run = large_disk.path / "toy.zarr", large_disk.path / "run"
    assert mmcache("store", "import", features, "--store", store).code == 0
    assert mmcache("fuse", "--store", store, "--out", run, "--strategy", "zeros", *QUICK).code == 0
    fails_and_then_ends_well(mmcache, large_disk, [0, 2], ("export", run, "--out", large_disk.path / file))


@pytest.mark.slow
def test_sweep(mmcache: Callable[..., Any], large_disk: Any, features: Path) -> None:
    """A full disk costs the trials that meet it, a line each, and the same command tries them again."""
    store, out = large_disk.path / "toy.zarr", large_disk.path / "sweep"
    assert mmcache("store", "import", features, "--store", store).code == 0
    sweep = ("sweep", "--strategies", "zeros,dropout", "--seeds", "0", "--store", store, "--out", out, *QUICK)
    codes = []
    for pages in (0, 8, 30):
        large_disk.fill(pages)
        done = mmcache(*sweep)
        large_disk.make_space()
        codes.append(done.code)
        assert "No space left on device" in done.err
        assert str(out) in done.err
        assert [path for path in large_disk.path.rglob("*") if path.name.startswith(".tmp-")] == []
    assert codes[0] == 1  # the sweep's own files
    assert set(codes) <= {1, 3}  # 3: trials that failed
    assert mmcache(*sweep).code == 0
