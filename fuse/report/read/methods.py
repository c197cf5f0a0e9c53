"""Which runs are seeds of one method, what the method is called, and which methods stand side by side."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmcache.fuse.evaluation.comparison import NOT_A_METHOD
from mmcache.fuse.options.options import flat_saved
from mmcache.fuse.report.read.found import FoundRun, LeftOut
from mmcache.fuse.report.read.possible import Possible, possible, tokens_digest
from mmcache.fuse.runs.config import check_run_config
from mmcache.store.ground.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Method:
    """Runs that differ in their seed alone, in the order of their seeds."""

    label: str
    runs: tuple[FoundRun, ...]

    @property
    def seeds(self) -> list[int]:
        return [int(run.options.get("seed", 0)) for run in self.runs]


@dataclasses.dataclass(frozen=True)
class Section:
    """Methods of one recipe that are evaluated on the same segments through the same modalities.

    Attributes:
        recipe: what all of them were trained with.
        data: what they are evaluated on, the same text for the same segments.
        n: segments that have all of the modalities.
        possible: the best possible accuracies, where the making of the data is known.
    """

    recipe: str
    data: str
    dataset: str
    protocol: str | None
    split: str
    modalities: tuple[str, ...]
    tasks: tuple[str, ...]
    n: int
    possible: Possible | None
    methods: tuple[Method, ...]

    @property
    def title(self) -> str:
        division = f", division {self.protocol}" if self.protocol else ""
        return f"{self.dataset}: {', '.join(self.modalities)} on '{self.split}'{division}, {self.recipe} recipe"

    @property
    def first(self) -> FoundRun:
        return self.methods[0].runs[0]


def sections_of(runs: Iterable[FoundRun]) -> tuple[list[Section], list[LeftOut]]:
    """Group runs by what they are evaluated on, by their recipe and by their methods; repeated ones are left out.

    Sections come in the order in which their first run was given, methods in that of their mean accuracy.
    """
    grouped: dict[tuple[str, str], list[FoundRun]] = {}
    for run in runs:
        grouped.setdefault((_data_key(run), str(run.options["recipe"])), []).append(run)
    sections, left_out = [], []
    for (data, recipe), members in grouped.items():
        methods, repeated = _methods(members)
        left_out += repeated
        first = members[0]
        sections.append(
            Section(
                recipe=recipe,
                data=data,
                dataset=str(first.saved.get("dataset", "unknown data")),
                protocol=first.options.get("protocol"),
                split=first.result["split"],
                modalities=tuple(sorted(first.modalities)),
                tasks=_task_order(first.result["summary"]),
                n=first.result["n"],
                possible=possible(first),
                methods=tuple(methods),
            )
        )
    return sections, left_out


def _task_order(tasks: Iterable[str]) -> tuple[str, ...]:
    """'action' first, where there is one; the others as they are."""
    return tuple(sorted(tasks, key=lambda task: task != "action"))


def _data_key(run: FoundRun) -> str:
    parts = [run.saved.get("dataset"), run.options.get("protocol"), run.result["split"], sorted(run.modalities)]
    return json.dumps([*parts, list(run.result["summary"]), run.segments, dataclasses.astuple(possible(run) or _NONE)])


_NONE = Possible({}, 0.0)


def _methods(runs: list[FoundRun]) -> tuple[list[Method], list[LeftOut]]:
    attributes = [_attributes(run) for run in runs]
    grouped: dict[str, dict[int, FoundRun]] = {}
    told: dict[str, dict[str, Any]] = {}
    repeated = []
    for run, mine in zip(runs, attributes, strict=True):
        key, seed = json.dumps(mine, sort_keys=True, default=str), int(run.options.get("seed", 0))
        same = grouped.setdefault(key, {})
        if seed in same:
            repeated.append(LeftOut(run.path, "repeated", f"options and seed are those of {same[seed].path}"))
        else:
            same[seed], told[key] = run, mine
    out = []
    for key, by_seed in grouped.items():
        rivals = [o for other, o in told.items() if other != key and o["strategy"] == told[key]["strategy"]]
        ordered = tuple(by_seed[seed] for seed in sorted(by_seed))
        out.append(Method(_label(told[key], rivals, ordered[0]), ordered))
    out = _told_apart(out)
    out.sort(key=lambda method: -_mean_accuracy(method))
    return out, repeated


def _told_apart(methods: list[Method]) -> list[Method]:
    """The methods, numbered where a label does not tell them apart, as that of two teachers of one strategy."""
    labels = [method.label for method in methods]
    return [
        method
        if labels.count(label) == 1
        else dataclasses.replace(method, label=f"{label} #{labels[: i + 1].count(label)}")
        for i, (method, label) in enumerate(zip(methods, labels, strict=True))
    ]


def _mean_accuracy(method: Method) -> float:
    """Of the main task, over all subsets and seeds."""
    task = _task_order(method.runs[0].result["summary"])[0]
    return sum(run.result["summary"][task]["avg_acc"] for run in method.runs) / len(method.runs)


def _attributes(run: FoundRun) -> dict[str, Any]:
    """All that makes a method: options short of seed and places, what it was built on, and the tokens it reads."""
    options = {name: value for name, value in run.options.items() if name not in NOT_A_METHOD}
    encoders = {f"encoder of {name}": f"{name}={shape[0]}" for name, shape in sorted(run.modalities.items())}
    shapes = {f"tokens of {name}": shape[1:] for name, shape in run.modalities.items()}
    built_on = {name: _origins(run.options.get(name)) for name in ("teacher", "init_from")}
    made = {**options, **encoders, **shapes, **built_on, "store": tokens_digest(run)}
    return json.loads(json.dumps(made, default=str))  # config.yaml has no tuples


def _origins(given: str | list[str] | None) -> list[Any] | None:
    """The methods of runs named as teachers or as a start, for those that are still there."""
    paths = [Path(path) for path in ([given] if isinstance(given, str) else given or [])]
    out = []
    for path in paths:
        try:
            saved = check_run_config(path)["options"]
        except ConfigError:
            continue
        options = {"strategy": saved["strategy"], "recipe": saved["recipe"], **flat_saved(saved)}
        out.append({name: value for name, value in options.items() if name not in NOT_A_METHOD})
    return out or None


def _label(mine: Mapping[str, Any], rivals: list[dict[str, Any]], run: FoundRun) -> str:
    """The strategy, and what tells it from others of its name."""
    differing = sorted({name for rival in rivals for name in {*mine, *rival} if mine.get(name) != rival.get(name)})
    words = [_told(name, mine[name], run) for name in differing if name in mine and not name.startswith("tokens of ")]
    return " ".join([str(mine["strategy"]), *words])


def _told(name: str, value: Any, run: FoundRun) -> str:
    if name.startswith("encoder of "):
        return str(value)
    if name == "store":
        return f"store={Path(str(run.saved.get('store', 'unknown'))).name}"
    if name in ("teacher", "init_from"):
        return f"{name}={'+'.join(str(options.get('strategy')) for options in value) if value else 'own'}"
    return f"{name}={_short(value)}"


def _short(value: Any) -> str:
    """A value as a flag would have it."""
    if isinstance(value, Mapping):
        return ",".join(f"{key}:{_short(inner)}" for key, inner in value.items()) or "none"
    if isinstance(value, list):
        return ",".join(map(_short, value)) or "none"
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
