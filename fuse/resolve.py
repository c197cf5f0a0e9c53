"""A run's options resolved against its store: which store it is, and what of the store's recommendations is taken."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmcache.fuse.config import FuseConfig, make_config, start_config, teacher_configs
from mmcache.fuse.laws import unused_masks
from mmcache.fuse.strategies import STRATEGIES
from mmcache.store.feature_store import FeatureStore
from mmcache.store.format.recommended import ignored_note, take_recommended
from mmcache.store.ground.errors import ConfigError
from mmcache.store.ground.lock import holder_of


@dataclasses.dataclass(frozen=True)
class ResolvedRun:
    """A run's options, resolved against its store.

    Attributes:
        layers: where they come from, the store's recommendations first.
        notes: what a person should know before the start: stores that were passed over, recommendations ignored, and
            options that the run does not use.
    """

    config: FuseConfig
    store: FeatureStore
    layers: Mapping[str, Mapping[str, Any]]
    notes: list[str]


def resolve_run(strategy: str, layers: Mapping[str, Mapping[str, Any]]) -> ResolvedRun:
    """Resolve options against the store, whose own recommendations come below all layers but the preset.

    Recommendations are data: those that are not on the list of recommended.py, or that do not go together with what is
    asked for, are left out and noted, and never end the run.
    """
    asked = make_config(strategy, layers)
    notes: list[str] = []
    chosen = asked.store or newest_store(notes)
    store = FeatureStore.open(chosen, protocol=asked.protocol)
    recommended, ignored = take_recommended(store.meta.recommended)
    if ignored:
        notes.append(ignored_note(str(chosen), ignored))
    if recommended:
        with_them = {f"{chosen} (recommended)": recommended, **layers}
        try:
            _check_together(make_config(strategy, with_them), with_them)
            layers = with_them
        except ConfigError as error:
            notes.append(
                f"the recommendations of {chosen} do not go together with these options and are left out: {error}"
            )
    config = make_config(strategy, layers)
    config.store = chosen
    notes += unused_masks(config, layers)
    if config.teacher_runs and not config.has_teacher:
        notes.append(f"no loss of {strategy} asks a teacher: --teacher is not used")
    return ResolvedRun(config, store, layers, notes)


def _check_together(config: FuseConfig, layers: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise ConfigError unless the runs that are trained before this one can take the same layers."""
    strategy = STRATEGIES[config.strategy]
    if config.has_teacher and not config.teacher_runs and strategy.teacher is not None:
        teacher_configs(config, layers, ["any"])
    if config.start is None and strategy.start is not None:
        start_config(config, layers)


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
