"""What could have been reached: the Bayes accuracy of data whose making is known."""

from mmcache.common.oracle_world import NAME, Oracle
from mmcache.fuse.evaluation.inputs import stored_sources
from mmcache.fuse.runs.spec import ModelSpec
from mmcache.store.feature_store import FeatureStore


def bayes_accuracy(store: FeatureStore, spec: ModelSpec) -> dict[str, dict[str, float]] | None:
    """Subset of the model's modalities -> task -> percent, by the making of the data; None where that is not known.

    k-Average takes nothing away: the mean of a segment's tokens says all that they say.
    """
    if store.meta.dataset != NAME or not {"noise", "skew"} <= set(store.segments.columns):
        return None
    first = store.segments.iloc[0]
    counts = {}
    for name, source in stored_sources(spec, store).items():
        drawn = store.tokens[source].fingerprint.preprocessing.get("tokens")
        if not isinstance(drawn, int):
            return None  # tokens that were imported, or encoded otherwise
        counts[name] = drawn
    (task,) = store.tasks
    best = Oracle(float(first["noise"]), float(first["skew"])).bayes_accuracy(counts)
    return {subset: {task: value} for subset, value in best.items()}
