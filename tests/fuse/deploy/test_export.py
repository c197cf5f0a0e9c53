"""An exported file computes what the model does, for every subset, whatever absent modalities hold."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmcache.fuse.deploy import export
from mmcache.fuse.deploy.export import Exported, export_run
from mmcache.fuse.deploy.export_check import open_exported
from mmcache.fuse.deploy.exportable import ExportError
from mmcache.fuse.deploy.exported import OnnxModel
from mmcache.fuse.deploy.prediction import predict, rank
from mmcache.fuse.network.model import Model
from mmcache.fuse.runs.config import read_run_config, to_yaml
from mmcache.fuse.runs.files import CONFIG_FILE, WEIGHTS_FILE
from mmcache.fuse.runs.folder import write_model
from mmcache.fuse.runs.spec import ModelSpec
from mmcache.fuse.strategies import STRATEGIES
from mmcache.store import ConfigError

Finished = Callable[..., tuple[Path, Model]]


@pytest.fixture
def finished(
    small_model: Callable[..., Model], small_options: Callable[..., Any], spec: ModelSpec, tmp_path: Path
) -> Finished:
    """The folder of a run of a strategy, and its model."""

    def make(strategy: str, **options: Any) -> tuple[Path, Model]:
        run = tmp_path / strategy
        run.mkdir()
        model = small_model(strategy, **options)
        encoders = {name: encoder for name, (encoder, _, _) in spec.modalities.items()}
        tokens = {name: {"dtype": "float16", "fingerprint": {"encoder": e}} for name, e in encoders.items()}
        text = to_yaml(
            small_options(strategy, **options),
            spec,
            {"eval_split": "test", "store": "gone.zarr", "dataset": "made up", "tokens": tokens},
        )
        (run / CONFIG_FILE).write_text(text)
        write_model(run, WEIGHTS_FILE, model)
        return run, model

    return make


def assert_blind_to_the_absent(done: Exported, batch: Any) -> None:
    """What absent modalities hold changes no bit of the file's output."""
    run = open_exported(done.path)
    present = batch.present.numpy()
    plain = [values.numpy() for values in batch.tokens.values()]
    spoilt = [np.where(present[:, m, None, None], x, np.float32(np.nan)) for m, x in enumerate(plain)]
    for one, other in zip(run([present, *plain]), run([present, *spoilt]), strict=True):
        np.testing.assert_array_equal(one, other)
        assert np.isfinite(one).all()


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_can_be_exported(strategy: str, finished: Finished, random_batch: Any) -> None:
    run, model = finished(strategy)
    done = export_run(run)
    assert done.path == run / "model.onnx"
    assert done.difference <= 1e-5
    assert_blind_to_the_absent(done, random_batch)
    exported = OnnxModel(done.path)
    with torch.inference_mode():
        given, expected = (each(random_batch.tokens, random_batch.present) for each in (exported, model))
    for task, logits in expected.items():
        torch.testing.assert_close(given[task], logits, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("fusion", ["mbt", "sum", "concat", "mlp", "late"])
def test_every_fusion_can_be_exported(fusion: str, finished: Finished, random_batch: Any) -> None:
    options = {"head": "linear"} if fusion in ("sum", "concat", "mlp") else {}
    run, _ = finished("dropout", fusion=fusion, **options)
    for format in ("onnx", "torch-export"):
        done = export_run(run, format=format)
        assert done.difference <= 1e-5
        assert_blind_to_the_absent(done, random_batch)


def test_onnx_says_what_it_is_and_ranks_alike(
    finished: Finished, random_batch: Any, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, model = finished("karmma")
    done = export_run(run)
    assert 0 < done.difference <= 1e-5
    assert done.bytes == done.path.stat().st_size
    assert [path.name for path in run.iterdir() if "onnx" in path.name] == ["model.onnx"]  # weights are inside
    assert_blind_to_the_absent(done, random_batch)

    exported = OnnxModel(done.path)
    assert exported.spec == spec
    said = exported.metadata
    assert (said["strategy"], said["k"], said["dataset"]) == ("karmma", 300, "made up")
    assert said["inputs"] == ["present", "audio", "imu", "rgb"]
    assert said["modalities"]["imu"]["origin"] == {"dtype": "float16", "fingerprint": {"encoder": "enc_i"}}

    longer = {"rgb": np.random.default_rng(0).normal(size=(1, 15, 8)).astype(np.float16)}  # is k-averaged
    own, others = predict(model, longer, top=3), predict(exported, longer, top=3)
    assert list(own) == ["verb", "noun", "action"]
    for task, ranked in own.items():
        assert [each.names for each in ranked] == [each.names for each in others[task]]
        assert [each.probability for each in ranked] == pytest.approx([each.probability for each in others[task]])

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name))
    reference = OnnxModel(done.path)  # onnx's own
    for task, logits in reference(random_batch.tokens, random_batch.present).items():
        torch.testing.assert_close(logits, exported(random_batch.tokens, random_batch.present)[task])


