"""Raw clips in, ranked actions out: as extract and evaluate would have it."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from mmcache.fuse.runs.files import CONFIG_FILE


@pytest.fixture(scope="session")
def run(epic_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on epic_store; read only."""
    from mmcache.fuse import train

    out = tmp_path_factory.mktemp("runs") / "dropout"
    options = {"store": epic_store, "out": out, "epochs": 2, "width": 16, "heads": 2, "k": 8, "device": "cpu"}
    return train("dropout", options).path


@pytest.fixture
def media(epic_root: Path) -> dict[str, Path]:
    """Of the video P05_101, which has every sensor."""
    film = epic_root / "P05" / "videos" / "P05_101.MP4"
    return {"rgb": film, "audio": film, "imu": epic_root / "P05" / "meta_data" / "P05_101-accl.csv"}


def flags(media: dict[str, Path], *names: str) -> list[object]:
    return [part for name in names for part in (f"--{name}", media[name])]


def span_of(store: Path, segment: str) -> list[object]:
    from mmcache.store import FeatureStore

    segments = FeatureStore.open(store).segments.set_index("id")
    return ["--start", segments["start_s"][segment], "--stop", segments["stop_s"][segment]]


@pytest.mark.parametrize("subset", ["audio+imu+rgb", "audio+imu", "rgb"])
def test_a_segment_is_predicted_as_evaluate_did(
    subset: str, mmcache: Callable, run: Path, media: dict[str, Path], epic_store: Path
) -> None:
    from mmcache.store import FeatureStore

    tasks = FeatureStore.open(epic_store).tasks
    table = pd.read_parquet(run / "subsets.parquet").set_index(["id", "subset"])
    for segment in ("P05_101_1", "P05_101_7"):
        arguments = [*flags(media, *subset.split("+")), *span_of(epic_store, segment), "--device", "cpu", "--json"]
        done = mmcache("predict", run, *arguments, "--top", 3)
        assert done.code == 0, done.err
        said = json.loads(done.out)
        expected = table.loc[(segment, subset)]
        for task in ("verb", "noun"):
            assert said["tasks"][task][0][task] == tasks[task][expected[f"{task}_pred"]]
            assert said["tasks"][task][0]["probability"] == pytest.approx(expected[f"{task}_confidence"], abs=2e-3)
        assert len(said["tasks"]["action"]) == 3
        assert sorted(said["missing"]) == sorted({"audio", "imu", "rgb"} - set(subset.split("+")))


def test_the_exported_file_ranks_alike(mmcache: Callable, run: Path, media: dict[str, Path], epic_store: Path) -> None:
    written = mmcache("export", run, "--out", "model.onnx")
    assert written.code == 0, written.err
    assert re.search(r"largest difference to the run, over its 7 modality subsets: \d\.\de-0[5-9]", written.out)
    span = span_of(epic_store, "P05_101_2")
    for names in (("rgb", "audio", "imu"), ("audio", "imu"), ("rgb",)):
        arguments = [*flags(media, *names), *span, "--json"]
        own = json.loads(mmcache("predict", run, *arguments, "--device", "cpu").out)["tasks"]
        others = json.loads(mmcache("predict", run, *arguments, "--onnx", "model.onnx").out)["tasks"]
        for task, ranked in own.items():
            for one, other in zip(ranked, others[task], strict=True):
                assert other.pop("probability") == pytest.approx(one.pop("probability"), abs=1e-5)
                assert one == other


def test_what_people_see(mmcache: Callable, run: Path, media: dict[str, Path]) -> None:
    done = mmcache("predict", run, "--media", f"audio={media['audio']}", "--stop", 2, "--top", 2)
    assert done.code == 0, done.err
    assert done.out.startswith("From audio, without imu, rgb:\n")
    header, *rows = [line.split() for line in done.out.splitlines()[2:] if line.strip() and "─" not in line]
    assert header == ["action", "%", "verb", "%", "noun", "%"]
    assert len(rows) == 2


