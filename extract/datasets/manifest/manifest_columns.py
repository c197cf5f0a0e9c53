"""Assign a role to each column of a user's table; other columns are kept, and listed before the start.

column_names.py says which names are taken for which role. Two columns for one role are an error.
"""

import dataclasses
import difflib
import itertools
from collections.abc import Callable, Iterable, Iterator

import pandas as pd

from mmcache.extract.datasets.files.clock import seconds_of
from mmcache.extract.datasets.manifest import column_names as names
from mmcache.extract.datasets.manifest.column_content import (
    are_paths,
    are_spans,
    are_times,
    filled,
    have_digits,
    modalities_of,
    some_exist,
    usual_splits,
)
from mmcache.extract.datasets.manifest.column_names import plain
from mmcache.extract.datasets.manifest.manifest_media import IMAGES
from mmcache.store.ground.errors import Problems
from mmcache.store.segments.segment_table import is_task_name
from mmcache.store.segments.splits import TRAIN


@dataclasses.dataclass
class Columns:
    """Role -> the table's column.

    Attributes:
        unit_s: role -> seconds in a unit of its column.
        labels: task -> column.
        paths, rates: modality -> column.
        extras: name in the store -> column.
        carried: the same in words, with what they may have been meant for.
        notes: what is taken for something else than its name says, and what is carried along.
    """

    id: str | None = None
    video: str | None = None
    start: str | None = None
    stop: str | None = None
    duration: str | None = None
    split: str | None = None
    unit_s: dict[str, float] = dataclasses.field(default_factory=dict)
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    paths: dict[str, str] = dataclasses.field(default_factory=dict)
    rates: dict[str, str] = dataclasses.field(default_factory=dict)
    extras: dict[str, str] = dataclasses.field(default_factory=dict)
    carried: str = ""
    notes: list[str] = dataclasses.field(default_factory=list)

    def used(self) -> dict[str, str]:
        """Column -> its role, of those that are more than carried along."""
        single = {"id": self.id, "video": self.video, "start": self.start, "stop": self.stop, "split": self.split}
        roles = {column: role for role, column in {**single, "duration": self.duration}.items() if column is not None}
        roles |= {column: modality for modality, column in self.paths.items()}
        roles |= {column: f"{modality}_rate" for modality, column in self.rates.items()}
        return roles | {column: f"label {task}" for task, column in self.labels.items()}


def understand(table: pd.DataFrame, exists: Callable[[str], bool], where: str, problems: Problems) -> Columns:
    """The roles of a table's columns.

    Args:
        table: cells as text, '' where empty.
        exists: whether a cell names a file or folder that is there.
        where: the table, for messages.
        problems: gets columns that may be one thing or another.
    """
    return _Names(table, exists, where, problems).columns


