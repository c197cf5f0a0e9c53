"""The stores of a plan: opened once, and which one is taken where none is named."""

from collections.abc import Sequence
from pathlib import Path

from mmcache.fuse.runs.folder import store_identity
from mmcache.store.feature_store import FeatureStore
from mmcache.store.ground.errors import ConfigError
from mmcache.store.ground.lock import holder_of


class Stores:
    """Opens each store and division once, and remembers their digests."""

    def __init__(self) -> None:
        self._opened: dict[tuple[Path, str | None], FeatureStore] = {}
        self._digests: dict[tuple[Path, str | None, tuple[str, ...]], str] = {}

    def open(self, path: Path, protocol: str | None) -> FeatureStore:
        """The store, its segments divided by `protocol`. Raises StoreError or ConfigError, see FeatureStore.open."""
        key = (path, protocol)
        if key not in self._opened:
            self._opened[key] = FeatureStore.open(path, protocol=protocol)
        return self._opened[key]

    def digest(self, store: FeatureStore, protocol: str | None, modalities: Sequence[str]) -> str:
        """A digest of what a run on these modalities would train on."""
        key = (Path(store.path), protocol, tuple(modalities))
        if key not in self._digests:
            self._digests[key] = store_identity(store, list(modalities))
        return self._digests[key]


def newest_store(notes: list[str]) -> Path:
    """The store under cache/ that was changed last and that no process is writing.

    Args:
        notes: gets a line for every newer store that is being written.

    Raises:
        ConfigError: there is none.
    """
    found = [path for path in Path("cache").glob("*.zarr") if (path / "zarr.json").is_file()]
    if not found:
        raise ConfigError(
            "no store under cache/. Make one with `mmcache extract --dataset NAME`, or name one with --store PATH."
        )
    busy: list[str] = []
    for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True):
        holder = holder_of(path)
        if holder is None:
            notes += [f"{told}, and is passed over; {path} is taken" for told in busy]
            return path
        busy.append(f"{path} is being written by another process (pid {holder})")
    raise ConfigError(f"{'; '.join(busy)}. Wait for it to finish, or name a store with --store PATH.")
