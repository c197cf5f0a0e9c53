"""Addresses that lead nowhere, libraries they need, and servers that are not there."""

import http.server
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcache.store import ConfigError, FeatureStore, StoreError
from mmcache.store.format.location import is_remote, locate
from mmcache.store.ground.errors import NoStoreError


def test_where_nothing_is_there_is_no_store(server: Any, name: str) -> None:
    for address in (
        server.s3("nowhere.zarr"),
        "s3://no-such-bucket/x",
        server.http("nowhere.zarr"),
        "memory://nowhere",
    ):
        with pytest.raises(NoStoreError, match=f"no store at {address}"):
            FeatureStore.open(address)


@pytest.mark.parametrize("address", ["foo://bucket/x", "s4://x/y"])
def test_an_unknown_scheme_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match=address):
        FeatureStore.open(address)


LACKING = """
import sys
from mmcache.store import ConfigError, FeatureStore
for scheme, library in (("s3", "s3fs"), ("gs", "gcsfs"), ("https", "aiohttp"), ("http", "upath")):
    sys.modules[library] = None
    try:
        FeatureStore.open(f"{scheme}://bucket/x")
    except ConfigError as error:
        print(error)
"""


def test_a_library_that_is_not_there_is_named_with_the_way_to_get_it() -> None:
    said = subprocess.run([sys.executable, "-c", LACKING], capture_output=True, text=True, check=True).stdout
    for line, scheme, library in zip(
        said.splitlines(), ("s3", "gs", "https", "http"), ("s3fs", "gcsfs", "aiohttp", "upath"), strict=True
    ):
        assert line.startswith(f"reading {scheme}:// needs more libraries (")
        assert library in line.lower()
        assert line.endswith("install them with: pip install 'mmcache[remote]'")


def test_paths_need_no_library(local: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("upath", "fsspec", "s3fs"):
        monkeypatch.setitem(sys.modules, library, None)
    for path in (local.path, str(local.path)):
        assert locate(path) == local.path
        assert not is_remote(locate(path))
        assert len(FeatureStore.open(path)) == len(local)
    assert locate("a/b.zarr") == Path("a/b.zarr")


def test_a_server_that_is_not_there_is_said_on_opening(
    server: Any, name: str, monkeypatch: pytest.MonkeyPatch, forget_file_systems: Callable[[], None]
) -> None:
    """On port 9, nobody listens."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    forget_file_systems()
    with pytest.raises(StoreError, match=f"s3://bucket/{name} cannot be reached or read: .*127.0.0.1:9"):
        FeatureStore.open(server.s3(name))
    forget_file_systems()


def test_a_server_that_went_away_gives_no_zeros(local: FeatureStore, forget_file_systems: Callable[[], None]) -> None:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=local.path.parent)) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        store = FeatureStore.open(f"http://127.0.0.1:{httpd.server_address[1]}/{local.path.name}")
        tokens = store.tokens["rgb"]
        httpd.shutdown()
    with pytest.raises(StoreError):
        tokens.read(np.array([0]))
    forget_file_systems()