def test_bad_media_are_refused_or_left_out(mmcache: Callable, run: Path, media: dict[str, Path]) -> None:
    Path("bad.wav").write_bytes(b"RIFF of nothing")
    arguments = [*flags(media, "imu"), "--audio", "bad.wav", "--stop", 2]
    refused = mmcache("predict", run, *arguments)
    assert refused.code == 1
    assert "audio: bad.wav cannot be decoded" in refused.err
    assert "--skip-bad" in refused.err
    allowed = mmcache("predict", run, *arguments, "--skip-bad")
    assert allowed.code == 0
    assert "warning: audio is left out: bad.wav cannot be decoded" in allowed.err
    assert allowed.out.startswith("From imu, without audio, rgb:")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give media for at least one of the run's modalities: audio, imu, rgb"),
        (["--flow", "x"], "--flow: the run has no modality flow; it has audio, imu, rgb"),
        (["--media", "smell=x"], "--media smell=...: the run has no modality smell; it has audio, imu, rgb"),
        (["--media", "rgb"], "--media rgb: expected NAME=VALUE"),
        (["--rgb", "x", "--top", "0"], "--top 0: at least 1"),
        (["--rgb", "x", "--rate", "rgb=fast"], "--rate rgb=fast: expected a number of images per second"),
        (["--rgb", "x", "--start", "2", "--stop", "1"], "stop must be later than start"),
        (["--rgb", "x", "--weights", "imu=y"], "--weights imu=...: no media of imu are given"),
        (["--rgb", "x", "--onnx", "no.onnx"], "there is no file no.onnx"),
        (["--imu", "x", "--encoder", "imu=imu_dmo"], "unknown encoder 'imu_dmo'. Did you mean 'imu_demo'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_named(arguments: list[str], message: str, mmcache: Callable, run: Path) -> None:
    done = mmcache("predict", run, *arguments)
    assert message in done.err
    assert done.code == 2
    assert not done.out


def test_other_weights_are_refused(mmcache: Callable, run: Path, media: dict[str, Path]) -> None:
    done = mmcache("predict", run, *flags(media, "imu"), "--stop", 2, "--weights", "random:5")
    assert done.code == 2
    assert "weights_sha256: " in done.err


def test_a_run_of_before_asks_its_store(
    mmcache: Callable, run: Path, media: dict[str, Path], tmp_path: Path, epic_store: Path
) -> None:
    old = tmp_path / "old"
    shutil.copytree(run, old)
    saved: dict[str, Any] = yaml.safe_load((run / CONFIG_FILE).read_text())
    assert saved["tokens"]["imu"]["fingerprint"]["encoder"] == "imu_demo"
    del saved["tokens"]
    arguments = [*flags(media, "imu"), "--stop", 2, "--json"]
    saved["store"] = str(tmp_path / "gone.zarr")
    del saved["sha256"]
    (old / CONFIG_FILE).write_text(yaml.safe_dump(saved))
    gone = mmcache("predict", old, *arguments)
    assert gone.code == 2
    assert "Name the store with --store PATH" in gone.err
    found = mmcache("predict", old, *arguments, "--store", epic_store)
    assert json.loads(found.out)["tasks"] == json.loads(mmcache("predict", run, *arguments).out)["tasks"]


def test_export_says_what_it_wrote(mmcache: Callable, run: Path) -> None:
    done = mmcache("export", run, "--out", "model.pt2", "--batch", 1)
    assert done.code == 0, done.err
    assert "in   present (1, 3) bool" in done.out
    assert "out  verb (1, 6) logits" in done.out
    said = json.loads(Path("model.json").read_text())
    assert said["modalities"]["rgb"]["origin"]["fingerprint"]["encoder"] == "swin3d_demo"
    wrong = mmcache("export", run, "--batch", "many")
    assert "--batch many: dynamic, or a whole number" in wrong.err


@pytest.mark.parametrize("command", ["predict", "export"])
def test_both_explain_themselves_without_torch(command: str) -> None:
    code = f"""
import sys
sys.argv = ["mmcache", {command!r}, "--help"]
from mmcache.cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
heavy = {{"torch", "ray", "transformers", "torchvision", "zarr", "onnx", "onnxruntime"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"Example: mmcache {command} " in done.stdout
