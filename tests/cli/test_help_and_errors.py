"""What a person sees who asks for help, or makes a mistake."""

import importlib.metadata
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

COMMANDS = [[], ["demo"], ["extract"], ["fuse"], ["evaluate"], ["list"], ["store"]]
COMMANDS += [["store", command] for command in ("info", "verify", "reduce", "import", "export")]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(command: list[str], mmcache: Callable) -> None:
    done = mmcache(*command, "--help")
    assert done.code == 0
    assert "Usage" in done.out
    if command and command != ["store"]:
        assert "Example: mmcache " in done.out


def test_the_version_is_shown(mmcache: Callable) -> None:
    done = mmcache("--version")
    assert (done.code, done.out) == (0, f"mmcache {importlib.metadata.version('mmcache')}\n")


def test_the_installed_script_runs() -> None:
    script = Path(sys.executable).parent / "mmcache"
    done = subprocess.run([script, "list", "strategies", "--json"], capture_output=True, text=True, check=True)
    assert '"karmma"' in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["extract", "--dataset", "epik"], "unknown data set 'epik'. Did you mean 'epic'?"),
        (["extract", "--dataset", "epic"], "no folder data/epic. Put EPIC-KITCHENS-100 there"),
        (["fuse", "--strategy", "karma"], "unknown strategy 'karma'. Did you mean 'karmma'?"),
        (["fuse", "--strategy", "mmt"], "no store under cache/. Make one with `mmcache extract"),
        (["fuse", "--strategy", "mmt", "--store", "nowhere.zarr"], "no store at nowhere.zarr"),
        (["fuse", "--strategy", "mmt", "--set", "dropout"], "--set dropout: expected NAME=VALUE"),
        (["fuse", "--strategy", "mmt", "--set", "alpa=1"], "unknown option 'alpa'. Did you mean 'alpha'?"),
        (["fuse", "--strategy", "mmt", "--set", "lr=[1"], "--set lr=[1 is not YAML"),
        (["fuse", "--strategy", "mmt", "--config", "no.yaml"], "no.yaml cannot be read"),
        (["evaluate", "nowhere"], "nowhere is not a finished run (no such folder)"),
        (["list", "encodrs"], "unknown list 'encodrs'. Did you mean 'encoders'?"),
        (
            ["store", "import", "nothing.h5", "--store", "x.zarr"],
            "nothing.h5 is not there: give an HDF5 file",
        ),
        (["extract", "--dataset", "epic", "--k", "0"], "k = 0: Input should be greater than or equal to 1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_named_with_what_to_do(arguments: list[str], message: str, mmcache: Callable) -> None:
    done = mmcache(*arguments)
    assert message in done.err
    assert done.err.startswith("error: ")
    assert done.code == 2
    assert not done.out


@pytest.mark.parametrize(
    "arguments", [["extarct"], ["extract"], ["extract", "--dataste", "epic"], ["fuse", "--epochs", "x"]]
)
def test_usage_mistakes_exit_with_2(arguments: list[str], mmcache: Callable) -> None:
    assert mmcache(*arguments).code == 2


def test_a_command_mistyped_gets_a_hint(mmcache: Callable) -> None:
    assert "extract" in mmcache("extarct").err


def test_all_configuration_mistakes_come_at_once(mmcache: Callable, epic_root: Path) -> None:
    done = mmcache(
        "extract", "--dataset", "epic", "--root", epic_root, "--modalities", "rbg,audio", "--encoder", "audio=swin3d_t",
        "--dtype", "float61",
    )  # fmt: skip
    assert done.code == 2
    assert "3 things to put right" in done.err
    assert "unknown modality of epic 'rbg'. Did you mean 'rgb'?" in done.err
    assert "encoder swin3d_t takes rgb, flow, not audio; for audio there are: swin3d_b_audio, " in done.err
    assert "--dtype float61: allowed are float16, float32" in done.err


def test_weights_that_cannot_be_downloaded_name_the_flag(
    mmcache: Callable, epic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error comes from the worker, in one line, and names --weights random|PATH."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for proxy in ("http_proxy", "https_proxy"):  # refused at once, with or without a network
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")
    done = mmcache(
        "extract", "--dataset", "epic", "--root", epic_root, "--modalities", "rgb", "--encoder", "rgb=swin3d_t",
        "--weights", "pretrained",
    )  # fmt: skip
    assert done.code == 2
    last = done.err.strip().splitlines()[-1]
    assert last.startswith("error: the published weights of swin3d_t")
    assert "--weights random or --weights PATH" in last


def test_a_broken_settings_file_is_named(mmcache: Callable, epic_copy: Path) -> None:
    (epic_copy / "mmcache.yaml").write_text("extract:\n  wieghts: random\nfuze: {}\n")
    done = mmcache("extract", "--dataset", "epic", "--root", epic_copy)
    assert done.code == 2
    assert "unknown section" in done.err
    assert "Did you mean 'fuse'?" in done.err
