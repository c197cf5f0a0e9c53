"""MMG-Ego4D: few-shot recognition on clips of Ego4D with video, audio and IMU, base and novel classes.

The paper (Gong et al., CVPR 2023) published no list in a documented form, so this reads any CSV, Parquet or JSON table
of clips; the classes, base and novel, are those it names. Columns, each under the first of these names that is there:

    clip id      clip_id, id, segment_id, annotation_uid; optional, else video and span
    video        video_uid, video_id, video
    start, end   start, start_s, start_sec, start_time, clip_start_sec; end, end_s, end_sec, end_time, stop, stop_s,
                 clip_end_sec; seconds, or HH:MM:SS.ss
    label        label, class, class_name, action, category
    split        split, subset, partition: train, validation, test (by any usual name) or base, novel, or both as in
                 base_train
    class set    class_set, set, class_split, base_novel: base or novel; optional where the split says it

A table with two columns for the video, the start, the end or the split is refused. Other columns are not kept.
Without train, validation or test, base classes are the train split and novel ones the test split. The column class_set
of the segments is base or novel: `fuse` learns and reports the base classes, and few-shot episodes are drawn from the
novel ones. A clip without a label, in split train or unlabelled, is one that modalities are aligned on: it is in the
train split with no class. Media are those of Ego4D (ego4d.py), whole videos: a list of this kind names no clip files.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from mmcache.extract.datasets.base.dataset import Dataset, Option
from mmcache.extract.datasets.ego4d.ego4d_media import VIDEO_FOLDERS, Ego4dMedia, is_uid
from mmcache.extract.datasets.files.clock import seconds_of
from mmcache.extract.datasets.files.user_tables import place, read_table
from mmcache.extract.media.base.source import Source
from mmcache.store.ground.errors import ConfigError, Problems
from mmcache.store.ground.text import excerpt
from mmcache.store.segments.labels import is_missing
from mmcache.store.segments.segment_table import UNLABELLED
from mmcache.store.segments.splits import TEST, TRAIN, VALIDATION, canonical_split, usual_eval_split

_COLUMNS = {
    "id": ("clip_id", "id", "segment_id", "annotation_uid"),
    "video": ("video_uid", "video_id", "video"),
    "start": ("start", "start_s", "start_sec", "start_time", "clip_start_sec"),
    "end": ("end", "end_s", "end_sec", "end_time", "stop", "stop_s", "clip_end_sec"),
    "label": ("label", "class", "class_name", "action", "category"),
    "split": ("split", "subset", "partition"),
    "class_set": ("class_set", "set", "class_split", "base_novel"),
}
_OPTIONAL = ("id", "class_set")
_ONE_ONLY = ("video", "start", "end", "split")  # two columns of these may contradict each other
_NAMES = tuple(f"mmg_ego4d.{suffix}" for suffix in ("csv", "parquet", "json"))
_FOLDERS = (".", "annotations", "v2/annotations", "v1/annotations")
_SPLITS = (TRAIN, VALIDATION, TEST)
_UNLABELLED = ("unlabelled", "unlabeled", "unsupervised", "pretrain", "pretraining")
_SETS = {"base": "base", "seen": "base", "novel": "novel", "unseen": "novel"}
_SPLIT_OF_SET = {"base": TRAIN, "novel": TEST}


class MmgEgo4d(Dataset):
    """See Dataset.

    Args:
        root: the folder that the ego4d command line downloads into (see ego4d.py).
        annotations: the table, or the folder it lies in; None looks for mmg_ego4d.csv (.parquet, .json) in `root`.
        media: which files are read.

    Raises:
        ConfigError: there is no such table, it is not of the form above, or a class is both base and novel.
    """

    name: ClassVar[str] = "mmg-ego4d"
    modalities: ClassVar[tuple[str, ...]] = ("rgb", "audio", "imu")
    mirrors: ClassVar[bool] = True
    options: ClassVar[Mapping[str, Option]] = {
        "media": Option("any", "which files of video and audio are read", ("any", *VIDEO_FOLDERS))
    }

    def __init__(self, root: Path, annotations: Path | None = None, *, media: str = "any") -> None:
        self.problems: list[str] = []
        self._file = _find_table(root, annotations)
        table, self.notes = _read_table(self._file)
        self.lost_rows = 0
        self._media = Ego4dMedia(root, self._file.parent, media, self.problems)
        rows = [row for line, cells in table.items() if (row := self._row(line, cells)) is not None]
        segments = pd.DataFrame(rows)
        if not len(segments):
            raise ConfigError(f"{self._file} has no usable row: {'; '.join(self.problems[:3]) or 'it is empty'}")
        repeated = segments["id"].duplicated()
        self.problems += [f"clip '{clip}' is listed twice; the first is used" for clip in segments["id"][repeated]]
        segments = segments[~repeated]
        names = self._classes(segments)
        numbers = {name: label for label, name in enumerate(names)} | {"": UNLABELLED}
        labels = segments["label"].map(numbers)
        self.tasks = {"action": names}
        segments = segments.assign(action=labels).drop(columns="label")
        self.segments = segments.sort_values(["split", "video", "start_s", "id"], kind="stable", ignore_index=True)
        self.eval_split = usual_eval_split(self.segments["split"].unique())

    def source(self, modality: str, video: str) -> Source | None:
        return self._media.source(modality, video)

    def expected_layout(self) -> str:
        return self._media.expected_layout()

    def _row(self, line: str, cells: dict[str, str]) -> dict[str, Any] | None:
        """One segment, its label still a name; None and a problem where it cannot be used."""
        video = cells["video"]
        facts = self._media.facts(video)
        where = f"{line} ({cells.get('id', '')[:80] or 'no id'})"
        if facts.is_stereo:
            self.problems.append(f"{where}: video {video} is stereo, two frames side by side")
            return None
        try:
            if not is_uid(video):
                raise ValueError(f"video {excerpt(video)} is no uid")
            start_s, stop_s = _seconds(cells, "start"), _seconds(cells, "end")
            end_s = math.inf if facts.duration_s is None else facts.duration_s
            if not 0 <= start_s < stop_s or start_s >= end_s:
                raise ValueError(f"{start_s:g} to {stop_s:g} s is no span of its video")
            if cells["label"] and is_missing(cells["label"]):
                raise ValueError(f"it has no label, but '{cells['label']}'")
            split, class_set = _split_and_set(cells["split"], cells.get("class_set", ""), bool(cells["label"]))
        except ValueError as error:
            self.problems.append(f"{where}: {error}")
            self.lost_rows += 1
            return None
        return {
            "id": cells.get("id") or f"{video}_{start_s:.12g}_{stop_s:.12g}",
            "video": video,
            "start_s": start_s,
            "stop_s": min(stop_s, end_s),
            "split": split,
            "label": cells["label"],
            "class_set": class_set,
        }

    def _classes(self, segments: pd.DataFrame) -> list[str]:
        """Base classes, then novel ones, each sorted."""
        labelled = segments[segments["label"] != ""]
        if labelled.empty:
            raise ConfigError(f"{self._file}: none of its {len(segments)} clips has a label")
        sets = labelled.groupby("label")["class_set"].agg(lambda of: sorted(set(of)))
        both = [name for name, found in sets.items() if len(found) > 1]
        if both:
            raise ConfigError(f"{self._file}: classes that are both base and novel: {', '.join(map(str, both[:5]))}")
        return [
            str(name) for kind in ("base", "novel") for name in sorted(sets.index, key=_natural) if sets[name] == [kind]
        ]


def _find_table(root: Path, annotations: Path | None) -> Path:
    if annotations is not None and annotations.is_file():
        return annotations
    folders = [annotations] if annotations is not None else [root / folder for folder in _FOLDERS]
    for path in (folder / name for folder in folders for name in _NAMES):
        if path.is_file():
            return path
    raise ConfigError(
        f"no {', '.join(_NAMES[:-1])} or {_NAMES[-1]} in {', '.join(map(str, folders))}. Give the list of clips "
        "(clip id, video_uid, start, end, label, split) with --annotations FILE; there is no official one to download"
    )


def _read_table(path: Path) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Where a row is -> meaning -> cell, '' where empty; and how the columns were understood.

    Raises:
        ConfigError: columns are missing, or two are for one meaning.
    """
    table = read_table(path)
    table.columns = table.columns.str.lower()
    problems = Problems()
    found = {meaning: [name for name in names if name in table.columns] for meaning, names in _COLUMNS.items()}
    for meaning, names in found.items():
        if len(names) > 1 and meaning in _ONE_ONLY:
            problems.add(f"{path} has {len(names)} columns of the {meaning}: {', '.join(names)}; keep one of them")
        if not names and meaning not in _OPTIONAL:
            problems.add(
                f"{path} has no column of the {meaning}: name it {', '.join(_COLUMNS[meaning])}. "
                f"It has {', '.join(table.columns)}"
            )
    problems.raise_if_any()
    chosen = {meaning: names[0] for meaning, names in found.items() if names}
    notes = [f"column '{name}' is read as the {meaning}" for meaning, name in chosen.items() if name != meaning]
    others = [name for name in table.columns if name not in chosen.values()]
    if others:
        notes.append(f"columns that are not read: {', '.join(others)}")
    rows = {
        place(path, index): {meaning: cells[name] for meaning, name in chosen.items()}
        for index, cells in zip(table.index.tolist(), table.to_dict("records"), strict=True)
    }
    return rows, notes


