"""Curves against published figures (fuse/report/published.yaml), where arithmetic alone reproduces them."""

import numpy as np
import pytest

from mmcache.fuse.data.samplers import draw_masks
from mmcache.fuse.data.subsets import subset_name, subsets
from mmcache.fuse.evaluation import curves
from mmcache.fuse.report.read.published import TABLES, Published
from mmcache.store.load.order import id_keys

N = 200_000
# KARMMA's Fig. 4 beside the table of subsets that it follows from: method there -> method here.
FIGURE_4 = {
    "Baseline": "Baseline",
    "with missing tokens (w/ delta)": "with missing tokens (w/ delta)",
    "student": "student (first version)",
}
RATES = [(table, method) for table in TABLES if table.measure == "rates" for method in table.rows]


def find(source: str, title: str, dataset: str) -> Published:
    """The one table of that name."""
    (table,) = (t for t in TABLES if t.source.startswith(source) and (t.title, t.dataset) == (title, dataset))
    return table


def correct_with(accuracies: dict[str, float]) -> dict[str, np.ndarray]:
    """Subset -> correctness of this accuracy in percent, exact to 1 / N, spread over the segments at random."""
    random = np.random.default_rng(0)
    return {name: random.permutation(N) < round(value / 100 * N) for name, value in accuracies.items()}


@pytest.mark.holds("shared", "1.2 the published drop curves are met within a point")
@pytest.mark.parametrize("dataset", ["epic", "ssv2"])
@pytest.mark.parametrize("method", FIGURE_4)
def test_the_drop_curve_is_within_a_point_of_the_published_one(method: str, dataset: str) -> None:
    figure = find("KARMMA", "Each modality missing with a chance (Fig. 4)", dataset).rows[method]
    subsets_row = find("KARMMA", "Every subset", dataset).rows[FIGURE_4[method]]
    curve = curves.drop_curve(correct_with(dict(subsets_row)))
    assert curve["0"] == pytest.approx(subsets_row[max(subsets_row, key=len)], abs=0.01)
    assert curve == pytest.approx(figure, abs=1.0)


@pytest.mark.holds("shared", "1.2 the drop curve runs from Acc(full) to the mean of single modalities")
def test_the_drop_curve_ends_at_the_mean_of_single_modalities(monkeypatch: pytest.MonkeyPatch) -> None:
    """p -> 1: of what would be gone altogether one is kept, each as likely."""
    monkeypatch.setattr(curves.drops, "DROPS", (0, 99.9999, 100))
    row = find("KARMMA", "Every subset", "epic").rows["student (first version)"]
    singles = np.mean([value for name, value in row.items() if "+" not in name])
    curve = list(curves.drop_curve(correct_with(dict(row))).values())
    assert curve == pytest.approx([42.55, singles, singles], abs=0.01)


@pytest.mark.holds("shared", "1.3 AvgRelDrop = -100 mean delta / Acc(full)")
@pytest.mark.parametrize(("method", "printed"), [("Sum", -34.8), ("Concat", -33.5), ("Transformer", -21.0)])
def test_mean_delta_is_the_published_one(method: str, printed: float) -> None:
    row = find("ActionMAE", "Every subset", "ntu60").rows[method]
    summary = curves.summary(correct_with(dict(row)))
    assert summary["mean_delta"] == pytest.approx(printed, abs=0.06)
    assert summary["avg_rel_drop"] == pytest.approx(-100 * summary["mean_delta"] / row["depth+ir+rgb"], abs=1e-3)
    assert summary["avg_acc"] == pytest.approx(np.mean(list(row.values())), abs=0.01)


def test_the_own_deltas_of_actionmae_average_otherwise_than_printed() -> None:
    """methods.md T3: its seven accuracies make -5.2, not the -8.3 beside them."""
    row = find("ActionMAE", "Every subset", "ntu60").rows["ActionMAE"]
    assert curves.summary(correct_with(dict(row)))["mean_delta"] == pytest.approx(-5.2, abs=0.05)


@pytest.mark.holds("shared", "1.1 missing sets are nested, of round(r N) segments, and accuracy is linear in r")
@pytest.mark.parametrize(
    ("table", "method"), RATES, ids=[f"{t.dataset}-{t.task}-{t.missing}-{method}" for t, method in RATES]
)
def test_rates_between_the_ends_are_the_published_ones(table: Published, method: str) -> None:
    """Linear in expectation: what is printed between the two ends follows from them.

    A curve that begins at 27 %, as Ego4D's does by nature, says through its ends what it would be at 0. midl's stream
    adapts, so that its rates need not be linear; the one of its rows that bends is a little further off.
    """
    printed = table.rows[method]
    first, *_, last = printed
    without = printed[last]
    complete = without + (printed[first] - without) / (1 - float(first) / 100)
    curve = curves.missing_rate_curve(correct_with({"A+V": complete, "V": without, "A": 0.0}), "A")
    assert curve["0"] == pytest.approx(complete, abs=0.01)
    assert curve["100"] == pytest.approx(without, abs=0.01)
    between = {rate: value for rate, value in printed.items() if rate in curve}
    bends = (table.dataset, table.missing, method) == ("epic-sounds", "audio", "MiDl-LTA")
    allowed = 1.1 if bends else 0.5 if table.dataset == "ego4d-ar" else 0.8 if table.source.startswith("MMT") else 0.6
    assert {rate: curve[rate] for rate in between} == pytest.approx(between, abs=allowed)


@pytest.mark.holds("shared", "1.2 the drop curve agrees with drawn masks")
def test_drop_curve_agrees_with_drawn_masks() -> None:
    """The closed form is the mean over the masks of the sampler bernoulli_keep_one, within three standard errors."""
    n, names = 20_000, ["a", "b", "c"]
    rng = np.random.default_rng(1)
    masks = subsets(3)
    keys = id_keys(str(i) for i in range(n))
    correct = {subset_name(mask, names): rng.random(n) < 0.2 + 0.25 * mask.sum() for mask in masks}
    curve = curves.drop_curve(correct)
    for percent in (0, 20, 50, 90):
        keep = draw_masks("bernoulli_keep_one", np.ones((n, 3), bool), keys, 0, percent, percent / 100, None)
        hits = np.array([correct[subset_name(row, names)][i] for i, row in enumerate(keep)])
        error = 100 * hits.std() / np.sqrt(n)
        assert curve[str(percent)] == pytest.approx(100 * hits.mean(), abs=3 * error + 1e-9)
