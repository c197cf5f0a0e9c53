"""Options of stage one: every mistake is named at once, before anything starts."""

from pathlib import Path
from typing import Any

import pytest

from mmcache.common.settings import resolve
from mmcache.extract.planning.extract_config import ExtractConfig
from mmcache.store.ground.errors import ConfigError


def message_of(**options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve(ExtractConfig, {"flags": {"dataset": "epic", **options}}).check()
    return str(caught.value)


def test_the_defaults_are_sound_and_say_where_things_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MMCACHE_DATA", raising=False)
    config = ExtractConfig("epic")
    config.check()
    assert config.data_root() == Path("data/epic")
    assert config.store_path() == Path("cache/epic.zarr")
    monkeypatch.setenv("MMCACHE_DATA", "/disk")
    assert config.data_root() == Path("/disk/epic")
    given = ExtractConfig("epic", root=Path("r"), store=Path("s"))
    assert (given.data_root(), given.store_path()) == (Path("r"), Path("s"))


def test_each_modality_has_an_encoder_unless_another_is_named() -> None:
    config = ExtractConfig("epic", encoder={"rgb": "swin3d_t"})
    config.check()
    assert [config.encoder_of(m) for m in ("rgb", "audio", "imu")] == ["swin3d_t", "ast_b", "imu_transformer"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"dataset": "epik"},
            "unknown data set 'epik'. Did you mean 'epic'? Known: ego4d-ar, epic, epic-sounds, manifest",
        ),
        ({"modalities": ["rbg"]}, "unknown modality of epic 'rbg'. Did you mean 'rgb'?"),
        ({"modalities": ["rgb", "rgb"]}, "--modalities rgb,rgb names one twice"),
        ({"encoder": {"depth": "swin3d_t"}}, "unknown modality of epic 'depth'"),
        ({"encoder": {"rgb": "swin3dt"}}, "unknown encoder 'swin3dt'. Did you mean 'swin3d_t'?"),
        ({"encoder": {"imu": "ast_b"}}, "for imu there are: imu_transformer, imu_demo"),
        ({"dtype": "float64"}, "--dtype float64: allowed are float16, float32"),
        ({"dataset": "manifest", "set": {"ir_range": 7000}}, "--set ir_range=7000: expected LOW..HIGH: the values of"),
        (
            {"dataset": "manifest", "set": {"imu_columns": 3}},
            "--set imu_columns=3: expected what the columns of",
        ),
        ({"dataset": "ego4d-ar", "set": {"before_s": "x"}}, "--set before_s=x: expected a value such as "),
    ],
)
def test_a_wrong_name_is_answered_with_the_right_ones(options: dict[str, Any], expected: str) -> None:
    assert expected in message_of(**options)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("k", 0),
        ("limit", 0),
        ("limit", -3),
        ("workers", 0),
        ("batch_size", 0),
        ("batch_size", "many"),
        ("shard_mb", 0),
        ("max_failures", 1.5),
        ("max_failures", -0.1),
        ("splits", "train"),
        ("root", 7),
    ],
)
def test_a_value_out_of_range_is_named_with_the_value(option: str, value: Any) -> None:
    message = message_of(**{option: value})
    assert f"flags: {option} = {value!r}" in message


def test_all_mistakes_are_reported_at_once() -> None:
    message = message_of(modalities=["rgb", "smell"], encoder={"audio": "swin3d_t", "imu": "imu_dem"}, dtype="int4")
    for part in (
        "4 things to put right",
        "'smell'",
        "swin3d_t takes rgb, flow, not audio",
        "'imu_demo'",
        "--dtype int4",
    ):
        assert part in message
    message = message_of(batch_size=0, shard_mb=-1, bach_size=4)
    for part in ("3 things to put right", "batch_size = 0", "shard_mb = -1", "Did you mean 'batch_size'?"):
        assert part in message


@pytest.mark.parametrize("name", ["modalities", "splits"])
def test_an_empty_list_is_not_taken_for_everything(name: str) -> None:
    """`--modalities ,` and `--splits ''` name nothing; doing everything is not what they ask."""
    assert name in message_of(**{name: []})


@pytest.mark.parametrize("weights", ["random:x", "random:-1", "pretraned", "/no/such/file.safetensors"])
def test_weights_that_cannot_be_are_seen_before_anything_starts(weights: str) -> None:
    message = message_of(weights=weights)
    assert "--weights" in message
    assert weights in message
