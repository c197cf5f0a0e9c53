"""Connect to Ray on this machine alone or to a running Ray cluster, with error messages that say what to do."""

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmcache.common.interrupts import terminate_as_interrupt
from mmcache.store.ground.errors import ConfigError

AUTO = "auto"  # the cluster that has this machine as a node
OBJECT_STORE_BYTES = 128 << 20  # Ray's shared memory for runs without large objects
_REACHABLE_S = 5.0
_TOKEN_FILE = Path("~/.ray/auth_token")


@contextlib.contextmanager
def connected(address: str | None, object_store_bytes: int = OBJECT_STORE_BYTES) -> Iterator[Any]:
    """The `ray` module, connected until the end of the block.

    Args:
        address: None = this machine alone, on loopback; `auto`, or HOST:PORT of a cluster's head.
        object_store_bytes: shared memory for Ray's objects, on this machine alone; a cluster has its own.

    Raises:
        ConfigError: there is no such cluster, or it refuses the connection; the message says what to do.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address is not None:
        _check_address(address)
        _use_token()
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # the errors below replace its messages
    import ray

    with terminate_as_interrupt():
        _init(ray, address, object_store_bytes)
        try:
            with terminate_as_interrupt():  # again, because ray.init installs its own handler, which exits at once
                yield ray
        finally:
            ray.shutdown()


def _init(ray: Any, address: str | None, object_store_bytes: int) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        ray.init(
            address="local",
            _node_ip_address="127.0.0.1",
            include_dashboard=False,
            object_store_memory=object_store_bytes,
            **options,
        )
        return
    try:
        ray.init(address=address, **options)
    except Exception as error:  # Ray's exceptions have no common base class
        raise _refused(address, error) from error


def _check_address(address: str) -> None:
    """Check in seconds that the address answers; Ray itself takes minutes."""
    if address == AUTO:
        return
    if address.startswith("ray://"):
        raise ConfigError(
            f"--address {address}: a Ray Client address. The command must run on a node of the cluster, where the "
            "store (and the media) lie; give auto there, or HOST:PORT of the head."
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"--address {address}: expected auto, or HOST:PORT of the cluster's head, e.g. 10.0.0.1:6379")
    try:
        socket.create_connection((host, int(port)), timeout=_REACHABLE_S).close()
    except OSError as error:
        raise ConfigError(
            f"--address {address}: no program answers there ({error.strerror or error}). `ray start --head` on the "
            "head node prints its address; `ray status` says whether the cluster is up."
        ) from error


def _use_token() -> None:
    """Send the token if there is one; Ray does so only when its token mode is enabled."""
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
            f"--address {address}: the cluster refused the connection. Clusters may require a token: set "
            "RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) to the one the cluster was started with; on its head node "
            f"`ray get-auth-token` prints it. (Ray: {reason})"
        )
    return ConfigError(f"--address {address}: the cluster cannot be used ({type(error).__name__}: {reason})")
