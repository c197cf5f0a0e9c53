"""Your own clips: one CSV or Parquet table with a row a segment and a path column a modality.

    id        optional; else the line's number
    start     optional, seconds; else the beginning of the media
    stop      optional, seconds; else their end
    split     optional; else all are 'train'
    rgb, flow, audio, imu, depth, ir    the media of a modality (manifest_media.py says what they may be), absolute or
                                        relative to the table's folder; empty = none
    rgb_rate, flow_rate, ...            pictures a second, where the media are folders of numbered pictures
    label, label_<task>      labels, numbers or names; also verb, noun, action, class. Other columns are kept

`classes/<task>.txt` beside the table, one name a line, fixes the classes of a task; else they are the values found.
Without an `audio` column, sound is looked for in the rgb files.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from mmcache.extract.datasets.base import Option, Source
from mmcache.extract.datasets.manifest_media import MEDIA_OPTIONS, PICTURES, MediaSettings, find_media
from mmcache.store.errors import ConfigError, Problems
from mmcache.store.labels import read_labels
from mmcache.store.segments import is_task_name

_NAMES = ("manifest.csv", "manifest.parquet")
_TASK_COLUMNS = ("verb", "noun", "action", "class")
_LABEL = re.compile(r"label(?:_(.+))?")
_USUAL_EVAL_SPLITS = ("test", "validation", "val", "train")


class Manifest:
    """See datasets.base.Dataset.

    Args:
        root: the table, or a folder with manifest.csv or manifest.parquet.
        annotations: the table, where `root` is the folder that paths are relative to.
        media: settings of media: depth, imu_columns, ir_range.

    Raises:
        ConfigError: there is no such table, or it is not of the form above; all faults at once.
    """

    name: ClassVar[str] = "manifest"
    modalities: ClassVar[tuple[str, ...]] = ("rgb", "flow", "audio", "imu", "depth", "ir")
    mirrors: ClassVar[bool] = False  # yours may know left from right
    options: ClassVar[Mapping[str, Option]] = MEDIA_OPTIONS

    def __init__(self, root: Path, annotations: Path | None = None, **media: str) -> None:
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.lost_rows = 0
        self._settings = MediaSettings(**media)
        self._file = _find_table(root, annotations)
        self._folder = root if annotations is not None and root.is_dir() else self._file.parent
        table = _read_table(self._file)
        self._path_columns = [name for name in self.modalities if name in table.columns]
        problems = Problems()
        if not self._path_columns:
            problems.add(
                f"{self._file} has no path column; name one after its modality: {', '.join(self.modalities)}. "
                f"It has {', '.join(table.columns)}"
            )
        rates = {name: _rates(table, f"{name}_rate", self._file, problems) for name in PICTURES}
        spans = {name: _seconds(table, name, default) for name, default in (("start", 0.0), ("stop", np.inf))}
        self.tasks: dict[str, list[str]] = {}
        labels = {}
        for column in table.columns:
            task = _task_of(column)
            if task is not None:
                file = self._file.parent / "classes" / f"{task}.txt"
                self.tasks[task], labels[task] = read_labels(table[column], file, problems)
        problems.raise_if_any()
        known = {"id", "start", "stop", "split", "video", *self._path_columns, *(f"{name}_rate" for name in PICTURES)}
        extras = {c: table[c] for c in table.columns if c not in known and _task_of(c) is None and is_task_name(c)}
        segments = pd.DataFrame(
            {
                "id": table["id"] if "id" in table.columns else [f"line{line}" for line in table.index + 2],
                "video": self._videos(table, rates),
                "start_s": spans["start"],
                "stop_s": spans["stop"],
                "split": table["split"].replace("", "train") if "split" in table.columns else "train",
                **labels,
                **extras,
            }
        )
        self.segments = self._usable(segments)
        splits = set(self.segments["split"])
        self.eval_split = next((s for s in _USUAL_EVAL_SPLITS if s in splits), sorted(splits)[0])

    def source(self, modality: str, video: str) -> Source | None:
        cells, rates = self._media[video]
        cell = cells.get(modality, "")
        if modality == "audio" and "audio" not in self._path_columns:
            cell = cells.get("rgb", "")
            if (self._folder / cell).is_dir():
                return None  # nothing named, or pictures, which have no sound
        return find_media(modality, self._paths(cell), rates.get(modality), self._settings)

    def _paths(self, cell: str) -> tuple[Path, ...]:
        return tuple(self._folder / part.strip() for part in cell.split(";")) if cell else ()

    def expected_layout(self) -> str:
        return (
            f"{self._file} names media in its columns {', '.join(self._path_columns)}; paths are relative to "
            f"{self._folder}, and none of them is there."
        )

    def _videos(self, table: pd.DataFrame, rates: dict[str, list[float | None]]) -> list[str]:
        """A name for every set of media files: rows that share theirs share a video."""
        self._media: dict[str, tuple[dict[str, str], dict[str, float | None]]] = {}
        names: dict[tuple[object, ...], str] = {}
        videos = []
        for number, cells in enumerate(table[self._path_columns].itertuples(index=False, name=None)):
            of_row = {name: rates[name][number] for name in rates}
            key = (cells, tuple(of_row.values()))
            if key not in names:
                given = table["video"].iloc[number] if "video" in table.columns else ""
                stem = given or next((Path(cell.split(";")[0]).stem for cell in cells if cell), "none")
                name, count = stem, 1
                while name in self._media:
                    count += 1
                    name = f"{stem}#{count}"
                names[key] = name
                self._media[name] = dict(zip(self._path_columns, cells, strict=True)), of_row
            videos.append(names[key])
        return videos

    def _whole_folders(self, video: str) -> list[str]:
        """The modalities of a video that are folders without a clock."""
        cells, rates = self._media[video]
        clockless = (name for name in rates if cells.get(name) and rates[name] is None)
        return [name for name in clockless if (self._folder / cells[name]).is_dir()]

    def _usable(self, segments: pd.DataFrame) -> pd.DataFrame:
        """The rows that can be segments; the others go to `problems`."""
        bad_span = ~(segments["stop_s"] > segments["start_s"]) | (segments["start_s"] < 0)
        repeated = segments["id"].duplicated()
        nameless = segments["id"] == ""
        later = segments["start_s"] > 0
        timeless = later & segments["video"].isin(
            [v for v in segments["video"][later].unique() if self._whole_folders(v)]
        )
        reasons = (
            (nameless, "has no id"),
            (repeated & ~nameless, "has the id of an earlier line"),
            (bad_span, "has no span: start and stop must be seconds, and stop later than start"),
            (timeless & ~bad_span, "has a start, but its folder of pictures has no rate (as in a column rgb_rate)"),
        )
        for wrong, reason in reasons:
            for line, segment in zip(segments.index[wrong] + 2, segments["id"][wrong], strict=True):
                self.problems.append(f"{self._file.name} line {line} ({segment or 'no id'}): {reason}")
        usable = segments[~(bad_span | repeated | nameless | timeless)].reset_index(drop=True)
        if not len(usable):
            raise ConfigError(f"{self._file} has no usable line: {'; '.join(self.problems[:3]) or 'it is empty'}")
        return usable


def _find_table(root: Path, annotations: Path | None) -> Path:
    candidates = [annotations] if annotations is not None else [root, *(root / name for name in _NAMES)]
    for path in candidates:
        if path.is_file():
            return path
    if annotations is not None and annotations.is_dir():
        return _find_table(annotations, None)
    looked = ", ".join(str(path) for path in candidates)
    raise ConfigError(
        f"no manifest at {looked}. Give a CSV or Parquet table with --root FILE: a row a segment, a path column a "
        f"modality ({', '.join(Manifest.modalities)}), and optionally id, start, stop, split and label"
    )


def _read_table(path: Path) -> pd.DataFrame:
    """Every cell as text, '' where empty."""
    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
            table = table.astype(object).where(table.notna(), "").map(str)
        else:
            table = pd.read_csv(path, dtype=str, na_filter=False, skip_blank_lines=False)
    except Exception as error:  # pandas and pyarrow raise many kinds here
        raise ConfigError(f"{path} is no readable CSV or Parquet table: {' '.join(str(error).split())}") from error
    table.columns = [str(column).strip().lower() for column in table.columns]
    return table[(table != "").any(axis=1)]


def _seconds(table: pd.DataFrame, column: str, default: float) -> pd.Series:
    """Numbers of a column, the default where it is empty or not there, NaN where it is no number."""
    if column not in table.columns:
        return pd.Series(default, index=table.index)
    text = table[column].str.strip()
    return pd.to_numeric(text.where(text != "", str(default)), errors="coerce")


def _rates(table: pd.DataFrame, column: str, file: Path, problems: Problems) -> list[float | None]:
    """Pictures a second, None where the cell is empty."""
    if column not in table.columns:
        return [None] * len(table)
    text = table[column].str.strip()
    rates = pd.to_numeric(text.where(text != ""), errors="coerce")
    wrong = (text != "") & ~((rates > 0) & np.isfinite(rates))
    if wrong.any():
        problems.add(f"{file}: {column} '{text[wrong].iloc[0]}' is no number of pictures a second ({wrong.sum()} such)")
    return [None if np.isnan(rate) else float(rate) for rate in rates]


def _task_of(column: str) -> str | None:
    """The task whose labels a column holds, or None."""
    match = _LABEL.fullmatch(column)
    task = (match[1] or "label") if match else column if column in _TASK_COLUMNS else None
    return task if task is not None and is_task_name(task) else None