class _Names:
    """Finds the columns of one role after another.

    Attributes:
        plain: column -> its name in lower case, words joined by '_'; `joined`: without the '_' too.
    """

    def __init__(self, table: pd.DataFrame, exists: Callable[[str], bool], where: str, problems: Problems) -> None:
        self.table, self.exists, self.where, self.problems = table, exists, where, problems
        self.plain = {column: plain(column) for column in table.columns}
        self.joined = {column: name.replace("_", "") for column, name in self.plain.items()}
        self.columns = Columns()
        self._find_id()
        self._find_paths()
        self._find_rates()
        self._find_times()
        self._find_labels()
        self._find_split()
        self._carry_along()

    def _named(self, name: str) -> str | None:
        """The column of a documented name."""
        return next((column for column, known in self.plain.items() if known == name), None)

    def _free(self) -> list[str]:
        used = self.columns.used()
        return [column for column in self.table.columns if column not in used]

    def _only(self, role: str, found: Iterable[str]) -> str | None:
        """The one column of a role; two are a problem."""
        found = list(found)
        if len(found) > 1:
            self.problems.add(
                f"{self.where}: the columns {' and '.join(found)} could both be the {role}; keep one of them, or "
                "rename the other"
            )
        return found[0] if found else None

    def _find_id(self) -> None:
        near = [column for name in names.IDS if (column := self._named(name)) is not None]
        unique = (column for column in near if self.table[column].is_unique and (self.table[column] != "").all())
        self.columns.id = self._named("id") or next(unique, None)

    def _find_paths(self) -> None:
        for modality in names.MODALITIES:
            alike = {c: match for c, name in self.joined.items() if (match := names.PATH[modality].fullmatch(name))}
            sure = [column for column, match in alike.items() if match["path"] or self.plain[column] == modality]
            found = sure or [column for column in alike if are_paths(self.table[column], self.exists)]
            chosen = self._only(f"path of {modality}", found)
            if chosen is not None:
                self.columns.paths[modality] = chosen
        if not self.columns.paths:
            self._find_any_path()

    def _find_any_path(self) -> None:
        """A column named path, file or similar; the suffixes of its files tell the modality."""
        alike = [column for column, name in self.joined.items() if names.ANY_PATH.fullmatch(name)]
        found = [column for column in alike if are_paths(self.table[column], self.exists)]
        there = [column for column in found if some_exist(self.table[column], self.exists)]
        column = self._only("path", there or found)
        if column is not None:
            kinds = sorted(modalities_of(self.table[column]))
            if len(kinds) > 1:
                self.problems.add(
                    f"{self.where}: column '{column}' names files of {' and '.join(kinds)}; give each modality a path "
                    f"column of its own, named {', '.join(names.MODALITIES)}"
                )
            self.columns.paths[kinds[0]] = column

    def _find_rates(self) -> None:
        images = [modality for modality in IMAGES if modality in self.columns.paths]
        for modality in IMAGES:
            exact = self._named(f"{modality}_rate")
            near = [c for c in self._free() if modality in images and names.RATE[modality].fullmatch(self.joined[c])]
            if images == [modality]:
                near += [column for column in self._free() if names.ANY_RATE.fullmatch(self.joined[column])]
            column = self._only(f"{modality}_rate", [*([exact] if exact else []), *near])
            if column is not None:
                self.columns.rates[modality] = column

    def _find_times(self) -> None:
        found: dict[str, list[str]] = {"start": [], "stop": [], "duration": []}
        units: dict[str, str] = {}
        for column in self._free():
            name = self.joined[column]
            match = names.TIME.fullmatch(name) or names.DURATION.fullmatch(name)
            if match is None or not (name in ("start", "stop") or have_digits(self.table[column])):
                continue
            edge = match.groupdict().get("edge")
            found["duration" if edge is None else "start" if edge in names.STARTS else "stop"].append(column)
            units[column] = match["unit"] or "s"
        if not any("onset" in self.joined[column] for column in found["start"]):
            # Elsewhere an offset may be where a segment starts, or how far a sensor lags behind.
            found["stop"] = [column for column in found["stop"] if "offset" not in self.joined[column]]
        columns = self.columns
        columns.start, columns.stop = self._only("start", found["start"]), self._only("stop", found["stop"])
        if columns.start and not columns.stop:
            columns.duration = self._only("duration", found["duration"])
        for role, chosen in (("start", columns.start), ("stop", columns.stop), ("duration", columns.duration)):
            if chosen is not None:
                columns.unit_s[role] = 1e-3 if units[chosen].startswith("m") else 1.0
        if not (columns.start and (columns.stop or columns.duration)):
            self._refuse_other_times()

    def _refuse_other_times(self) -> None:
        """Columns that seem to hold starts or stops, in an unknown form or under an unknown name."""
        columns = self.columns
        shared = bool(columns.paths) and bool(self.table[[*columns.paths.values()]].duplicated().any())
        spanless = columns.start is None and columns.stop is None
        found, advice = [], ""
        for column in self._free():
            name, cells = self.plain[column], self.table[column]
            frames = names.FRAME.search(self.joined[column]) is not None
            edge = frames or not (names.EDGES | names.UNCLEAR_EDGES).isdisjoint(name.split("_"))
            clock = spanless and names.CLOCK.fullmatch(name) is not None
            edge |= columns.start is not None and names.LENGTH.fullmatch(self.joined[column]) is not None
            if (are_spans(cells) and (edge or clock)) or (are_times(cells) and (edge or (clock and shared))):
                found.append(column)
                advice = " (a frame's number divided by frames a second)" if frames else advice
        if not found and shared and spanless:
            found = next(self._pairs_of_times(), [])
            advice = ", which may be empty: then each row is all of its media" if found else ""
        if found:
            self.problems.add(
                f"{self.where}: {' and '.join(found)} seem{'s' * (len(found) == 1)} to say when segments start or "
                f"stop, but cannot be read: give seconds in columns named start and stop{advice}; or rename what says "
                "something else"
            )

    def _pairs_of_times(self) -> Iterator[list[str]]:
        """Neighbours whose numbers say where rows of shared media lie, whatever they are called.

        The second number is larger in every row, and rows of the same media have different ones.
        """
        free = self._free()
        places = [*self.columns.paths.values()]
        for first, second in itertools.pairwise(self.table.columns):
            if first in free and second in free:
                cells = [self.table[column] for column in (first, second)]
                if all(map(are_times, cells)) and all((column != "").all() for column in cells):
                    start, stop = (column.map(seconds_of) for column in cells)
                    varied = not self.table[[*places, first, second]].duplicated().any()
                    if (start >= 0).all() and (stop > start).all() and varied:
                        yield [first, second]

    def _find_labels(self) -> None:
        labels: dict[str, str] = {}
        near: dict[str, list[str]] = {}
        for column in self._free():
            name = self.plain[column]
            match, alike = names.LABEL.fullmatch(name), names.NEAR_LABEL.fullmatch(name)
            if match is not None:
                task = match["task"] or match["self"] or "label"
                if is_task_name(task):
                    labels[task] = column
                else:
                    self.problems.add(f"{self.where}: '{task}' of column '{column}' cannot name a task")
            elif alike is not None:
                near.setdefault(alike["task"], []).append(column)
        if not labels:
            one_task = [c for task, found in near.items() if task not in names.SIDE_BY_SIDE for c in found]
            for found in (one_task, *(near.get(task, []) for task in names.SIDE_BY_SIDE)):
                chosen = self._only("label", found)
                if chosen is not None:
                    labels[next(task for task, found in near.items() if chosen in found)] = chosen
        self.columns.labels = labels

    def _find_split(self) -> None:
        contents = {column: usual_splits(self.table[column]) for column in self._free()}
        exact = self._named("split")
        near = [
            column for column, (usual, _) in contents.items() if usual and names.SPLIT.fullmatch(self.joined[column])
        ]
        self.columns.split = self._only("split", [*([exact] if exact else []), *near])
        if self.columns.split is None and not near:
            self._refuse_other_splits()
            for column, (usual, alone) in contents.items():
                if alone and TRAIN in usual and len(usual) > 1:
                    words = ", ".join(sorted(filled(self.table[column]).unique()))
                    self.problems.add(
                        f"{self.where}: the column '{column}' holds {words}, but none is named split: rename it to "
                        "split, or add a column split beside it"
                    )

    def _refuse_other_splits(self) -> None:
        """Columns that seem to hold splits, in unknown words."""
        found = []
        for column in self._free():
            name, cells = self.joined[column], filled(self.table[column])
            few = 0 < cells.nunique() <= 2 and not self.exists(str(cells.iloc[0]))
            named = names.SURE_SPLIT.fullmatch(name) or (few and names.SPLIT_FLAG.fullmatch(name))
            if named and len(cells) and not usual_splits(cells)[0]:
                found.append(column)
        if found:
            words = ", ".join(sorted(filled(self.table[found[0]]).unique())[:5])
            self.problems.add(
                f"{self.where}: {' and '.join(found)} seem{'s' * (len(found) == 1)} to say which segments are trained "
                f"on, but cannot be read ({words}): write train, validation or test into a column named split, or "
                "rename what says something else"
            )

    def _carry_along(self) -> None:
        """Everything else, and the notes about all of it."""
        columns = self.columns
        if self._named("video") not in columns.used():
            columns.video = self._named("video")
        for column, role in columns.used().items():
            if role not in (self.plain[column], f"label {self.plain[column].removeprefix('label_')}"):
                unit = " in milliseconds" if columns.unit_s.get(role) == 1e-3 else ""
                columns.notes.append(f"column '{column}' is read as {role}{unit}")
        taken = {*columns.labels, "id", "video", "start_s", "stop_s", "split"}
        carried = []
        for column in self._free():
            name = self.plain[column]
            if name in taken or not is_task_name(name):
                columns.notes.append(f"column '{column}' is not kept: a store has no place for the name '{name}'")
                continue
            columns.extras[name] = column
            taken.add(name)
            stored = f" as {name}" if name != column.lower() else ""
            carried.append(column + stored + self._hint(column))
        columns.carried = ", ".join(carried)
        if carried:
            columns.notes.append(f"carried along: {columns.carried}")

    def _hint(self, column: str) -> str:
        """The role that an unassigned column may have been meant for, or ''."""
        if are_paths(self.table[column], self.exists):
            return f" (its files are not read: media are in columns named {', '.join(names.MODALITIES)})"
        known = ("start", "stop", "split", "label", *names.MODALITIES[:4], *(f"{name}_rate" for name in IMAGES))
        open_roles = [name for name in known if name not in self.columns.used().values()]
        near = difflib.get_close_matches(self.plain[column], open_roles, n=1, cutoff=0.8)
        return f" (did you mean {near[0]}?)" if near else ""
