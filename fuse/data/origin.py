"""Where the tokens of a run came from: what it takes to make more of them, kept in the run's own config.yaml."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmcache.fuse.runs.config import read_run_config, spec_of
from mmcache.store.feature_store import FeatureStore
from mmcache.store.ground.errors import ConfigError, StoreError

SECTION = "tokens"  # of config.yaml


def token_origins(store: FeatureStore, sources: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Modality -> the attributes of its token array, the fingerprint among them, and the dtype it is stored in.

    Args:
        sources: modality -> name of its token array.
    """
    arrays = {name: store.tokens[source] for name, source in sources.items()}
    return {name: {**array.attributes, "dtype": array.dtype.name} for name, array in arrays.items()}


def origins_of(run: str | Path, store: str | Path | None = None) -> dict[str, dict[str, Any]]:
    """As token_origins, of a finished run: from its own folder, or from its store where an older run has none.

    Args:
        store: where the store lies now, for a run that does not keep the origins itself.

    Raises:
        ConfigError: `run` is no finished run, or neither it nor the store says where its tokens came from.
    """
    run = Path(run)
    saved = read_run_config(run)
    if SECTION in saved:
        return saved[SECTION]
    spec, place = spec_of(saved), store or saved["store"]
    try:
        return token_origins(FeatureStore.open(place), spec.sources)
    except (StoreError, ConfigError) as error:
        raise ConfigError(
            f"{run} comes from an older version and does not say how its tokens were made; its store does not either: "
            f"{error} Name the store with --store PATH, or train the run again."
        ) from error
