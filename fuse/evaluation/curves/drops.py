"""Expected accuracy when each modality is missing with a probability (methods 1.2: KARMMA, Fig. 4)."""

import numpy as np

from mmcache.fuse.evaluation.curves.correct import Correct, accuracy, full_subset, parts

DROPS = tuple(range(0, 100, 10))  # percent chance that each modality is missing


def drop_curve(correct: Correct) -> dict[str, float]:
    """Chance in percent -> expected accuracy, in closed form.

    E acc(p) = sum_S (1-p)^|S| p^(M-|S|) Acc(S) + p^M mean_m Acc({m}): where all would be gone, one stays at random.
    """
    total = len(parts(full_subset(correct)))
    single = np.mean([accuracy(values) for name, values in correct.items() if len(parts(name)) == 1])
    curve = {}
    for percent in DROPS:
        p = percent / 100.0
        expected = p**total * single
        for name, values in correct.items():
            size = len(parts(name))
            expected += (1 - p) ** size * p ** (total - size) * accuracy(values)
        curve[str(percent)] = float(expected)
    return curve
