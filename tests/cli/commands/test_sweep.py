"""mmcache sweep: what it takes, what it shows before the start, and what it refuses."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mmcache.fuse.strategies import STRATEGIES

EXAMPLES = Path(__file__).parents[3] / "examples" / "sweeps"
QUICK = ["--k", "6", "--epochs", "1", "--batch-size", "8", "--device", "cpu", "--width", "16", "--heads", "2"]


def test_the_plan_is_shown_and_nothing_is_written(mmcache: Callable, epic_store: Path) -> None:
    chosen = ["--strategies", "karmma,dropout", "--seeds", "0,1,2", "--axis", "drop=0.3,0.5", "--store", epic_store]
    done = mmcache("sweep", *chosen, "--dry-run")
    assert done.code == 0, done.err
    assert "12 trials, and 3 runs that they build on" in done.out
    assert "karmma drop=0.3 seed=2" in done.out
    assert "matched recipe" in done.out
    assert not list(Path().iterdir())
    plan = json.loads(mmcache("sweep", *chosen, "--dry-run", "--json").out)
    assert len(plan["trials"]) == 15
    assert plan["recipe"] == "matched"
    assert {trial["state"] for trial in plan["trials"]} == {"waiting"}


def test_recipe_and_controls_are_flags_that_win_over_the_file(mmcache: Callable, epic_store: Path) -> None:
    Path("s.yaml").write_text(f"strategies: [mmt]\nstores: [{epic_store}]\nrecipe: matched\n")
    done = mmcache("sweep", "s.yaml", "--dry-run", "--recipe", "published", "--with-controls")
    assert "2 trials, published recipe" in done.out
    assert "dropout (control of mmt) seed=0" in done.out
    refused = mmcache("sweep", "s.yaml", "--dry-run", "--recipe", "mached")
    assert (refused.code, "Did you mean 'matched'?" in refused.err) == (2, True)


def test_what_a_strategy_does_not_have_is_noted_or_refused(mmcache: Callable, epic_store: Path) -> None:
    chosen = ["--store", epic_store, "--axis", "s_mode=always,missing", "--dry-run"]
    noted = mmcache("sweep", "--strategies", "karmma,mmt", *chosen)
    assert "3 trials" in noted.out
    assert "s_mode is not an option of mmt" in " ".join(noted.err.split())
    refused = mmcache("sweep", "--strategies", "mmt,dropout", *chosen)
    assert refused.code == 2
    assert "has no option s_mode. It belongs to the handler karmma" in " ".join(refused.err.split())


def test_flags_of_fuse_hold_for_all_trials_and_flags_win_over_the_file(mmcache: Callable, epic_store: Path) -> None:
    Path("s.yaml").write_text(f"strategies: [skip]\nstores: [{epic_store}]\nseeds: [4]\nfuse: {{epochs: 9}}\n")
    assert " 9 " in mmcache("sweep", "s.yaml", "--dry-run").out
    done = mmcache("sweep", "s.yaml", "--dry-run", "--epochs", "3", "--set", "lr=0.5", "--seeds", "1,2")
    assert [f"skip seed={seed}" in done.out for seed in (1, 2, 4)] == [True, True, False]
    assert " 3 " in done.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a sweep file, or --strategies"),
        (["none.yaml"], "none.yaml cannot be read"),
        (["--strategies", "karma"], "Did you mean 'karmma'?"),
        (["--strategies", "skip", "--axis", "drop"], "--axis drop: expected NAME=VALUE"),
        (["--strategies", "skip", "--seeds", "a"], "seeds.0 = 'a'"),
        (["--strategies", "skip", "--pack", "many"], "--pack many: expected auto, off, or a number"),
        (["--resume", "--out", "nothing"], "no sweep was begun in nothing"),
        (["--strategies", "skip", "--epochs", "3", "--axis", "epochs=1,2"], "--epochs is given, and epochs is varied"),
    ],
)
def test_what_cannot_be_is_said(arguments: list[str], message: str, mmcache: Callable) -> None:
    done = mmcache("sweep", *arguments)
    assert done.code == 2
    assert message in done.err


@pytest.mark.parametrize("name", ["demo", "demo-strategies", "oracle", "oracle-pure", "oracle-curriculum"])
def test_examples_begin_with_their_command_and_are_sound(name: str) -> None:
    from mmcache.fuse.sweep.spec import make_spec, read_spec

    path = EXAMPLES / f"{name}.yaml"
    assert path.read_text().startswith("# mmcache ")
    assert f"mmcache sweep examples/sweeps/{name}.yaml" in path.read_text()
    spec = make_spec(read_spec(path), str(path))
    assert "recipe" in read_spec(path), "a table says what it compares"
    if name in ("demo-strategies", "oracle", "oracle-pure"):
        assert spec.strategies == list(STRATEGIES)


@pytest.mark.slow
def test_a_trial_that_fails_is_named_and_the_exit_code_says_so(store_copy: Path, tmp_path: Path) -> None:
    """In a process of its own, as Ray warns."""
    (tmp_path / "s.yaml").write_text(
        json.dumps({"strategies": ["skip", "dropout"], "overrides": {"skip": {"lr": 1e4}}})
    )
    command = [sys.executable, "-c", "from mmcache.cli.main import main; main()", "sweep", str(tmp_path / "s.yaml")]
    command += ["--store", str(store_copy), "--out", str(tmp_path / "out"), *QUICK, "--epochs", "2"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "1 of 2 trials failed; the others are done" in done.stderr
    assert "skip seed=0: the loss became no number in epoch" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Top-1 accuracy (%) of action on 'validation' of epic.zarr" in done.stdout
    assert "matched recipe, means over seeds" in done.stdout
    assert "finished  dropout seed=0" in done.stderr
