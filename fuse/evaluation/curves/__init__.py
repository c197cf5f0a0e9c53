"""The evaluation protocols, one file each, derived from correctness per segment and subset by indexing alone.

`correct` maps each of the 2^M - 1 subsets (by name) to an (n,) bool array over the same n segments, all of which
have every modality. Accuracies are in percent.
"""

from mmcache.fuse.evaluation.curves.correct import Correct, accuracy, class_mean, full_subset, parts
from mmcache.fuse.evaluation.curves.drops import DROPS, drop_curve
from mmcache.fuse.evaluation.curves.rates import PATTERN_RATES, RATES, missing_ranks, missing_rate_curve, pattern_curve
from mmcache.fuse.evaluation.curves.robustness import effective_robustness, min_max, relative_robustness
from mmcache.fuse.evaluation.curves.summaries import average_ranks, spread, summary

__all__ = [
    "DROPS",
    "PATTERN_RATES",
    "RATES",
    "Correct",
    "accuracy",
    "average_ranks",
    "class_mean",
    "drop_curve",
    "effective_robustness",
    "full_subset",
    "min_max",
    "missing_ranks",
    "missing_rate_curve",
    "parts",
    "pattern_curve",
    "relative_robustness",
    "spread",
    "summary",
]
