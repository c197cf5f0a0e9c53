"""Where weights come from: seeds, files, folders, downloads; and who they are once loaded."""

import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from mmcache.extract.encoders import ENCODERS, build_encoder
from mmcache.extract.encoders.base.weights import WeightsError, state_sha256
from mmcache.store.ground.errors import MmcacheError

SMALL = ["swin3d_demo", "ast_demo", "imu_demo", "imu_transformer"]
Saver = Callable[[dict[str, torch.Tensor], Path], None]
# suffix and form -> how such a file is written
FORMS: dict[str, tuple[str, Saver]] = {
    "safetensors": (".safetensors", lambda state, path: save_file(state, path)),
    "bare": (".pth", lambda state, path: torch.save(state, path)),
    "state_dict": (".pth", lambda state, path: torch.save({"state_dict": state, "epoch": 3}, path)),
    "model": (".pt", lambda state, path: torch.save({"model": state}, path)),
}


class Runs:
    """Runs a command when unpickled, as a malicious weights file would."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (self.command,)


@pytest.mark.parametrize("name", SMALL)
def test_random_weights_are_a_function_of_the_seed_alone(name: str) -> None:
    state = torch.get_rng_state()
    first, second = build_encoder(name, "random:3"), build_encoder(name, "random:3")
    torch.manual_seed(99)
    third, other = build_encoder(name, "random:3"), build_encoder(name, "random:4")
    torch.set_rng_state(state)
    assert first.fingerprint(None) == second.fingerprint(None) == third.fingerprint(None)
    assert first.fingerprint(None).weights_sha256 != other.fingerprint(None).weights_sha256
    assert (first.weights, other.weights) == ("random:3", "random:4")
    assert build_encoder(name, "random").fingerprint(None) == build_encoder(name, "random:0").fingerprint(None)


@pytest.mark.parametrize("name", [*SMALL, "ast_t", "swin3d_t"])
def test_random_weights_leave_the_global_random_state_alone(name: str) -> None:
    before = torch.get_rng_state()
    build_encoder(name, "random:3")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_file_of_weights_leaves_the_global_random_state_alone(tmp_path: Path) -> None:
    save_file(build_encoder("imu_demo", "random:8").model.state_dict(), tmp_path / "imu_demo.safetensors")
    before = torch.get_rng_state()
    build_encoder("imu_demo", str(tmp_path))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["swin3d_demo", "ast_t", "imu_transformer"])
def test_without_published_weights_pretrained_means_the_first_seed(name: str) -> None:
    assert ENCODERS[name].published is None
    assert build_encoder(name, "pretrained").fingerprint(None) == build_encoder(name, "random:0").fingerprint(None)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("in_a_folder", [False, True])
@pytest.mark.parametrize("name", ["swin3d_demo", "imu_demo"])
def test_weights_from_a_file_are_those_that_were_saved(name: str, in_a_folder: bool, form: str, tmp_path: Path) -> None:
    suffix, save = FORMS[form]
    saved = build_encoder(name, "random:8")
    path = tmp_path / f"{name}{suffix}"
    save({key: value.clone() for key, value in saved.model.state_dict().items()}, path)
    (tmp_path / f"other{suffix}").write_bytes(b"not looked at")
    loaded = build_encoder(name, str(tmp_path if in_a_folder else path))
    assert loaded.fingerprint(None).weights_sha256 == saved.fingerprint(None).weights_sha256
    assert loaded.weights == f"file:{name}{suffix}"
    assert state_sha256(loaded.model.state_dict()) != state_sha256(build_encoder(name, "random").model.state_dict())


def test_the_digest_sees_names_shapes_types_and_values() -> None:
    state = {"a": torch.arange(6.0), "b": torch.tensor(True)}
    same = {"b": torch.tensor(True), "a": torch.arange(12.0)[:6]}
    assert state_sha256(state) == state_sha256(same)
    changed = [
        {**state, "a": torch.arange(6.0).reshape(2, 3)},
        {**state, "a": torch.arange(6.0).double()},
        {**state, "a": torch.arange(6.0) + torch.eye(6)[5] * 1e-6},
        {**state, "b": torch.tensor(False)},
        {"a": state["a"], "c": state["b"]},
        {"a": state["a"]},
    ]
    assert len({state_sha256(other) for other in [state, *changed]}) == 1 + len(changed)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors", ".bin"])
def test_code_in_a_weights_file_is_never_run(suffix: str, tmp_path: Path) -> None:
    trace = tmp_path / "it-ran"
    path = tmp_path / f"imu_demo{suffix}"
    unreadable = "is no readable weights file"
    expected = unreadable if suffix == ".safetensors" else "holds pickled code, which is never run; save it as safet"
    for content in (Runs(f"touch {trace}"), {"state_dict": {"x": Runs(f"touch {trace}")}}):
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(WeightsError, match=expected):
            build_encoder("imu_demo", str(path))
        torch.save(content, path)
        with pytest.raises(WeightsError, match=expected) as caught:
            build_encoder("imu_demo", str(path))
        assert "weights_only" not in str(caught.value)  # torch's advice on how to run it
    assert not trace.exists()


def damaged(path: Path, kind: str) -> None:
    """Write a weights file of imu_demo with something wrong with it."""
    state = {key: value.clone() for key, value in build_encoder("imu_demo", "random").model.state_dict().items()}
    first = next(iter(state))
    if kind == "a name less":
        del state[first]
    elif kind == "a name more":
        state["head.weight"] = torch.zeros(2, 2)
    elif kind == "another shape":
        state[first] = torch.zeros(3, 3)
    (save_file if path.suffix == ".safetensors" else torch.save)(state, path)
    if kind == "cut off":
        path.write_bytes(path.read_bytes()[:-1000])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("weights")
    elif kind == "a list":
        torch.save([1, 2], path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("kind", ["a name less", "a name more", "another shape", "cut off", "empty", "text", "a list"])
def test_a_file_that_does_not_fit_names_itself_and_the_flag(kind: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    damaged(path, kind)
    with pytest.raises(WeightsError, match=r"does not fit imu_demo|is no readable weights file") as caught:
        build_encoder("imu_demo", str(path))
    check_message(str(caught.value), str(path))


def test_a_file_or_folder_that_is_not_there_names_the_flag(tmp_path: Path) -> None:
    for choice in (str(tmp_path / "gone.pth"), str(tmp_path), "pretraned", "random:x", "random:-1"):
        with pytest.raises(WeightsError) as caught:
            build_encoder("imu_demo", choice)
        check_message(str(caught.value), choice)
    with pytest.raises(WeightsError, match=r"no imu_demo\.safetensors, imu_demo\.pth or imu_demo\.pt in the folder"):
        build_encoder("imu_demo", str(tmp_path))
    with pytest.raises(WeightsError, match="Allowed: pretrained, random, random:SEED, PATH"):
        build_encoder("imu_demo", "pretraned")


@pytest.mark.parametrize("name", ["swin3d_t", "mvit_v1_b"])
def test_published_weights_without_a_network(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # nothing was downloaded before
    for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")  # nobody answers there
    with pytest.raises(WeightsError, match=rf"published weights of {name} .*could not be downloaded") as caught:
        build_encoder(name, "pretrained")
    check_message(str(caught.value), name)
    assert "--weights random" in str(caught.value)


def check_message(message: str, what: str) -> None:
    """One line that says what came, and which flag puts it right."""
    assert "\n" not in message
    assert what in message
    assert re.search(r"--weights", message)


def test_the_error_is_one_for_users() -> None:
    assert issubclass(WeightsError, MmcacheError)
    assert WeightsError.exit_code == 2
