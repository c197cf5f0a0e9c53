"""Starting from the weights of another run."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mmcache.fuse import Model, train
from mmcache.fuse.network.init_from import init_from
from mmcache.fuse.training.train import TrainedRun
from mmcache.store import ConfigError

QUICK = {"width": 16, "heads": 2, "k": 6, "epochs": 2, "warmup": 0.0, "batch_size": 8, "device": "cpu"}


@pytest.fixture
def base(store_copy: Path, tmp_path: Path) -> TrainedRun:
    return train("zeros", {**QUICK, "store": store_copy, "out": tmp_path / "base"})


@pytest.mark.holds("map", "3.7 the backbone gets no gradient and stays as it was")
def test_what_both_have_is_copied_and_the_backbone_frozen_if_asked(base: TrainedRun) -> None:
    given = load_file(base.path / "model.safetensors")
    for freeze in (False, True):
        model = Model.load(base.path)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        init_from(model, base.path, freeze)
        assert all(torch.equal(value, given[name]) for name, value in model.state_dict().items())
        fixed = {name.partition(".")[0] for name, p in model.named_parameters() if not p.requires_grad}
        assert fixed == ({"projectors", "modality_embedding", "fusion"} if freeze else set())


def test_a_frozen_run_moves_handler_and_head_alone(base: TrainedRun, store_copy: Path, tmp_path: Path) -> None:
    options = {**QUICK, "store": store_copy, "positions": False, "init_from": base.path, "freeze": True, "lr": 0.01}
    trained = train("mmt", {**options, "out": tmp_path / "run"})
    assert trained.init_from is None
    before, after = (load_file(run.path / "model.safetensors") for run in (base, trained))
    backbone = [name for name in before if not name.startswith("head.")]
    assert all(torch.equal(before[name], after[name]) for name in backbone)
    assert len([name for name in after if name.startswith(("handler.", "head."))]) > 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 32}, "has another network: modality_embedding and 21 more"),
        ({"depth": 3}, r"has another network: fusion.blocks.1.norm1.weight"),
        ({"positions": True}, "has another network: positions.0 and 2 more"),
        ({"modalities": ["rgb", "audio", "imu"]}, "has audio, imu, rgb; this run has rgb, audio, imu"),
        ({"k": 3}, "init_from .* has audio as"),
    ],
)
def test_another_network_is_refused(
    options: dict, message: str, base: TrainedRun, store_copy: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        train("zeros", {**QUICK, "store": store_copy, "out": tmp_path / "run", "init_from": base.path, **options})


@pytest.mark.parametrize("option", ["init_from", "teacher"])
def test_what_is_no_run_is_said_before_anything_is_trained(option: str, store_copy: Path, tmp_path: Path) -> None:
    options = {**QUICK, "store": store_copy, "out": tmp_path / "run", option: tmp_path / "nowhere"}
    with pytest.raises(ConfigError, match="nowhere is not a finished run"):
        train("karmma", options)
    assert not (tmp_path / "run-teacher").exists()


def test_where_a_run_starts_from_is_part_of_what_it_is(base: TrainedRun, store_copy: Path, tmp_path: Path) -> None:
    options = {**QUICK, "store": store_copy, "out": tmp_path / "run"}
    train("dropout", {**options, "init_from": base.path})
    with pytest.raises(ConfigError, match="holds another run"):
        train("dropout", options)
