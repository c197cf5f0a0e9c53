"""The temperature that calibrates a teacher."""

import numpy as np
import pytest
from scipy import special

from mmcache.fuse.evaluation.calibration import calibration_error
from mmcache.fuse.teachers.temperature import best_temperature


@pytest.mark.parametrize("scale", [0.2, 1.0, 6.0])
def test_the_best_temperature_undoes_a_scale(scale: float) -> None:
    """Labels drawn from softmax(logits): scaled logits are best at that temperature, and calibrated there."""
    rng = np.random.default_rng(0)
    logits = 2 * rng.standard_normal((20_000, 5))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    found = best_temperature(scale * logits, labels)
    assert found == pytest.approx(scale, rel=0.03)
    at_best = special.softmax(scale * logits / found, axis=1)
    assert calibration_error(at_best.max(axis=1), at_best.argmax(axis=1) == labels) < 1.5


def test_without_labels_the_temperature_stays() -> None:
    assert best_temperature(np.ones((3, 2)), np.full(3, -1)) == 1.0