def test_torch_export_with_lengths(finished: Finished, random_batch: Any, spec: ModelSpec) -> None:
    run, model = finished("skip")
    done = export_run(run, format="torch-export", lengths=True)
    assert (done.path, done.beside) == (run / "model.pt2", run / "model.json")
    assert done.difference <= 1e-5
    said = json.loads((run / "model.json").read_text())
    assert said["tasks"] == spec.tasks
    assert said["inputs"] == ["present", "audio", "imu", "rgb", "audio_length", "imu_length", "rgb_length"]
    counts = {name: torch.arange(7) % tokens + 1 for name, (_, tokens, _) in spec.modalities.items()}
    inputs = [random_batch.present, *random_batch.tokens.values(), *counts.values()]
    given = open_exported(done.path)([values.numpy() for values in inputs])
    with torch.inference_mode():
        expected = model(random_batch.tokens, random_batch.present, lengths=counts)
    for one, other in zip(given, expected.values(), strict=True):
        np.testing.assert_allclose(one, other.numpy(), atol=1e-5)


def test_a_batch_may_be_fixed(finished: Finished, random_batch: Any) -> None:
    done = export_run(finished("skip")[0], format="torch-export", batch=2)
    run = open_exported(done.path)
    inputs = [random_batch.present, *random_batch.tokens.values()]
    assert len(run([values[:2].numpy() for values in inputs])[0]) == 2
    with pytest.raises(Exception, match="2"):
        run([values[:3].numpy() for values in inputs])


def test_a_file_that_differs_is_not_kept(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = finished("skip")
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    with pytest.raises(ExportError, match="was not kept: its logits differ from the model's by"):
        export_run(run, format="torch-export")
    assert sorted(path.name for path in run.iterdir()) == [CONFIG_FILE, WEIGHTS_FILE]


def test_mistakes_are_told(finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = finished("skip")
    for options, said in (
        ({"format": "onxn"}, "--format onxn: allowed are onnx, torch-export"),
        ({"out": tmp_path / "m.onnx", "format": "torch-export"}, "a file of torch-export ends in .pt2"),
        ({"batch": 0}, "--batch 0: at least 1, or dynamic"),
    ):
        with pytest.raises(ConfigError, match=said):
            export_run(run, **options)
    with pytest.raises(ConfigError, match="is not a finished run"):
        export_run(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="there is no file"):
        OnnxModel(tmp_path / "none.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(ConfigError, match="cannot be read as ONNX"):
        OnnxModel(tmp_path / "broken.onnx")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"need onnx and onnxscript, not installed here: pip install 'mmcache\[export"
    ):
        export_run(run)


def test_a_network_that_cannot_be_exported_is_refused_in_plain_words(
    finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, model = finished("skip")
    described = export.describe(model, read_run_config(run), {}, None, False)
    plain = model.outputs

    def by_value(*arguments: Any, **named: Any) -> Any:
        return plain(*arguments, **named) if bool(arguments[2].any()) else model(*arguments)

    monkeypatch.setattr(model, "outputs", by_value)  # control flow by what a tensor holds
    with pytest.raises(ExportError, match=r"strategy skip \(handler skip, .* cannot be exported as torch-export: "):
        export.export_model(model, described, "torch-export")


def test_actions_are_the_best_pairs_of_all() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = {"verb": torch.randn(9, generator=generator), "noun": torch.randn(11, generator=generator)}
    classes = {"verb": [f"v{i}" for i in range(9)], "noun": [f"n{i}" for i in range(11)]}
    joint = logits["verb"].softmax(0)[:, None] * logits["noun"].softmax(0)
    best = joint.flatten().topk(5)
    ranked = rank(logits, classes, 5)["action"]
    assert [each.probability for each in ranked] == pytest.approx(best.values.tolist())
    expected = [{"verb": f"v{i // 11}", "noun": f"n{i % 11}"} for i in best.indices.tolist()]
    assert [each.names for each in ranked] == expected
    assert "action" not in rank({"verb": logits["verb"]}, classes, 5)
    assert len(rank(logits, classes, 500)["action"]) == 99


def test_predict_refuses_what_the_model_does_not_read(finished: Finished) -> None:
    _, model = finished("skip")
    with pytest.raises(ConfigError, match="reads audio, imu, rgb; got smell"):
        predict(model, {"smell": np.zeros((1, 2, 3), np.float32)})
    with pytest.raises(ConfigError, match="got none of them"):
        predict(model, {})
