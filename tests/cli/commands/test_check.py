"""mmcache check: what it finds, on good encoders and on broken ones."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file

from mmcache.extract.encoders import build_encoder


def test_one_segment_goes_through_each_encoder(mmcache: Callable) -> None:
    done = mmcache("check", "--encoder", "ast_demo", "--encoder", "joints", "--json")
    assert done.code == 0
    ast, joints = json.loads(done.out)
    assert (ast["encoder"], ast["dtype"], ast["problem"]) == ("ast_demo", "float32", None)
    assert ast["bytes"] == 2 * ast["shape"][0] * ast["shape"][1]
    assert ast["milliseconds"] > 0
    assert joints["shape"] == [64, 150]


def test_an_encoder_that_gives_nan_fails_the_check(mmcache: Callable, tmp_path: Path) -> None:
    state = build_encoder("imu_demo", "random").model.state_dict()
    save_file(
        {name: torch.full_like(value, float("nan")) for name, value in state.items()}, tmp_path / "imu_demo.safetensors"
    )
    done = mmcache("check", "--encoder", "imu_demo", "--encoder", "joints", "--weights", tmp_path)
    assert done.code == 1
    assert "FAILED" in done.out
    assert "imu_demo: NaN or infinity among the tokens" in done.err


def test_a_wrong_name_is_told_before_anything_is_loaded(mmcache: Callable) -> None:
    done = mmcache("check", "--encoder", "swin3d_b", "--encoder", "ast_x")
    assert done.code == 2
    assert "unknown encoder 'ast_x'. Did you mean" in done.err
    assert "swin3d_b ..." not in done.err