def _split_and_set(split: str, class_set: str, labelled: bool) -> tuple[str, str]:
    """(train, validation or test; base or novel) of what the two cells say together; (train, '') without a label."""
    words = [word for word in re.split(r"[^a-z]+", f"{split} {class_set}".lower()) if word]
    if not labelled:
        if any(word not in _UNLABELLED and canonical_split(word) != TRAIN for word in words):
            raise ValueError("it has no label, and only clips in split train or unlabelled may lack one")
        return TRAIN, ""
    unknown = [word for word in words if canonical_split(word) not in _SPLITS and word not in _SETS]
    splits = {canonical_split(word) for word in words if word not in _SETS}
    sets = {_SETS[word] for word in words if word in _SETS}
    if unknown or len(splits) > 1 or len(sets) != 1:
        said = f"split {excerpt(split)}" + (f", class set {excerpt(class_set)}" if class_set else "")
        raise ValueError(f"{said}: expected base or novel, and train, validation or test where they are told apart")
    (kind,) = sets
    return next(iter(splits), _SPLIT_OF_SET[kind]), kind


def _seconds(cells: dict[str, str], meaning: str) -> float:
    try:
        return seconds_of(cells[meaning])
    except ValueError as error:
        raise ValueError(f"{meaning} {error}") from error


def _natural(name: object) -> tuple[int, float, str]:
    """Numbers by value before names by alphabet."""
    text = str(name)
    return (0, float(text), text) if text.isascii() and text.isdigit() else (1, 0.0, text)
