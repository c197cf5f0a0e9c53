"""Without a network the refusal of published weights comes in seconds; a slow network is not taken for none."""

import hashlib
import http.server
import io
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mmcache.extract.encoders import build_encoder
from mmcache.extract.encoders.base import downloads as network
from mmcache.extract.encoders.base.weights import WeightsError
from mmcache.store.ground.errors import ConfigError

FIRST_CONTACT_S = 0.5


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing was downloaded or asked before."""
    monkeypatch.setattr(network, "_out_of_reach", {})
    monkeypatch.setattr(network, "FIRST_CONTACT_S", FIRST_CONTACT_S)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for proxy in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(proxy, raising=False)
        monkeypatch.delenv(proxy.upper(), raising=False)


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A server that takes connections and says nothing, as behind a firewall that drops packets."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def use(monkeypatch: pytest.MonkeyPatch, server: str) -> None:
    """Have the hub, and whatever torchvision downloads, come from `server`."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://{server}")
    monkeypatch.setenv("https_proxy", f"http://{server}")


@pytest.mark.parametrize("name", ["ast_b", "timm:resnet10t", "hf:some/model"])
@pytest.mark.parametrize("kind", ["refuses", "says nothing"])
def test_the_refusal_comes_in_seconds(
    kind: str, name: str, monkeypatch: pytest.MonkeyPatch, silent_server: str
) -> None:
    use(monkeypatch, "127.0.0.1:9" if kind == "refuses" else silent_server)
    if name == "ast_b":  # at a size that is built at once
        monkeypatch.setitem(encoder_module("ast")._CONFIGS, "ast_b", encoder_module("ast")._CONFIGS["ast_demo"])
    elif name.startswith("timm:"):
        build_encoder(name, "random")  # its imports and its shapes take a while by themselves
    began = time.monotonic()
    with pytest.raises((WeightsError, ConfigError)) as caught:
        build_encoder(name, "pretrained")
    assert time.monotonic() - began < 8
    said = str(caught.value)
    assert "cannot be reached" in said
    assert "Where there is no network, use" in said
    assert "\n" not in said
    assert "offline" not in said.lower()  # what the library would advise, when it was we who told it so


@pytest.mark.parametrize("kind", ["refuses", "says nothing"])
def test_torchvision_weights_are_refused_in_seconds_too(
    kind: str, monkeypatch: pytest.MonkeyPatch, silent_server: str
) -> None:
    use(monkeypatch, "127.0.0.1:9" if kind == "refuses" else silent_server)
    began = time.monotonic()
    with pytest.raises(network.OutOfReach, match=r"download\.pytorch\.org cannot be reached"):
        network.torchvision_weights(of_url("https://download.pytorch.org/models/w-12345678.pth"))
    assert time.monotonic() - began < 5


def encoder_module(family: str) -> SimpleNamespace:
    import importlib

    return importlib.import_module(f"mmcache.extract.encoders.{family}")  # type: ignore[return-value]


def test_a_server_out_of_reach_is_asked_once(monkeypatch: pytest.MonkeyPatch, silent_server: str) -> None:
    use(monkeypatch, silent_server)
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(network.OutOfReach, match="cannot be reached"), network.hub():
            raise ValueError("not in the cache")
    assert time.monotonic() - began < 0.2


def test_what_is_in_the_cache_is_used_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use(monkeypatch, "127.0.0.1:9")
    state = {"w": torch.arange(3.0)}
    data, name = published_file(state)
    (tmp_path / "torch" / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "torch" / "hub" / "checkpoints" / name).write_bytes(data)
    found = network.torchvision_weights(of_url(f"https://nowhere.invalid/{name}"))
    assert torch.equal(found["w"], state["w"])
    with network.hub():
        from huggingface_hub import constants

        assert constants.is_offline_mode()  # so the libraries look in their cache, and ask nobody
    assert not constants.is_offline_mode()


def test_a_slow_download_takes_as_long_as_it_takes_and_is_announced_on_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(urllib.request, "_opener", None)  # it keeps the proxies of the first request of this process
    state = {"w": torch.arange(5.0)}
    data, name = published_file(state)

    class Slow(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

        def do_GET(self) -> None:
            time.sleep(3 * FIRST_CONTACT_S)
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *said: object) -> None:
            return None

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = network.torchvision_weights(of_url(f"http://127.0.0.1:{server.server_port}/{name}"))
        server.shutdown()
    assert torch.equal(found["w"], state["w"])
    said = capsys.readouterr()
    assert (said.out, "Downloading" in said.err) == ("", True), "--json writes to stdout"


def published_file(state: dict[str, torch.Tensor]) -> tuple[bytes, str]:
    """A file of weights, and a name with its digest as torch's hub checks it."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getvalue()
    return data, f"weights-{hashlib.sha256(data).hexdigest()[:8]}.pth"


def of_url(url: str) -> SimpleNamespace:
    return SimpleNamespace(url=url, get_state_dict=lambda **options: torch.hub.load_state_dict_from_url(url, **options))
