"""A store at addresses: a real server of S3's protocol on the loopback interface, and the same store on the disk."""

import gc
import itertools
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fsspec.implementations.http import HTTPFileSystem
from numpy.typing import NDArray
from s3fs import S3FileSystem

from mmcache.store import FeatureStore, Presence
from mmcache.store.manage.reduce import reduce_store

C, M, F, T = Presence.CACHED, Presence.MISSING, Presence.FAILED, Presence.TO_DO
BUCKET = "bucket"
N, ROWS = 11, 3  # segments in all, and of a shard
STATUS = {
    "audio": np.array([C, C, F, M, C, C, T, T, T, C, C]),  # the third shard has nothing
    "imu/small": np.array([C, M, C, C, C, F, C, C, C, C, M]),
    "rgb": np.array([C, C, C, C, M, C, C, C, C, C, C]),
}


class Server:
    """Copies of folders, each under a new name, and their addresses."""

    _names = (f"{number}.zarr" for number in itertools.count())  # the next server still has what was put in this one

    def __init__(self, url: str) -> None:
        import boto3

        self.url = url
        self.client = boto3.client("s3")
        self.client.create_bucket(Bucket=BUCKET)
        self.replaced: dict[str, bytes] = {}

    def put(self, folder: Path) -> str:
        """The name of the copy."""
        name = next(self._names)
        for file in folder.rglob("*"):
            if file.is_file():
                self.put_file(f"{name}/{file.relative_to(folder)}", file.read_bytes())
        return name

    def put_file(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=data, ACL="public-read")

    def get_file(self, key: str) -> bytes:
        return self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def replace(self, key: str, data: bytes) -> None:
        self.replaced.setdefault(key, self.get_file(key))
        self.put_file(key, data)

    def flip(self, key: str, place: int) -> None:
        data = bytearray(self.get_file(key))
        data[place] ^= 0x80
        self.replace(key, bytes(data))

    def delete(self, key: str) -> None:
        self.replaced.setdefault(key, self.get_file(key))
        self.client.delete_object(Bucket=BUCKET, Key=key)

    def s3(self, name: str) -> str:
        return f"s3://{BUCKET}/{name}"

    def http(self, name: str) -> str:
        return f"{self.url}/{BUCKET}/{name}"


@pytest.fixture(scope="session")
def forget_file_systems() -> Callable[[], None]:
    """fsspec keeps them, with the endpoint they were made for, and lets the collector warn of their open sessions."""

    def forget() -> None:
        for kind in (HTTPFileSystem, S3FileSystem):
            kind.clear_instance_cache()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

    return forget


@pytest.fixture(scope="module")
def server(forget_file_systems: Callable[[], None]) -> Iterator[Server]:
    """In the environment of the module that asks for it, and gone after it."""
    from moto.server import ThreadedMotoServer

    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    url = "http://{}:{}".format(*moto.get_host_and_port())
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL", url),
        ):
            patch.setenv(name, value)
        for name in ("http_proxy", "https_proxy", "all_proxy", "AWS_PROFILE"):
            patch.delenv(name, raising=False)
            patch.delenv(name.upper(), raising=False)
        forget_file_systems()
        yield Server(url)
        forget_file_systems()
    moto.stop()


@pytest.fixture(scope="session")
def local(make_store: Callable[..., Path], random_tokens: Callable[..., NDArray[np.floating]]) -> FeatureStore:
    """Two views with lengths; int8, made by reduce; float32 of one view; absent chunks and an absent shard."""
    lengths = np.where(STATUS["audio"][:, None] == C, np.random.default_rng(0).integers(1, 5, (N, 2)), 0)
    tokens = {
        "audio": random_tokens(N, 2, 4, 3),
        "imu/small": random_tokens(N, 2, 3, 2, seed=1),
        "rgb": random_tokens(N, 1, 2, 5, dtype="float32", seed=2),
    }
    root = make_store(tokens, ROWS, STATUS, {"audio": lengths})
    reduce_store(root, dtype="int8", modalities=["imu", "audio"], shard_bytes=2 * 2 * 3 * 2)
    return FeatureStore.open(root)


@pytest.fixture(scope="module")
def name(server: Server, local: FeatureStore) -> str:
    """What the copy of `local` is called there."""
    return server.put(local.path)


@pytest.fixture(scope="module", params=["s3", "http"])
def remote(request: pytest.FixtureRequest, server: Server, name: str) -> FeatureStore:
    """`local` at an address of each kind."""
    return FeatureStore.open(getattr(server, request.param)(name))
