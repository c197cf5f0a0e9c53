"""The published rows that test_published.py leaves: students with distillation, more methods, other data sets."""

import numpy as np
import pytest

from mmcache.fuse import protocols

N = 200_000
# methods.md T2, the full student of KARMMA v1, and Fig. 4 beside it, read off to about 0.1 point
NAMES = ["VFX", "VF", "VX", "FX", "V", "F", "X"]
FULL = {
    "EK": [42.55, 40.98, 40.90, 30.80, 39.35, 28.67, 7.58],
    "SS": [63.19, 60.55, 59.57, 57.56, 55.39, 51.60, 35.75],
}
FIGURE_4 = {
    "EK": [43.0, 41.0, 38.8, 36.5, 33.8, 31.4, 29.8, 27.6, 26.1, 25.2],
    "SS": [62.9, 61.4, 59.4, 57.3, 55.2, 53.3, 51.4, 50.2, 48.8, 47.7],
}
# methods.md T1, Ego4D-AR: accuracy at 27, 50, 75 and 100 % of audio missing
EGO4D = {
    "test-zeros": [30.5, 25.9, 21.1, 16.0],
    "test-skip": [32.5, 30.8, 29.1, 27.2],
    "train-zeros": [36.2, 34.8, 33.4, 32.1],
    "mmt": [36.7, 35.2, 33.5, 32.0],
}
# methods.md T5: MiDl's long-term variant and MacJEPA at 0, 25, 50, 75 and 100 %
T5 = {
    "EK verb, video, midl": [63.7, 58.4, 52.4, 46.7, 41.4],
    "EK verb, video, macjepa": [74.0, 67.8, 61.6, 55.6, 49.5],
    "ES, audio, midl": [54.9, 46.8, 39.5, 32.6, 26.0],
    "ES, audio, macjepa": [58.1, 55.9, 53.9, 51.8, 50.0],
    "EK verb, audio, midl": [63.7, 61.7, 59.5, 57.3, 55.3],
    "EK verb, audio, macjepa": [74.0, 73.5, 73.2, 72.9, 72.5],
    "ES, video, midl": [55.0, 53.4, 52.0, 51.0, 49.4],
    "ES, video, macjepa": [58.1, 56.9, 55.6, 54.4, 53.2],
}


def correct_with(names: list[str], accuracies: list[float]) -> dict[str, np.ndarray]:
    """Correctness arrays of these accuracies in percent, exact to 1 / N, spread over the segments at random."""
    random = np.random.default_rng(0)
    return {
        "+".join(sorted(name)): random.permutation(N) < round(value / 100 * N)
        for name, value in zip(names, accuracies, strict=True)
    }


def between_the_ends(full: float, without: float) -> dict[str, float]:
    return protocols.missing_rate_curve(correct_with(["AV", "V", "A"], [full, without, 0.0]), "A")


@pytest.mark.parametrize("row", FULL)
def test_the_drop_curve_of_the_full_student_is_within_a_point(row: str) -> None:
    curve = protocols.drop_curve(correct_with(NAMES, FULL[row]))
    assert list(curve.values()) == pytest.approx(FIGURE_4[row], abs=1.0)


def test_the_drop_curve_ends_at_the_mean_of_single_modalities(monkeypatch: pytest.MonkeyPatch) -> None:
    """p -> 1: of what would be gone altogether one is kept, each as likely."""
    monkeypatch.setattr(protocols.drops, "DROPS", (0, 99.9999, 100))
    curve = list(protocols.drop_curve(correct_with(NAMES, FULL["EK"])).values())
    assert curve == pytest.approx([42.55, np.mean([39.35, 28.67, 7.58]), np.mean([39.35, 28.67, 7.58])], abs=0.01)


def test_the_own_deltas_of_actionmae_average_otherwise_than_printed() -> None:
    """methods.md T3: its seven accuracies make -5.2, not the -8.3 beside them."""
    values = [93.0, 92.6, 87.6, 91.9, 83.4, 89.7, 81.7]
    summary = protocols.summary(correct_with(["RDI", "RD", "RI", "DI", "R", "D", "I"], values))
    assert summary["mean_delta"] == pytest.approx(-5.2, abs=0.05)


@pytest.mark.parametrize("row", T5)
def test_rates_of_table_5_lie_between_their_ends(row: str) -> None:
    """Within a point. midl's stream adapts, so that its rates need not be linear: its rows bend most."""
    printed = T5[row]
    curve = between_the_ends(printed[0], printed[-1])
    assert list(curve.values()) == pytest.approx(printed, abs=1.1 if row == "ES, audio, midl" else 0.6)


@pytest.mark.parametrize("row", EGO4D)
def test_rates_of_a_set_that_is_incomplete_by_nature_are_linear_too(row: str) -> None:
    """Its curve begins at 27 %: what it would be with everything there follows from the ends."""
    lowest, half, three_quarters, everything = EGO4D[row]
    complete = everything + (lowest - everything) / (1 - 0.27)
    curve = between_the_ends(complete, everything)
    assert [curve["50"], curve["75"]] == pytest.approx([half, three_quarters], abs=0.5)
