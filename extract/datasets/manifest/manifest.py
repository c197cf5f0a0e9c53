"""Your own clips: a CSV or Parquet table with one row per segment and one path column per modality.

    id        optional; else the line's number
    start     optional, seconds or HH:MM:SS.ss; else the beginning of the media
    stop      optional, the same; else their end
    split     optional, train, validation and test by any usual name; else, and where a cell is empty, 'train'
    rgb, flow, audio, imu, depth, ir    the media of a modality (manifest_media.py says what they may be), absolute or
                                        relative to the table's folder; empty = none. What is named and not there is a
                                        failure
    rgb_rate, flow_rate, ...            images a second, where the media are folders of numbered images
    video     optional: what videos are called; else their first file
    label, label_<task>      labels, numbers or names; also verb, noun, action, class; empty = none
    Other columns are kept as they are.

column_names.py lists the other names that are taken for these. `classes/<task>.txt` beside the table, one name a line,
fixes the classes of a task; else they are the values found. Without a column for audio, it is looked for in the rgb
files. A table without labels is refused, unless the option `labels` says that it has none.
"""

import os
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from mmcache.extract.datasets.base.dataset import Dataset, Option
from mmcache.extract.datasets.files.clock import seconds_of
from mmcache.extract.datasets.files.user_tables import place, read_table
from mmcache.extract.datasets.manifest.column_names import MODALITIES
from mmcache.extract.datasets.manifest.manifest_columns import understand
from mmcache.extract.datasets.manifest.manifest_media import IMAGES, MEDIA_OPTIONS, MediaSettings, find_media
from mmcache.extract.media.base.source import Source, is_there
from mmcache.store.ground.errors import ConfigError, Problems
from mmcache.store.ground.text import excerpt
from mmcache.store.segments.labels import is_missing, read_labels
from mmcache.store.segments.segment_table import UNLABELLED
from mmcache.store.segments.splits import TRAIN, canonical_splits, usual_eval_split

_NAMES = ("manifest.csv", "manifest.parquet")
_NO_LABELS = "none"


