"""Find run folders and read what they hold; what cannot be used is kept with its reason."""

import dataclasses
import functools
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mmcache.fuse.data import segment_groups as groups
from mmcache.fuse.data.subsets import NATURAL
from mmcache.fuse.evaluation.evaluate import results, task_names
from mmcache.fuse.options.options import flat_saved
from mmcache.fuse.runs.config import check_run_config
from mmcache.fuse.runs.files import CONFIG_FILE, IDENTITY_FILE, SUBSETS_FILE, SUMMARY_FILE, read_cost
from mmcache.fuse.runs.folder import BUILT_ON_FILE
from mmcache.fuse.runs.subsets_file import read_subsets
from mmcache.store.ground.errors import ConfigError, MmcacheError, Problems
from mmcache.store.ground.lock import holder_of

# The folders of runs that another one was built on, beside its own, see plan.py.
_BUILT_ON = re.compile(r"(?P<run>.+?)-(teacher(-.+)?|start)")


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """A folder that is in no table.

    Attributes:
        kind: unfinished, unreadable, repeated, built on, or no run.
    """

    path: Path
    kind: str
    reason: str


@dataclasses.dataclass(frozen=True)
class FoundRun:
    """A finished run.

    Attributes:
        saved: its config.yaml.
        result: in the form of `evaluate --json`, from its subsets table.
        cost: of summary.json, where it has one.
        segments: a digest of the ids and labels it is evaluated on.
    """

    path: Path
    saved: dict[str, Any]
    result: dict[str, Any]
    cost: dict[str, Any] | None
    segments: str

    @property
    def options(self) -> dict[str, Any]:
        """Option -> value, the strategy and the recipe among them."""
        saved = self.saved["options"]
        return {"strategy": saved["strategy"], "recipe": saved["recipe"], **flat_saved(saved)}

    @property
    def modalities(self) -> dict[str, list[Any]]:
        """Name -> encoder, tokens, width."""
        return self.saved["model"]["modalities"]

    @functools.cached_property
    def pruned(self) -> dict[str, Any] | None:
        """The result without segments whose noun never occurs in train; None where these are not known."""
        try:
            table = groups.prune(pd.read_parquet(self.path / SUBSETS_FILE))
            return results(table, run=str(self.path), split=self.result["split"])
        except ConfigError:
            return None


def find_runs(
    given: Sequence[Path],
    *,
    teachers: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[FoundRun], list[LeftOut]]:
    """Read all runs among and below the folders given.

    Args:
        teachers: also those that other runs were built on, which lie beside them as RUN-teacher and RUN-start, or
            are listed by their sweep.

    Raises:
        ConfigError: a path does not exist, or there is no run that can be read.
    """
    problems = Problems()
    for path in given:
        if not path.exists():
            problems.add(f"{path}: no such folder")
    problems.raise_if_any()
    folders, left_out = _folders(given, teachers)
    runs: list[FoundRun] = []
    for done, folder in enumerate(folders):
        progress(done, len(folders))
        found = _read(folder)
        if isinstance(found, LeftOut):
            left_out.append(found)
        else:
            runs.append(found)
    progress(len(folders), len(folders))
    if not runs:
        told = "\n".join(f"  {out.path}: {out.kind} ({out.reason})" for out in left_out)
        raise ConfigError(
            "there is no finished run to report on. `mmcache fuse` makes one, under runs/ by default; "
            f"a folder of runs may be named too. Looked at:\n{told}"
        )
    return runs, left_out


def _folders(given: Sequence[Path], teachers: bool) -> tuple[list[Path], list[LeftOut]]:
    """The folders of runs, each once, in the order of their names where they are found below one that is given."""
    folders: dict[Path, Path] = {}  # resolved -> as it was named
    left_out = []
    for path in given:
        if not path.is_dir():
            left_out.append(LeftOut(path, "no run", "a file; name the folder of a run, or one above it"))
        elif _is_run(path):
            folders.setdefault(path.resolve(), path)
        else:
            below = list(_below(path))
            if not below:
                left_out.append(LeftOut(path, "no run", "no run in it or below it"))
            for run in below:
                made_for = _made_for(run)
                if made_for and not teachers:
                    left_out.append(LeftOut(run, "built on", f"made for {made_for}; --teachers shows it"))
                else:
                    folders.setdefault(run.resolve(), run)
    return list(folders.values()), [out for out in left_out if out.path.resolve() not in folders]


def _made_for(run: Path) -> str | None:
    """What a run was made for, where it is no result of its own."""
    base = _BUILT_ON.fullmatch(run.name)
    if base and _is_run(run.with_name(base["run"])):
        return base["run"]
    listed = run.resolve().parents[1] / BUILT_ON_FILE
    return (
        "others of the sweep"
        if listed.is_file() and run.name in listed.read_bytes().decode(errors="replace").splitlines()
        else None
    )


def _below(folder: Path) -> Iterator[Path]:
    for here, names, _ in os.walk(folder):
        if _is_run(Path(here)):
            names.clear()
            yield Path(here)
        else:
            names[:] = sorted(name for name in names if not name.startswith(".") and not name.endswith(".zarr"))


def _is_run(folder: Path) -> bool:
    """Finished or not."""
    has = [(folder / name).is_file() for name in (CONFIG_FILE, SUMMARY_FILE, IDENTITY_FILE)]
    return (has[0] and has[1]) or has[2]


def _read(folder: Path) -> FoundRun | LeftOut:
    if not (folder / SUMMARY_FILE).is_file() or not (folder / CONFIG_FILE).is_file():
        holder = holder_of(folder)
        goes_on = "the same `mmcache fuse` command goes on with it"
        return LeftOut(folder, "unfinished", f"process {holder} is training it" if holder is not None else goes_on)
    if not (folder / SUBSETS_FILE).is_file():
        return LeftOut(folder, "unreadable", f"{SUBSETS_FILE} is not in it; `mmcache evaluate` makes it again")
    try:
        saved = check_run_config(folder)
        table = read_subsets(folder / SUBSETS_FILE, saved)
        return FoundRun(
            path=folder,
            saved={**saved, "options": dict(saved["options"]), "model": dict(saved["model"])},
            result=results(table, str(folder), str(saved["eval_split"]), recipe=saved["options"]["recipe"]),
            cost=read_cost(folder / SUMMARY_FILE),
            segments=_digest(table),
        )
    except MmcacheError as error:
        return LeftOut(folder, "unreadable", " ".join(str(error).split()))


def _digest(table: pd.DataFrame) -> str:
    """Of the ids and labels in a subsets table, and of which segments are complete."""
    labels = [f"{task}_label" for task in task_names(table) if f"{task}_label" in table.columns]
    rows = (
        table.assign(incomplete=table["subset"] == NATURAL)[["id", "incomplete", *labels]]
        .drop_duplicates("id")
        .sort_values("id")
    )
    return hashlib.sha256(rows.to_csv(index=False).encode()).hexdigest()
