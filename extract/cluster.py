"""Where an extract runs: Ray on this machine alone, or a Ray cluster that is running already."""

import contextlib
import dataclasses
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmcache.store.errors import ConfigError, MmcacheError

AUTO = "auto"  # the cluster this machine is a node of
_REACHABLE_S = 5.0
_TOKEN_FILE = Path("~/.ray/auth_token")


@dataclasses.dataclass(frozen=True)
class Place:
    """Room for one worker.

    Attributes:
        node: Ray's id of the node.
        name: what a person calls the node.
        threads: CPUs for decoding and, where there is no GPU, for the network.
        gpus: its share of the node's GPUs, 0 where there are none.
    """

    node: str
    name: str
    threads: int
    gpus: float


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """The `ray` module, connected for the time of a run.

    Args:
        address: None = this machine alone, on loopback; `auto`, or HOST:PORT of a cluster's head.

    Raises:
        ConfigError: there is no such cluster, or it does not let us in; the message says what to do.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address is not None:
        _check_address(address)
        _use_token()
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what it says of a refusal, we say in words
    import ray

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        ray.init(
            address="local",
            _node_ip_address="127.0.0.1",
            include_dashboard=False,
            object_store_memory=128 << 20,  # tokens never pass through it
            **options,
        )
    else:
        try:
            ray.init(address=address, **options)
        except Exception as error:  # Ray has no common base for them
            raise _refused(address, error) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """Find out in seconds what Ray would take minutes to say."""
    if address == AUTO:
        return
    if address.startswith("ray://"):
        raise ConfigError(
            f"--address {address}: a Ray Client address. The command must run on a node of the cluster, where the "
            "store and the media lie; give auto there, or HOST:PORT of the head."
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"--address {address}: expected auto, or HOST:PORT of the cluster's head, e.g. 10.0.0.1:6379")
    try:
        socket.create_connection((host, int(port)), timeout=_REACHABLE_S).close()
    except OSError as error:
        raise ConfigError(
            f"--address {address}: nothing answers there ({error.strerror or error}). `ray start --head` on the head "
            "node prints its address; `ray status` says whether the cluster is up."
        ) from error


def _use_token() -> None:
    """Send the token where there is one: Ray does so by itself only when it is told that clusters have tokens."""
    known = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    if known or _TOKEN_FILE.expanduser().exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _refused(address: str, error: Exception) -> ConfigError:
    reason = " ".join(str(error).split())[:300]
    if isinstance(error, ConnectionError) and address == AUTO:
        return ConfigError(
            "--address auto: no Ray cluster runs on this machine. Start one with `ray start --head`, join one with "
            "`ray start --address HOST:PORT`, or leave --address out to use this machine alone."
        )
    if isinstance(error, ConnectionError) or "AuthenticationError" in type(error).__name__:
        return ConfigError(
            f"--address {address}: a cluster is there, but it did not let us in. Clusters may ask for a token: set "
            "RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) to the one the cluster was started with; on its head node "
            f"`ray get-auth-token` prints it. (Ray: {reason})"
        )
    return ConfigError(f"--address {address}: the cluster cannot be used ({type(error).__name__}: {reason})")


def places(ray: Any, workers: int | None) -> list[Place]:
    """Room for `workers` workers, spread over the nodes; None = one a GPU, or one a node where there are none.

    Raises:
        ConfigError: there are fewer CPUs than workers.
        MmcacheError: no node offers a CPU.
    """
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    if not nodes:
        raise MmcacheError("no node of the cluster offers a CPU; `ray status` shows what it has")
    with_gpus = [node for node in nodes if node["Resources"].get("GPU", 0) >= 1]
    nodes = with_gpus or nodes
    cpus = [int(node["Resources"]["CPU"]) for node in nodes]
    gpus = [int(node["Resources"].get("GPU", 0)) for node in nodes]
    if workers is not None and workers > sum(cpus):
        where = "this machine has" if len(nodes) == 1 else f"its {len(nodes)} nodes have"
        raise ConfigError(f"--workers {workers}: {where} {sum(cpus)} CPUs for them. Use at most {sum(cpus)}.")
    shares = [max(1, count) for count in gpus] if workers is None else _spread(workers, cpus)
    return [
        Place(node["NodeID"], node["NodeManagerHostname"], max(1, cpu // share), gpu / share)
        for node, cpu, gpu, share in zip(nodes, cpus, gpus, shares, strict=True)
        for _ in range(share)
    ]


def _spread(workers: int, cpus: list[int]) -> list[int]:
    """How many workers each node gets: one after another in turn, while a node has CPUs left."""
    shares = [0] * len(cpus)
    while sum(shares) < workers:
        for i, room in enumerate(cpus):
            if shares[i] < room and sum(shares) < workers:
                shares[i] += 1
    return shares
