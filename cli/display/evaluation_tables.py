"""Tables of `mmcache evaluate`, one per protocol."""

from collections.abc import Mapping
from typing import Any

from mmcache.cli.display.console import out, size, table

_KINDS = {"gaussian": "Gaussian noise", "elements": "numbers set to zero", "steps": "tokens set to zero"}


def show_result(result: Mapping[str, Any]) -> None:
    """Print all results of one run."""
    out.print(
        f"{result['run']}: '{result['split']}', {result['n']} segments with every sensor, accuracy in percent",
    )
    out.print(f"It was trained with the {result['recipe']} recipe.")
    _subsets(result)
    _whole(result)
    counted = "all segments, with those incomplete by nature" if result["rates_of"] == "natural" else "the segments"
    _curves(f"One sensor missing in so many of {counted}", ["missing"], result["rates"])
    _curves("The same, adapting while testing", ["missing"], result.get("adapted", {}))
    if len(result["subsets"]) > 1:
        patterns = {"one of them": {task: curve for task, curve in result["patterns"].items() if curve}}
        _curves("Some sensor or other missing in so many of the segments", ["missing"], patterns)
    _drops(result["drop"])
    _summary(result)
    _groups(result)
    _zero_shot(result)
    _windows(result)
    _few_shot(result)
    _noise(result)
    _cost(result)
    natural = {task: value for task, value in result["natural"].items() if task != "n"}
    if result["natural"]["n"] > result["n"]:
        told = ", ".join(f"{task} {value:.1f}" for task, value in natural.items())
        out.print(f"All {result['natural']['n']} segments, each with what it has: {told}")


def show_comparison(results: list[dict[str, Any]], together: Mapping[str, Any]) -> None:
    """Print the comparison of several runs: means of methods over seeds per subset, and ranks."""
    spread = together["spread"]
    methods = list(spread)
    first = results[0]
    out.print(
        f"{len(results)} runs of {len(methods)} methods on '{first['split']}', {first['n']} segments with every "
        f"sensor, {_recipes(together['recipes'])}; mean ± standard deviation over seeds",
    )
    for task in next(iter(spread.values())):
        rows = []
        shared = set.intersection(*(set(spread[method][task]["subsets"]) for method in methods))
        for name in _ordered(shared):
            best = first.get("bayes", {}).get(name, {}).get(task)
            cells = [_with_spread(spread[method][task]["subsets"][name]) for method in methods]
            rows.append([name, *cells, *([f"{best:.1f}"] if "bayes" in first else [])])
        for figure, title in (("avg_acc", "mean of them"), ("avg_rel_drop", "mean relative drop")):
            cells = [_with_spread(spread[method][task]["summary"][figure]) for method in methods]
            rows.append([f"({title})", *cells, *([""] if "bayes" in first else [])])
        ranks = together["ranks"].get(task)
        if ranks:
            cells = [f"{ranks[method]:.2f}" for method in methods]
            rows.append(["(mean rank)", *cells, *([""] if "bayes" in first else [])])
        columns = ["sensors", *methods, *(["best possible"] if "bayes" in first else [])]
        out.print(table(f"{task}: top-1 accuracy", columns, rows))
    for modality, tasks in together["rate_matrix"].items():
        for task, by_share in tasks.items():
            steps = [f"{rate} %" for rate in next(iter(by_share.values()))]
            rows = [[f"{share} %", *(f"{value:.1f}" for value in curve.values())] for share, curve in by_share.items()]
            title = f"{task}: {modality} missing in so many segments of train (down) and of the test (across)"
            out.print(table(title, ["train", *steps], rows))
    show_robustness(together)


def _recipes(of_methods: Mapping[str, str]) -> str:
    """The recipe that the methods were trained with; where they differ, every method's name says its own."""
    recipes = list(dict.fromkeys(of_methods.values()))
    return f"{recipes[0]} recipe" if len(recipes) == 1 else f"recipes {' and '.join(recipes)}, named with each method"


def show_robustness(together: Mapping[str, Any]) -> None:
    """Print relative and effective robustness of every run, if noise was requested."""
    found = together.get("robustness", {})
    rows, names = [], []
    for kind, tasks in found.items():
        for task, runs in tasks.items():
            for run, figures in runs.items():
                names = [name for name in _ROBUSTNESS if name in figures and (len(runs) > 1 or "normal" not in name)]
                rows.append([run, _KINDS[kind], task, *(f"{figures[name]:.2f}" for name in names)])
    if rows:
        columns = ["run", "noise", "task", *(_ROBUSTNESS[name] for name in names)]
        out.print(table("Robustness to noise", columns, rows, 3))


_ROBUSTNESS = {
    "relative": "relative",
    "relative_normalised": "of the best",
    "effective": "effective",
    "effective_normalised": "of the best",
}


def _ordered(names: Any) -> list[str]:
    return sorted(names, key=lambda name: (-name.count("+"), name))


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _interval(bounds: list[float] | None) -> str:
    return "-" if bounds is None else f"{bounds[0]:.1f} to {bounds[1]:.1f}"


