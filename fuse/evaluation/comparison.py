"""Several runs side by side: ranks of methods, spread over seeds, and the matrix of missing rates."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmcache.fuse.evaluation import curves as protocols
from mmcache.fuse.options.options import flat_saved
from mmcache.fuse.options.shared import PLACES
from mmcache.fuse.runs.config import read_run_config
from mmcache.store.ground.errors import ConfigError

# Options that do not make a run another method; a teacher's folder is another one for every seed.
NOT_A_METHOD = ("seed", *PLACES)
_TRAIN_MISSING = "train_missing"  # modality -> share of the training segments made to lack it


def method_names(runs: list[Path]) -> list[str]:
    """For each run the name of its method: the strategy, told apart by what differs where two share it.

    Where the runs were trained with different recipes, every name says which.
    """
    options = [read_run_config(run)["options"] for run in runs]
    named = [{"strategy": o["strategy"], "recipe": o["recipe"], **flat_saved(o)} for o in options]
    several = len({o["recipe"] for o in options}) > 1
    bare = [{name: value for name, value in o.items() if name not in NOT_A_METHOD} for o in named]
    out = []
    for mine in bare:
        rivals = [o for o in bare if o["strategy"] == mine["strategy"] and o != mine]
        differing = sorted({name for rival in rivals for name in mine if mine[name] != rival.get(name)})
        told = [f"{name}={_short(mine[name])}" for name in differing if name != "recipe"]
        told = [mine["recipe"], *told] if several else told
        out.append(f"{mine['strategy']} ({', '.join(told)})" if told else str(mine["strategy"]))
    return out


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def compare(runs: list[Path], results: list[dict[str, Any]]) -> dict[str, Any]:
    """What several runs come to together.

    Args:
        results: of each run, in the form of `evaluate --json`.

    Returns:
        ranks: task -> method -> rank averaged over subsets, where there are several methods;
        spread: method -> task -> mean and standard deviation over its runs, of every subset and summary;
        recipes: method -> the recipe it was trained with;
        rate_matrix: modality -> task -> rate in training -> rate at test -> percent, where runs of one recipe differ in
            the former.

    Raises:
        ConfigError: the runs report on different splits or segments.
    """
    where = {(result["split"], result["n"]) for result in results}
    if len(where) > 1:
        told = ", ".join(f"{r['run']}: '{r['split']}', {r['n']} segments" for r in results)
        raise ConfigError(f"these runs cannot be compared, for they report on different segments: {told}")
    names = method_names(runs)
    methods: dict[str, list[dict[str, Any]]] = {}
    for name, result in zip(names, results, strict=True):
        methods.setdefault(name, []).append(result)
    tasks = [task for task in results[0]["summary"] if all(task in result["summary"] for result in results)]
    spread = {name: {task: _spread(of, task) for task in tasks} for name, of in methods.items()}
    recipes = {name: read_run_config(run)["options"]["recipe"] for name, run in zip(names, runs, strict=True)}
    out: dict[str, Any] = {"ranks": {}, "spread": spread, "recipes": recipes}
    out["rate_matrix"] = _rate_matrix(runs, results) if len(set(recipes.values())) == 1 else {}
    for task in tasks if len(methods) > 1 else []:
        means = {
            name: {subset: figures["mean"] for subset, figures in by_task[task]["subsets"].items()}
            for name, by_task in spread.items()
        }
        out["ranks"][task] = protocols.average_ranks(means)
    return out


def _spread(results: list[dict[str, Any]], task: str) -> dict[str, Any]:
    shared = set.intersection(*(set(result["subsets"]) for result in results))
    subsets = {
        name: protocols.spread([result["subsets"][name][task]["top1"] for result in results])
        for name in sorted(shared)
        if all(task in result["subsets"][name] for result in results)
    }
    summary = {}
    for figure in results[0]["summary"][task]:
        values = [result["summary"][task][figure] for result in results]
        summary[figure] = None if None in values else protocols.spread(values)
    return {"subsets": subsets, "summary": summary}


def _rate_matrix(runs: list[Path], results: list[dict[str, Any]]) -> dict[str, Any]:
    """Runs that differ in what they missed in training, against what is missing at test (MAP); of one recipe."""
    rates: list[Mapping[str, float]] = [
        read_run_config(run)["options"]["data"].get(_TRAIN_MISSING) or {} for run in runs
    ]
    out: dict[str, Any] = {}
    for modality in sorted({name for missed in rates for name in missed}):
        for missed, result in zip(rates, results, strict=True):
            share = f"{100 * missed.get(modality, 0.0):g}"
            for task, curve in result["rates"].get(modality, {}).items():
                out.setdefault(modality, {}).setdefault(task, {}).setdefault(share, []).append(curve)
    return {
        modality: {
            task: {
                share: {rate: protocols.spread([curve[rate] for curve in curves])["mean"] for rate in curves[0]}
                for share, curves in sorted(by_share.items(), key=lambda pair: float(pair[0]))
            }
            for task, by_share in by_task.items()
        }
        for modality, by_task in out.items()
    }


def robustness(results: list[dict[str, Any]], late_fusion: dict[str, Any] | None) -> dict[str, Any]:
    """Relative and effective robustness of runs whose results have noise curves (methods 1.7: MultiBench).

    Args:
        late_fusion: results of the run that effective robustness is measured against; None leaves it out.

    Returns:
        kind -> task -> run -> relative, effective, and both min-max normalised across the runs.
    """
    out: dict[str, Any] = {}
    for kind, tasks in results[0]["noise"].items():
        for task in tasks:
            curves = {r["run"]: list(r["noise"][kind][task]["top1"].values()) for r in results}
            figures = {"relative": {run: protocols.relative_robustness(curve) for run, curve in curves.items()}}
            if late_fusion is not None:
                reference = list(late_fusion["noise"][kind][task]["top1"].values())
                figures["effective"] = {
                    run: protocols.effective_robustness(curve, reference) for run, curve in curves.items()
                }
            for name in list(figures):
                figures[f"{name}_normalised"] = protocols.min_max(figures[name])
            out.setdefault(kind, {})[task] = {
                run: {name: values[run] for name, values in figures.items()} for run in curves
            }
    return out
