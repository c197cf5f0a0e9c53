"""The commands on real data: what they print, and that what they print is so."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmcache.store import FeatureStore

QUICK = ["--epochs", "1", "--width", "16", "--heads", "2", "--k", "4"]


def test_the_two_short_lines_work_as_typed(mmcache: Callable, epic_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """extract with $MMCACHE_DATA, then fuse without --store; the second extract does nothing and says so."""
    monkeypatch.setenv("MMCACHE_DATA", str(epic_root.parent))
    plan = mmcache("extract", "--dataset", "epic", "--dry-run", "--json")
    planned = json.loads(plan.out)
    assert {m: v["segments"] for m, v in planned["modalities"].items()} == {"rgb": 52, "audio": 52, "imu": 52}
    assert all(f"warning: {warning}" in plan.err for warning in planned["warnings"])
    assert "dry run: nothing was written" in plan.err
    assert not Path("cache").exists()

    first = mmcache("extract", "--dataset", "epic")
    assert first.code == 0
    assert (
        "Noted: audio/ast_demo: P02_102.MP4 has no audio stream (6 segments, such as P02_102_0, P02_102_1, P02_102_2)"
        in first.out
    )
    assert "seeded random weights" in first.err
    store = FeatureStore.open("cache/epic.zarr")
    assert {m: int((store.present[m] == 1).sum()) for m in store.modalities} == {"audio": 40, "imu": 40, "rgb": 46}

    second = mmcache("extract", "--dataset", "epic", "--json")
    assert json.loads(second.out)["settled"] == 0
    assert "Nothing to do" in mmcache("extract", "--dataset", "epic").out

    fused = mmcache("fuse", "--strategy", "karmma", *QUICK)
    assert fused.code == 0
    assert "audio+imu+rgb" in fused.out
    assert mmcache("fuse", "--strategy", "karmma", *QUICK).out.startswith("Finished earlier: runs/epic/karmma-")

    run = next(path for path in Path("runs/epic").iterdir() if "teacher" not in path.name)
    shown = mmcache("evaluate", run)
    assert "Each sensor missing with this chance" in shown.out
    result = json.loads(mmcache("evaluate", run, "--json").out)
    assert result["subsets"]["audio+imu+rgb"]["action"]["top1"] == result["drop"]["action"]["0"]


def test_dry_run_of_fuse_shows_every_option(mmcache: Callable, epic_store: Path) -> None:
    import yaml

    done = mmcache("fuse", "--strategy", "karmma", "--store", epic_store, "--set", "alpha=0.4", "--dry-run")
    options = yaml.safe_load(done.out)
    assert (options["strategy"], options["recipe"], options["own"]["alpha"]) == ("karmma", "published", 0.4)
    assert options["network"]["handler"] == "karmma"
    assert options["optimiser"]["epochs"] == 30, "the data set's own"
    assert done.out.startswith("# first: teacher karmma-teacher, ")
    assert not Path("runs").exists()


def test_fuse_says_the_recipe_of_the_run_that_it_shows(mmcache: Callable, epic_store: Path) -> None:
    arguments = ("fuse", "--strategy", "dropout", "--store", epic_store, "--out", "run", *QUICK)
    trained = mmcache(*arguments, "--recipe", "matched")
    assert trained.code == 0, trained.err
    assert "segments with every sensor (matched recipe):" in trained.out
    assert "recipe matched: handler zeros, sampler bernoulli_keep_one p=0.5" in trained.err
    assert json.loads(Path("run/summary.json").read_text())["recipe"] == "matched"
    assert "matched recipe" in mmcache("evaluate", "run").out
    refused = mmcache(*arguments, "--recipe", "mached")
    assert (refused.code, "Did you mean 'matched'?" in refused.err) == (2, True)


@pytest.mark.slow
def test_extract_with_too_many_failures_exits_with_3(mmcache: Callable, epic_copy: Path) -> None:
    (epic_copy / "P01" / "videos" / "P01_101.MP4").write_bytes(b"")
    done = mmcache("extract", "--dataset", "epic", "--root", epic_copy, "--modalities", "rgb", "--limit", "20")
    assert done.code == 3
    assert (
        "Failed: rgb/swin3d_demo: P01_101.MP4 is empty (0 bytes) (8 segments, such as P01_101_0, P01_101_1, "
        in done.out
    )
    assert "--retry-failed" in done.err
    arguments = ["--modalities", "rgb", "--limit", "20", "--max-failures", "0.5"]
    allowed = mmcache("extract", "--dataset", "epic", "--root", epic_copy, *arguments)
    assert allowed.code == 0


def test_store_info_and_verify(mmcache: Callable, store_copy: Path) -> None:
    described = json.loads(mmcache("store", "info", store_copy, "--json").out)
    assert described["segments"] == 52
    coverage = {array["name"]: array["coverage"]["train"] for array in described["arrays"]}
    assert coverage["audio/ast_demo"] == {"cached": 24, "missing": 12, "failed": 0, "to_do": 0}
    assert "rgb/swin3d_demo" in mmcache("store", "info", store_copy).out
    assert mmcache("store", "verify", store_copy).out.strip().endswith("sound")
    shard = store_copy / "tokens" / "rgb" / "swin3d_demo" / "c" / "0" / "0" / "0" / "0"
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    found = mmcache("store", "verify", store_copy)
    assert found.code == 1
    assert "rgb/swin3d_demo: tokens fail their checksum (P01_101_0)" in found.out
    assert len(json.loads(mmcache("store", "verify", store_copy, "--json").out)) == 1


def test_hdf5_round_trip(mmcache: Callable, epic_store: Path) -> None:
    assert mmcache("store", "export", epic_store, "features.h5").code == 0
    assert mmcache("store", "import", "features.h5", "--store", "cache/again.zarr").code == 0
    one, other = FeatureStore.open(epic_store), FeatureStore.open("cache/again.zarr")
    rows = np.arange(len(one))
    assert one.modalities == other.modalities
    for name in one.modalities:
        np.testing.assert_array_equal(one.tokens[name].read(rows), other.tokens[name].read(rows))
    assert one.segments.equals(other.segments)
    assert one.tasks == other.tasks


@pytest.mark.parametrize("kind", ["datasets", "encoders", "fusions", "handlers", "samplers", "strategies"])
def test_lists_are_not_empty(kind: str, mmcache: Callable) -> None:
    names = [line["name"] for line in json.loads(mmcache("list", kind, "--json").out)]
    assert names
    shown = mmcache("list", kind).out
    assert all(name in shown for name in names)


def test_the_options_of_a_strategy_are_listed_with_both_recipes(mmcache: Callable) -> None:
    listed = {line["option"]: line for line in json.loads(mmcache("list", "options", "mmt", "--json").out)}
    assert (listed["head"]["of"], listed["head"]["published"], listed["head"]["matched"]) == (
        "network", "per_modality", "shared",
    )  # fmt: skip
    assert "s_mode" not in listed
    assert mmcache("list", "options").code == 2


@pytest.mark.parametrize(
    ("strategy", "arguments", "message"),
    [
        (
            "mmt",
            ["--set", "s_mode=missing"],
            "has no option s_mode. It belongs to the handler karmma (strategy karmma)",
        ),
        ("zeros", ["--drop", "0.5"], "drop is not used: zeros draws its masks by the sampler none, which has no drop"),
        ("zeros", ["--target", "rgb"], "target is not used"),
        ("mmt", ["--handler", "karmma"], "the handler karmma belongs to the strategy karmma"),
        ("mmt", ["--set", "law=none"], "unknown option 'law'"),
    ],
)
def test_options_that_a_strategy_has_not_are_refused_with_their_owner(
    strategy: str, arguments: list[str], message: str, mmcache: Callable, epic_store: Path
) -> None:
    refused = mmcache("fuse", "--strategy", strategy, "--store", epic_store, *arguments)
    assert refused.code == 2
    assert message in " ".join(refused.err.split())


def test_fuse_on_a_store_without_train_says_which_splits_there_are(mmcache: Callable, tmp_path: Path) -> None:
    folder = tmp_path / "features"
    (folder / "rgb").mkdir(parents=True)
    rows = [f"{name},{split},{label}" for name, split, label in zip("abcd", "xxyy", "cdcd", strict=True)]
    (folder / "segments.csv").write_text("\n".join(["id,split,label", *rows]) + "\n")
    for name in "abcd":
        np.save(folder / "rgb" / f"{name}.npy", np.ones((2, 3), np.float32))
    assert mmcache("store", "import", folder, "--store", "a.zarr").code == 0
    refused = mmcache("fuse", "--strategy", "zeros", "--store", "a.zarr", "--eval-split", "y")
    assert refused.code == 2
    assert "a.zarr has no split 'train' to learn from; its splits are x (2 segments), y (2 segments)" in refused.err
    assert "Call the segments to learn from 'train' in the table or file that the store was made of" in refused.err