def _with_spread(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return "-"
    return f"{figure['mean']:.1f}" + ("" if figure["std"] is None else f" ± {figure['std']:.1f}")


def _subsets(result: Mapping[str, Any]) -> None:
    """Top-1 of every subset with its interval, and the best possible accuracy if it is known."""
    tasks, best = list(result["summary"]), result.get("bayes")
    columns = ["sensors"]
    for task in tasks:
        columns += [f"{task}\ntop-1", "\n95 % interval", *(["best\npossible"] if best else [])]
    rows = []
    for name in _ordered(result["subsets"]):
        row = [name]
        for task in tasks:
            figures = result["subsets"][name].get(task)
            row += [
                _number(figures and figures["top1"]),
                _interval(result["intervals"][task]["subsets"].get(name)),
                *([_number(best.get(name, {}).get(task))] if best else []),
            ]
        rows.append(row)
    out.print(table("", columns, rows))


def _whole(result: Mapping[str, Any]) -> None:
    full = _ordered(result["subsets"])[0]
    rows = [
        [task, *(_number(result["subsets"][full][task][name]) for name in ("top1", "top5", "class_mean", "ece"))]
        for task in result["summary"]
    ]
    columns = ["task", "top-1", "top-5", "mean over classes", "calibration error"]
    out.print(table("With every sensor", columns, rows))


def _curves(title: str, first: list[str], curves: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    each = [(name, task, curve) for name, tasks in curves.items() for task, curve in tasks.items()]
    steps = sorted({rate for _, _, curve in each for rate in curve}, key=float)  # tasks may begin at rates of their own
    rows = [[name, task, *(_number(curve.get(rate)) for rate in steps)] for name, task, curve in each]
    if rows:
        out.print(table(title, [*first, "task", *(f"{rate} %" for rate in steps)], rows, 2))


def _drops(drops: Mapping[str, Mapping[str, float]]) -> None:
    rows = [[task, *(f"{value:.1f}" for value in curve.values())] for task, curve in drops.items()]
    steps = [f"{drop} %" for drop in next(iter(drops.values()))]
    out.print(table("Each sensor missing with this chance", ["task", *steps], rows))


def _summary(result: Mapping[str, Any]) -> None:
    titles = {
        "avg_acc": "mean accuracy",
        "avg_rel_drop": "mean relative drop",
        "mean_delta": "mean difference to full",
    }
    rows = [
        [task, title, _number(values[name]), _interval(result["intervals"][task].get(name))]
        for task, values in result["summary"].items()
        for name, title in titles.items()
    ]
    out.print(table("Over all subsets", ["task", "", "", "95 % interval"], rows, 2))


def _groups(result: Mapping[str, Any]) -> None:
    full = _ordered(result["subsets"])[0]
    rows = [
        [group, task, figures["n"], _number(figures["subsets"][full])]
        for group, tasks in result["groups"].items()
        for task, figures in tasks.items()
    ]
    if rows:
        out.print(table("Parts of the split, with every sensor", ["part", "task", "segments", "top-1"], rows, 2))


def _zero_shot(result: Mapping[str, Any]) -> None:
    if "zero_shot" not in result:
        return
    found = result["zero_shot"]
    rows = [
        [name, task, _number(value)]
        for name in _ordered(found["subsets"])
        for task, value in found["subsets"][name].items()
    ]
    title = f"Zero-shot: labels were learned from {', '.join(found['trained_on'])} alone"
    out.print(table(title, ["sensors", "task", "top-1"], rows, 2))


def _windows(result: Mapping[str, Any]) -> None:
    found = result.get("windows", {})
    curves = {name: value for name, value in found.items() if not isinstance(value, str)}
    _curves("One sensor missing for so much of each segment", ["missing"], curves)
    for name, reason in found.items():
        if isinstance(reason, str):
            out.print(f"{name} cannot be missing for a part of a segment: {reason}")


def _few_shot(result: Mapping[str, Any]) -> None:
    if "few_shot" not in result:
        return
    found = result["few_shot"]
    accuracy = found["accuracy"]
    names = _ordered(accuracy)
    rows = [[support, *(f"{accuracy[support][query]['mean']:.1f}" for query in names)] for support in names]
    title = (
        f"{found['ways']}-way {found['shots']}-shot on {found['classes']} new {found['task']} classes, "
        f"{found['episodes']} episodes: supports (down) and queries (across) seen through"
    )
    out.print(table(title, ["supports", *names], rows))


def _noise(result: Mapping[str, Any]) -> None:
    for kind, tasks in result.get("noise", {}).items():
        rows = [[task, *(f"{value:.1f}" for value in found["top1"].values())] for task, found in tasks.items()]
        levels = list(next(iter(tasks.values()))["top1"])
        out.print(table(f"{_KINDS[kind]}, by level", ["task", *levels], rows))


def _cost(result: Mapping[str, Any]) -> None:
    if "cost" not in result:
        return
    cost = result["cost"]
    rows = [
        [name, f"{found['flops'] / 1e6:.2f}", f"{found['latency_ms']:.2f}", size(found["peak_memory_bytes"])]
        for name, found in cost["subsets"].items()
    ]
    title = f"Cost of one segment on {cost['device']}: {cost['parameters']:,} parameters"
    out.print(table(title, ["sensors", "MFLOPs", "milliseconds", f"peak memory ({cost['memory_by']})"], rows))