class Manifest(Dataset):
    """See Dataset.

    Args:
        root: the table, or a folder with manifest.csv or manifest.parquet.
        annotations: the table, where `root` is the folder that paths are relative to.
        labels: `none` accepts a table without labels.
        media: settings of media: depth, imu_columns, ir_range.

    Raises:
        ConfigError: there is no such table, or it is not of the form above; all faults at once.
    """

    name: ClassVar[str] = "manifest"
    modalities: ClassVar[tuple[str, ...]] = MODALITIES
    mirrors: ClassVar[bool] = False  # your classes may differ in left and right
    options: ClassVar[Mapping[str, Option]] = {
        **MEDIA_OPTIONS,
        "labels": Option("expected", "none: the table has no labels, and that is meant", ("expected", _NO_LABELS)),
    }

    def __init__(self, root: Path, annotations: Path | None = None, *, labels: str = "expected", **media: str) -> None:
        self.problems: list[str] = []
        self._settings = MediaSettings(**media)
        self._file = _find_table(root, annotations)
        self._folder = root if annotations is not None and root.is_dir() else self._file.parent
        table = read_table(self._file)
        problems = Problems()
        columns = self._columns = understand(table, self._is_there, str(self._file), problems)
        self.notes: list[str] = columns.notes
        if not columns.paths:
            problems.add(
                f"{self._file} has no path column; name one after its modality: {', '.join(self.modalities)}. "
                f"It has {', '.join(table.columns)}"
            )
        self._refuse_missing_words(table, problems)
        rates = {name: self._rates(table, name, problems) for name in IMAGES}
        self._number_labels(table, labels, problems)
        split: pd.Series | str = TRAIN
        if columns.split is not None:
            split = canonical_splits(table[columns.split], str(self._file), problems)
        problems.raise_if_any()
        spans, wrong = self._spans(table)
        segments = pd.DataFrame(
            {
                "id": table[columns.id] if columns.id else [f"line{line}" for line in table.index],
                "video": self._videos(table, rates),
                **spans,
                "split": split,
                **self._labels,
                **{name: table[column] for name, column in columns.extras.items()},
            }
        )
        self.segments = self._usable(segments, wrong)
        self.lost_rows = len(self.problems)
        self.eval_split = usual_eval_split(self.segments["split"].unique())
        self._note_the_rest()

    def source(self, modality: str, video: str) -> Source | None:
        cells, rates = self._media[video]
        cell = cells.get(modality, "")
        if modality == "audio" and "audio" not in self._columns.paths:
            cell = cells.get("rgb", "")
            if os.path.isdir(self._path(cell)) or not (Path(cell).suffix or self._is_there(cell)):
                return None  # nothing named, or images, which have no sound
        if not cell:
            return None
        # An IMU may be two files.
        parts = [part.strip() for part in cell.split(";")] if modality == "imu" else [cell]
        paths = tuple(self._path(part) for part in parts)
        return find_media(modality, paths, rates.get(modality), self._settings)

    def expected_layout(self) -> str:
        return (
            f"{self._file} names media in {', '.join(f'column {c}' for c in self._columns.paths.values())}; paths are "
            f"relative to {self._folder}, or to --root FOLDER where the table is given as --annotations FILE."
        )

    def _is_there(self, cell: str) -> bool:
        return is_there(self._path(cell))

    def _path(self, cell: str) -> Path:
        """The file or folder that a cell names, also if its name uses another Unicode composition on disk."""
        path = self._folder / os.path.expanduser(cell)
        if is_there(path):
            return path
        others = (self._folder / unicodedata.normalize(form, str(path)) for form in ("NFC", "NFD"))
        return next(filter(is_there, others), path)

    def _place(self, index: int) -> str:
        return place(self._file, index)

    def _refuse_missing_words(self, table: pd.DataFrame, problems: Problems) -> None:
        """Words such as NaN instead of an empty cell; labels and times are checked where they are read."""
        columns = self._columns
        named = [columns.id, columns.split, *columns.paths.values(), *columns.rates.values()]
        for column in (name for name in named if name is not None):
            wrong = table[column].map(is_missing)
            if wrong.any():
                problems.add(
                    f"column '{column}' has '{table[column][wrong].iloc[0]}' in {self._place(table.index[wrong][0])} "
                    f"({wrong.sum()} such): leave the cell empty where there is nothing"
                )

    def _rates(self, table: pd.DataFrame, modality: str, problems: Problems) -> list[float | None]:
        """Images a second, None where the cell is empty."""
        column = self._columns.rates.get(modality)
        if column is None:
            return [None] * len(table)
        text = table[column]
        rates = pd.to_numeric(text.where(text != ""), errors="coerce")
        wrong = (text != "") & ~((rates > 0) & np.isfinite(rates))
        if wrong.any():
            problems.add(
                f"{self._place(table.index[wrong][0])}: {column} {excerpt(text[wrong].iloc[0])} is no number of "
                f"images a second ({wrong.sum()} such)"
            )
        return [None if np.isnan(rate) else float(rate) for rate in rates]

    def _number_labels(self, table: pd.DataFrame, expected: str, problems: Problems) -> None:
        """Make `tasks` and the columns of labels; a column without any label is no task."""
        self.tasks: dict[str, list[str]] = {}
        self._labels: dict[str, pd.Series] = {}
        described = []
        for task, column in self._columns.labels.items():
            file = self._file.parent / "classes" / f"{task}.txt"
            names, labels = read_labels(table[column], file, problems, self._place)
            bare = int((labels == UNLABELLED).sum())
            if bare < len(labels):
                self.tasks[task], self._labels[task] = names, labels
                without = f"; {bare} of {len(labels)} segments have none" if bare else ""
                described.append(f"{task} ({len(names)} class{'es' * (len(names) != 1)}{without})")
            else:
                self.notes.append(f"column '{column}' has no label in any row")
        if described:
            self.notes.append(f"labels: {', '.join(described)}")
        elif expected != _NO_LABELS and len(table):
            problems.add(
                f"{self._file} has no labels: name their column label, or label_<task> where there are several "
                f"(its other columns: {self._columns.carried or 'none'}). --unlabelled says that there are none on "
                "purpose"
            )

    def _spans(self, table: pd.DataFrame) -> tuple[dict[str, pd.Series], dict[int, str]]:
        """Start and stop of each row in seconds, and the rows without valid times: index -> reason."""
        wrong: dict[int, str] = {}

        def seconds(role: str, column: str | None, default: float) -> pd.Series:
            if column is None:
                return pd.Series(default, index=table.index)
            values = []
            for index, cell in zip(table.index, table[column], strict=True):
                try:
                    values.append(seconds_of(cell, self._columns.unit_s[role]) if cell else default)
                except ValueError as error:
                    wrong.setdefault(index, f"{column} {error}")
                    values.append(default)
            return pd.Series(values, index=table.index, dtype=float)

        start = seconds("start", self._columns.start, 0.0)
        stop = seconds("stop", self._columns.stop, np.inf)
        if self._columns.duration is not None:
            stop = start + seconds("duration", self._columns.duration, np.inf)
        return {"start_s": start, "stop_s": stop}, wrong

    def _note_the_rest(self) -> None:
        """What a table leaves open, and what follows from it."""
        columns, segments = self._columns, self.segments
        if columns.split is None:
            self.notes.append("no column is read as split: all segments are 'train'")
        elif not self.eval_split:
            splits = ", ".join(sorted(segments["split"].unique()))
            self.notes.append(f"which split results are reported on is not plain ({splits}): fuse needs --eval-split")
        if TRAIN not in set(segments["split"]):
            self.notes.append("no segment is in the split 'train', from which `mmcache fuse` learns")
        if columns.start is None and columns.stop is None:
            self.notes.append("no columns are read as start and stop: a segment is all of its media")
        elif columns.stop is None and columns.duration is None:
            self.notes.append("no column is read as stop: segments end where their media do")
        elif columns.start is None:
            self.notes.append("no column is read as start: segments begin where their media do")
        span = ["video", "start_s", "stop_s"]
        same = int(segments.duplicated(span, keep=False).sum())
        if same:
            torn = int((segments.groupby(span)["split"].transform("nunique") > 1).sum())
            across = f"; {torn} of them are in more than one split" if torn else ""
            self.notes.append(
                f"{same} segments have the same media and span as another one, and will have its tokens{across}"
            )

    def _videos(self, table: pd.DataFrame, rates: dict[str, list[float | None]]) -> list[str]:
        """A name for every set of media files: rows that share theirs share a video."""
        self._media: dict[str, tuple[dict[str, str], dict[str, float | None]]] = {}
        names: dict[tuple[object, ...], str] = {}
        videos = []
        paths, named = self._columns.paths, self._columns.video
        for number, cells in enumerate(table[[*paths.values()]].itertuples(index=False, name=None)):
            of_row = {name: rates[name][number] for name in rates}
            key = (cells, tuple(of_row.values()))
            if key not in names:
                given = table[named].iloc[number] if named else ""
                stem = given or next((Path(cell.split(";")[0]).stem for cell in cells if cell), "none")
                name, count = stem, 1
                while name in self._media:
                    count += 1
                    name = f"{stem}#{count}"
                names[key] = name
                self._media[name] = dict(zip(paths, cells, strict=True)), of_row
            videos.append(names[key])
        return videos

    def _whole_folders(self, video: str) -> list[str]:
        """The modalities of a video that are folders without a clock."""
        cells, rates = self._media[video]
        clockless = (name for name in rates if cells.get(name) and rates[name] is None)
        return [name for name in clockless if os.path.isdir(self._path(cells[name]))]

    def _usable(self, segments: pd.DataFrame, wrong: dict[int, str]) -> pd.DataFrame:
        """The rows that can be segments; the others go to `problems`.

        Args:
            wrong: index -> why its times cannot be read.
        """
        reasons = dict(wrong)
        later = segments["start_s"] > 0
        timeless = later & segments["video"].isin(
            [v for v in segments["video"][later].unique() if self._whole_folders(v)]
        )
        for found, reason in (
            (segments["id"] == "", "has no id"),
            (segments["id"].duplicated(), "has the id of an earlier row"),
            (segments["start_s"] < 0, "starts before 0 s"),
            (~(segments["stop_s"] > segments["start_s"]), "stops before it starts, or when it does"),
            (timeless, "has a start, but its folder of images has no rate (as in a column rgb_rate)"),
        ):
            for index in segments.index[found]:
                reasons.setdefault(index, reason)
        for index in sorted(reasons):
            self.problems.append(f"{self._place(index)} ({segments['id'][index][:80] or 'no id'}): {reasons[index]}")
        usable = segments.drop(index=list(reasons)).reset_index(drop=True)
        if not len(usable):
            raise ConfigError(f"{self._file} has no usable row: {'; '.join(self.problems[:3]) or 'it is empty'}")
        return usable


def _find_table(root: Path, annotations: Path | None) -> Path:
    candidates = [annotations] if annotations is not None else [root, *(root / name for name in _NAMES)]
    for path in candidates:
        if path.exists() and not path.is_dir():
            return path
    if annotations is not None and annotations.is_dir():
        return _find_table(annotations, None)
    looked = ", ".join(str(path) for path in candidates)
    raise ConfigError(
        f"no manifest at {looked}. Give a CSV or Parquet table with --root FILE: a row a segment, a path column a "
        f"modality ({', '.join(Manifest.modalities)}), and optionally id, start, stop, split and label"
    )
