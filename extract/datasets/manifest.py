"""Your own clips: one CSV or Parquet table with a row a segment and a path column a modality.

    id        optional; else the line's number
    start     optional, seconds; else the beginning of the media
    stop      optional, seconds; else their end
    split     optional; else all are 'train'
    rgb, audio, imu, ...     the media of a modality, absolute or relative to the table's folder; empty = none
    label, label_<task>      labels, numbers or names; also verb, noun, action, class. Other columns are kept

`classes/<task>.txt` beside the table, one name a line, fixes the classes of a task; else they are the values found.
An `imu` cell names the accelerometer's CSV and the gyroscope's, with a ';' between, in the form of GoPro's extraction
tool. Without an `audio` column, sound is looked for in the rgb files.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from mmcache.extract.datasets.base import Option, Source
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

    Raises:
        ConfigError: there is no such table, or it is not of the form above; all faults at once.
    """

    name: ClassVar[str] = "manifest"
    modalities: ClassVar[tuple[str, ...]] = ("rgb", "audio", "imu")
    options: ClassVar[Mapping[str, Option]] = {}

    def __init__(self, root: Path, annotations: Path | None = None) -> None:
        self.problems: list[str] = []
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
        spans = {name: _seconds(table, name, default) for name, default in (("start", 0.0), ("stop", np.inf))}
        self.tasks: dict[str, list[str]] = {}
        labels = {}
        for column in table.columns:
            task = _task_of(column)
            if task is not None:
                file = self._file.parent / "classes" / f"{task}.txt"
                self.tasks[task], labels[task] = read_labels(table[column], file, problems)
        problems.raise_if_any()
        known = {"id", "start", "stop", "split", "video", *self._path_columns}
        extras = {c: table[c] for c in table.columns if c not in known and _task_of(c) is None and is_task_name(c)}
        segments = pd.DataFrame(
            {
                "id": table["id"] if "id" in table.columns else [f"line{line}" for line in table.index + 2],
                "video": self._videos(table),
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
        cell = self._media[video].get(modality, "")
        if not cell and modality == "audio" and "audio" not in self._path_columns:
            cell = self._media[video].get("rgb", "")
        if not cell:
            return None
        paths = tuple(self._folder / part.strip() for part in cell.split(";"))
        if not any(path.exists() for path in paths):
            return None
        if modality == "imu":
            return Source("imu", paths)
        return Source("video" if modality == "rgb" else "audio", paths[:1])

    def expected_layout(self) -> str:
        return (
            f"{self._file} names media in its columns {', '.join(self._path_columns)}; paths are relative to "
            f"{self._folder}, and none of them is there."
        )

    def _videos(self, table: pd.DataFrame) -> list[str]:
        """A name for every set of media files: rows that share theirs share a video."""
        self._media: dict[str, dict[str, str]] = {}
        names: dict[tuple[str, ...], str] = {}
        videos = []
        for number, row in enumerate(table[self._path_columns].itertuples(index=False, name=None)):
            if row not in names:
                given = table["video"].iloc[number] if "video" in table.columns else ""
                stem = given or next((Path(cell.split(";")[0]).stem for cell in row if cell), "none")
                name, count = stem, 1
                while name in self._media:
                    count += 1
                    name = f"{stem}#{count}"
                names[row] = name
                self._media[name] = dict(zip(self._path_columns, row, strict=True))
            videos.append(names[row])
        return videos

    def _usable(self, segments: pd.DataFrame) -> pd.DataFrame:
        """The rows that can be segments; the others go to `problems`."""
        bad_span = ~(segments["stop_s"] > segments["start_s"]) | (segments["start_s"] < 0)
        repeated = segments["id"].duplicated()
        nameless = segments["id"] == ""
        reasons = (
            (nameless, "has no id"),
            (repeated & ~nameless, "has the id of an earlier line"),
            (bad_span, "has no span: start and stop must be seconds, and stop later than start"),
        )
        for wrong, reason in reasons:
            for line, segment in zip(segments.index[wrong] + 2, segments["id"][wrong], strict=True):
                self.problems.append(f"{self._file.name} line {line} ({segment or 'no id'}): {reason}")
        usable = segments[~(bad_span | repeated | nameless)].reset_index(drop=True)
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
        "modality (rgb, audio, imu), and optionally id, start, stop, split and label"
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


def _task_of(column: str) -> str | None:
    """The task whose labels a column holds, or None."""
    match = _LABEL.fullmatch(column)
    task = (match[1] or "label") if match else column if column in _TASK_COLUMNS else None
    return task if task is not None and is_task_name(task) else None
