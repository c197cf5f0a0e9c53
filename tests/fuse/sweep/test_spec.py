"""What a sweep may be told: every mistake at once, and the same points every time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from mmcache.fuse.sweep.space import Distribution, draw_points
from mmcache.fuse.sweep.spec import make_spec, read_spec
from mmcache.store.ground.errors import ConfigError


def test_every_mistake_is_told_at_once() -> None:
    content = {
        "strategies": ["karma", "mmt", "mmt"],
        "seeds": [0, 0],
        "axes": {"dorp": [0.1], "seed": [1]},
        "random": {"num_samples": 2, "space": {"lr": {"loguniform": [1e-2, 1e-4]}}},
        "search": {"num_samples": 2, "space": {"lr": {"uniform": [0, 1]}}},
        "overrides": {"skip": {"lr": 1}},
        "sampels": 3,
    }
    with pytest.raises(ConfigError) as told:
        make_spec(content, "sweep.yaml")
    for message in (
        "unknown strategy 'karma'. Did you mean 'karmma'?",
        "mmt is named twice",
        "seeds: 0 is named twice",
        "unknown option in axes 'dorp'. Did you mean 'drop'?",
        "axes: seed is the sweep's own to set",
        "lr: loguniform from 0.01 to 0.0001; the first must be the smaller",
        "search chooses its points itself",
        "overrides: skip is not among the strategies",
        "sweep.yaml: unknown key 'sampels'. ",
    ):
        assert message in str(told.value), message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "strategies is missing"),
        ({"strategies": ["mmt"], "resources": {"cpus": 0}}, "resources.cpus = 0"),
        ({"strategies": ["mmt"], "seeds": []}, "seeds"),
        ({"strategies": ["mmt"], "axes": {"drop": []}}, r"axes.drop = \[\]"),
        ({"strategies": ["mmt"], "random": {"num_samples": 1, "space": {"lr": {}}}}, "lr: give one of uniform"),
        ({"strategies": ["mmt"], "stores": ["a", "b"], "asha": {}}, "asha compares accuracies between trials"),
        ({"strategies": ["mmt"], "axes": {"lr": [1, 2]}, "flags": {"lr": 1}}, "--lr is given, and lr is varied"),
    ],
)
def test_what_cannot_be_is_told(content: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_spec(content, "sweep.yaml")


def test_files_that_are_none_are_told(tmp_path: Path) -> None:
    for text, message in (("a: [", "is not YAML"), ("- a", "must hold")):
        (tmp_path / "s.yaml").write_text(text)
        with pytest.raises(ConfigError, match=message):
            read_spec(tmp_path / "s.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_spec(tmp_path / "none.yaml")


def test_a_spec_is_read_back_as_it_was() -> None:
    space = {"lr": {"loguniform": [1e-4, 1e-2]}, "width": {"choice": [32, 64]}}
    content = {"strategies": ["mmt"], "axes": {"drop": [0.1]}, "random": {"num_samples": 3, "space": space}, "asha": {}}
    spec = make_spec(content, "x")
    again = make_spec(yaml.safe_load(yaml.safe_dump(spec.plain())), "x")
    assert again == spec
    assert again.identity == spec.identity
    other = make_spec({**content, "resources": {"cpus": 2}}, "x")
    assert other.identity == spec.identity, "where a sweep runs is no part of what it is"


def test_draws_are_keyed_by_number_and_name() -> None:
    space = {"lr": Distribution(loguniform=(1e-4, 1e-2)), "drop": Distribution(uniform=(0.1, 0.7))}
    few, many = draw_points(space, 3, seed=1), draw_points(space, 200, seed=1)
    assert many[:3] == few
    assert draw_points({"drop": space["drop"]}, 3, seed=1) == [{"drop": point["drop"]} for point in few]
    assert draw_points(space, 3, seed=2) != few
    rates = np.array([point["lr"] for point in many])
    assert ((rates >= 1e-4) & (rates <= 1e-2)).all()
    assert 0.35 < (rates < 1e-3).mean() < 0.65, "half of them below the geometric middle"
    whole = [point["n"] for point in draw_points({"n": Distribution(integer=(2, 4))}, 100, 0)]
    assert set(whole) == {2, 3, 4}
    chosen = [point["w"] for point in draw_points({"w": Distribution(choice=[32, "x"])}, 50, 0)]
    assert set(chosen) == {32, "x"}


def test_a_recipe_is_matched_unless_told_otherwise() -> None:
    assert make_spec({"strategies": ["mmt"]}, "x").recipe == "matched"
    other = make_spec({"strategies": ["mmt"], "recipe": "published"}, "x")
    assert other.identity != make_spec({"strategies": ["mmt"]}, "x").identity
    assert other.plain()["recipe"] == "published"
    with pytest.raises(ConfigError, match=r"unknown recipe 'mached'\. Did you mean 'matched'"):
        make_spec({"strategies": ["mmt"], "recipe": "mached"}, "x")
