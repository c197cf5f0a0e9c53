"""The split that a run's results are on: the one that was asked for by any usual name, else the store's."""

from mmcache.store.feature_store import FeatureStore
from mmcache.store.ground.errors import ConfigError, Problems
from mmcache.store.segments.splits import matching_splits


def reported_split(asked: str | None, store: FeatureStore) -> str:
    """The name of the split in the store.

    Without a wish it is never train. Asked for by name, train is what the person wants: a one-sensor teacher whose
    sensor is nowhere else is scored on it too.

    Args:
        asked: `--eval-split`; None = the store's own.

    Raises:
        ConfigError: there is no such split, several have that meaning, or the store leaves it open.
    """
    counts = ", ".join(f"{split} ({count} segments)" for split, count in store.meta.splits.items())
    if asked is None:
        if not store.eval_split:
            raise ConfigError(
                f"{store.path} does not say which split results are reported on, and train is never taken for it. "
                f"Its splits are {counts or 'none'}: name one with --eval-split"
            )
        return store.eval_split
    problems = Problems()
    found = matching_splits([asked], store.meta.splits, problems)
    if len(found) > 1:
        problems.add(f"--eval-split {asked} may mean {' or '.join(found)}: {store.path} has {counts}")
    if problems.messages:
        raise ConfigError(problems.messages[0])
    return found[0]
