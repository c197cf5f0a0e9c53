"""The location of a store: a folder, or an address such as s3://bucket/epic.zarr, gs://..., https://... or memory://.

Addresses require the extra `mmcache[remote]` (universal-pathlib, fsspec, and s3fs, gcsfs or aiohttp). Stores at
addresses are read only: write a store to a disk, then copy it.
"""

from pathlib import Path
from typing import Any

import zarr

from mmcache.store.ground.errors import ConfigError, StoreError

_MARK = "://"


def locate(path: str | Path) -> Path:
    """A local path, or a path-like object for an address. Raises ConfigError when its libraries are not installed."""
    if not isinstance(path, str) or _MARK not in path:
        return Path(path) if isinstance(path, str) else path
    scheme = path.partition(_MARK)[0]
    try:
        from upath import UPath

        found = UPath(path)
        _ = found.fs  # imports the file system's own library
    except ImportError as error:
        raise ConfigError(
            f"reading {scheme}:// needs more libraries ({error}); install them with: pip install 'mmcache[remote]'"
        ) from error
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    except Exception as error:  # some schemes connect at once
        raise unreachable(path, error) from error
    return found  # type: ignore[return-value]


def unreachable(path: object, error: Exception) -> StoreError:
    """The error for an address that cannot be read, with the message of its library."""
    return StoreError(f"{path} cannot be reached or read: {' '.join(str(error).split())[:300] or type(error).__name__}")


def is_remote(path: Path) -> bool:
    return not isinstance(path, Path)


def open_zarr(path: Path) -> Any:
    """The Zarr array at a local path or address, for reading."""
    if not is_remote(path):
        return zarr.open_array(path, mode="r")
    from zarr.storage import FsspecStore

    options = dict(path.storage_options)  # type: ignore[attr-defined]
    return zarr.open_array(FsspecStore.from_url(str(path), storage_options=options, read_only=True), mode="r")
