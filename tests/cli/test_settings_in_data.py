"""A settings file that lies in the data sets how tokens are made, and nothing that steers the program."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mmcache.cli.commands.extract import _settings
from mmcache.extract.planning.data_settings import ALLOWED, take_harmless
from mmcache.extract.planning.extract_config import ExtractConfig

STEERING = {
    "address": "10.0.0.1:6379", "store": "/tmp/elsewhere.zarr", "root": "/", "annotations": "/etc", "weights": "/tmp/w",
    "workers": 64, "max_failures": 1.0, "retry_failed": True, "limit": 1, "dataset": "ssv2",
}  # fmt: skip
_TEN = ",".join("x" * 10)
BOMB = "\n".join(
    [f"a: &a [{_TEN}]"]
    + [f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]" for a, b in zip("abcdefghij", "bcdefghijk", strict=True)]
)


def test_what_steers_the_program_is_ignored_and_named() -> None:
    options = set(ExtractConfig.__dataclass_fields__)
    assert {*ALLOWED, *STEERING, "encoder", "set"} <= options
    taken, ignored = take_harmless({**STEERING, "k": 3, "wieghts": 1}, "epic")
    assert taken == {"k": 3, "wieghts": 1}, "what is no option is handed on, for the error to name it"
    assert ignored == list(STEERING)


def test_of_encoders_and_settings_only_what_names_no_path_is_taken() -> None:
    section = {"encoder": {"rgb": "swin3d_t", "audio": "hf:evil/model", "flow": "timm:x"}, "set": {"boxes": "auto"}}
    taken, ignored = take_harmless(section, "ssv2")
    assert taken == {"encoder": {"rgb": "swin3d_t"}, "set": {"boxes": "auto"}}
    assert ignored == ["encoder audio='hf:evil/model'", "encoder flow='timm:x'"]


def test_a_file_that_a_person_names_may_set_all(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"extract: {json.dumps(STEERING)}\nfuse: {{k: 3, out: x}}\n")
    assert _settings(path, "epic", trusted=True) == (STEERING, [], {"k": 3}, ["out"])
    assert _settings(path, "epic", trusted=False) == ({}, list(STEERING), {"k": 3}, ["out"])


def test_a_file_in_the_data_joins_no_cluster_and_says_so(mmcache: Callable, epic_copy: Path) -> None:
    settings = (epic_copy / "mmcache.yaml").read_text()
    more = "extract:\n  address: 127.0.0.1:1\n  store: ../stolen.zarr\n"
    (epic_copy / "mmcache.yaml").write_text(
        settings.replace("extract:\n", more).replace("fuse:\n", "fuse:\n  out: /tmp/x\n  strategy: zeros\n")
    )
    arguments = ["extract", "--dataset", "epic", "--root", epic_copy, "--modalities", "imu"]
    done = mmcache(*arguments, "--dry-run")
    assert done.code == 0, done.err
    assert "so its address, store are ignored" in done.err
    assert f"--config {epic_copy}/mmcache.yaml accepts all of it" in done.err
    assert "recommends options that data may not set; these are ignored: out, strategy." in done.err
    assert "-> cache/epic.zarr" in done.err
    typed = mmcache(*arguments, "--config", epic_copy / "mmcache.yaml")
    assert typed.code == 2
    assert "--address 127.0.0.1:1: no program answers there" in typed.err


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "arguments",
    [
        ["extract", "--dataset", "epic", "--root", "root"],
        ["fuse", "--strategy", "zeros", "--config", "bomb.yaml"],
        ["sweep", "bomb.yaml"],
        ["fuse", "--strategy", "zeros", "--set", f"modalities={{{BOMB.replace(chr(10), ', ')}}}"],
    ],
    ids=["extract", "fuse", "sweep", "set"],
)
def test_an_alias_bomb_is_refused_in_one_short_line(arguments: list[str], mmcache: Callable) -> None:
    Path("root").mkdir()
    for path in ("root/mmcache.yaml", "bomb.yaml"):
        Path(path).write_text("fuse:\n  modalities:\n" + "\n".join("    " + line for line in BOMB.splitlines()))
    done = mmcache(*arguments)
    assert done.code == 2
    assert "its aliases stand for more than" in done.err
    assert len(done.err) < 400


@pytest.mark.timeout(20)
def test_a_list_of_very_many_values_is_refused_as_quickly(mmcache: Callable) -> None:
    Path("many.yaml").write_text(
        "x: &x [1,1,1,1,1,1,1,1,1,1]\nfuse: {modalities: [" + ",".join(["*x"] * 20_000) + "]}\n"
    )
    done = mmcache("fuse", "--strategy", "zeros", "--config", "many.yaml")
    assert done.code == 2
    assert "many.yaml holds more than 10,000 values" in done.err
    Path("wide.yaml").write_text("fuse: {" + ", ".join(f"opt{i}: 1" for i in range(5000)) + "}\n")
    wide = mmcache("fuse", "--strategy", "zeros", "--config", "wide.yaml")
    assert "4980 more unknown options" in wide.err
    assert len(wide.err) < 40_000


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("views", 65, "views 65 (at most 64)"),
        ("k", 10**9, "k 1000000000 (at most 100000)"),
        ("batch_size", 10**6, "batch_size 1000000 (at most 256)"),
        ("shard_mb", 1e12, "shard_mb 1000000000000.0 (at most 4096)"),
        ("shard_mb", 0.001, "shard_mb 0.001 (at least 1)"),
        ("shard_mb", float("nan"), "shard_mb nan (at least 1)"),
        ("views", "1000", "views '1000' (at most 64)"),
    ],
)
def test_numbers_beyond_what_data_ask_for_are_ignored_and_named(name: str, value: object, said: str) -> None:
    assert take_harmless({name: value}, "epic") == ({}, [said])


def test_that_labels_are_missing_on_purpose_is_for_a_person_to_say() -> None:
    assert take_harmless({"set": {"labels": "none", "depth": "jet"}}, "manifest") == (
        {"set": {"depth": "jet"}},
        ["set labels='none'"],
    )
