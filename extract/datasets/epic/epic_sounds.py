"""EPIC-SOUNDS: sound events in the videos of EPIC-KITCHENS-100, 44 classes.

Annotations: github.com/epic-kitchens/epic-sounds-annotations. Media are those of EPIC-KITCHENS-100. There is no class
file: names come from the (class_id, class) pairs of the annotations. Ids look like those of EPIC-KITCHENS, but have
nothing to do with them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pandas as pd

from mmcache.extract.datasets.base.dataset import Dataset, Option
from mmcache.extract.datasets.epic.epic_kitchens import DOWNLOADER_URL, check_ids
from mmcache.extract.datasets.epic.epic_media import EpicMedia
from mmcache.extract.datasets.files.annotation_files import find_annotations, read_csv, refuse_if_all_are_lost
from mmcache.extract.datasets.files.clock import timestamp_s
from mmcache.extract.datasets.files.numbers import class_number
from mmcache.extract.media.base.source import Source
from mmcache.store.ground.errors import ConfigError, Problems
from mmcache.store.ground.text import excerpt
from mmcache.store.segments.segment_table import UNLABELLED

ANNOTATIONS_URL = "https://github.com/epic-kitchens/epic-sounds-annotations"
_CLASSES = 44
_SPLIT_FILES = {
    "train": "EPIC_Sounds_train.csv",
    "validation": "EPIC_Sounds_validation.csv",
    "test": "EPIC_Sounds_recognition_test_timestamps.csv",  # no labels are public
}
_FOLDERS = (".", "annotations", "epic-sounds-annotations")
_SPAN_COLUMNS = ["annotation_id", "participant_id", "video_id", "start_timestamp", "stop_timestamp"]


class EpicSounds(Dataset):
    """See Dataset.

    Args:
        root: the folder of EPIC-KITCHENS-100's media (see epic_media.py).
        annotations: the folder of the CSV files; None looks in `root` and its usual sub-folders.

    Raises:
        ConfigError: folders, files or columns are missing, or class names contradict each other; all at once.
    """

    name: ClassVar[str] = "epic-sounds"
    modalities: ClassVar[tuple[str, ...]] = ("audio", "rgb", "flow", "imu")
    mirrors: ClassVar[bool] = True
    options: ClassVar[Mapping[str, Option]] = {}
    eval_split: str = "validation"

    def __init__(self, root: Path, annotations: Path | None = None) -> None:
        self.root = root
        self._media = EpicMedia(root)
        self.problems: list[str] = []
        self.lost_rows = 0
        needed = [_SPLIT_FILES["train"]]
        folder = find_annotations(root, annotations, _FOLDERS, needed, "EPIC-SOUNDS", ANNOTATIONS_URL, DOWNLOADER_URL)
        problems = Problems()
        files = {}
        for split, name in _SPLIT_FILES.items():
            if (folder / name).exists():
                columns = [*_SPAN_COLUMNS, *(["class", "class_id"] if split != "test" else [])]
                table = read_csv(folder / name, columns, problems)
                if table is not None:
                    files[split] = table
        problems.raise_if_any()
        self.tasks = {"sound": _class_names([files[split] for split in files if split != "test"])}
        tables = [self._read_split(table, split) for split, table in files.items()]
        table = pd.concat(tables, ignore_index=True)
        repeated = table["id"].duplicated()
        self.problems += [
            f"annotation '{segment}' appears twice; the first is used" for segment in table["id"][repeated]
        ]
        order = {split: i for i, split in enumerate(_SPLIT_FILES)}
        table = table[~repeated].assign(_split=lambda t: t["split"].map(order))
        table = table.sort_values(["_split", "video", "start_s", "stop_s", "id"], kind="stable")
        self.segments = table.drop(columns="_split").reset_index(drop=True)

    def source(self, modality: str, video: str) -> Source | None:
        return self._media.source(modality, video)

    def expected_layout(self) -> str:
        return (
            f"Audio is taken from {self.root}/PXX/videos/PXX_YY.MP4, {self.root}/audio/PXX_YY.wav or "
            f"{self.root}/EPIC_audio.hdf5, also below {self.root}/EPIC-KITCHENS."
        )

    def _read_split(self, raw: pd.DataFrame, split: str) -> pd.DataFrame:
        rows: list[dict[str, object]] = []
        before = len(self.problems)
        for line, row in zip(raw.index, raw.to_dict("records"), strict=True):
            try:
                start_s, stop_s = timestamp_s(row["start_timestamp"]), timestamp_s(row["stop_timestamp"])
                check_ids(row["annotation_id"], row["video_id"], "annotation id")
                if stop_s <= start_s:
                    raise ValueError(f"stops at {stop_s} s, not after its start {start_s} s")
                label = class_number(row["class_id"]) if split != "test" else UNLABELLED
                if label is None:
                    raise ValueError(f"class_id {excerpt(row['class_id'])} is no number of a class")
            except ValueError as error:
                self.problems.append(f"{_SPLIT_FILES[split]} line {line} ({row['annotation_id'] or 'no id'}): {error}")
                self.lost_rows += 1
                continue
            rows.append(
                {
                    "id": row["annotation_id"],
                    "video": row["video_id"],
                    "start_s": start_s,
                    "stop_s": stop_s,
                    "split": split,
                    "sound": label,
                    "participant": row["participant_id"],
                    "description": row.get("description", ""),
                }
            )
        refuse_if_all_are_lost(_SPLIT_FILES[split], len(raw), self.problems[before:])
        columns = ["id", "video", "start_s", "stop_s", "split", "sound", "participant", "description"]
        return pd.DataFrame(rows, columns=columns)


def _class_names(tables: list[pd.DataFrame]) -> list[str]:
    """The names of ids 0 to 43; an id that no row has is named by its number."""
    problems = Problems()
    names: dict[int, str] = {}
    pairs = pd.concat(tables)[["class_id", "class"]].drop_duplicates()
    for text, name in pairs.itertuples(index=False):
        label = class_number(text)
        if label is None or label >= _CLASSES:
            problems.add(f"class id '{text}' ({name}) is not one of 0..{_CLASSES - 1}")
        elif names.setdefault(label, name) != name:
            problems.add(f"class {text} is called '{names[label]}' and '{name}'")
    if problems.messages:
        raise ConfigError("EPIC-SOUNDS annotations: " + "; ".join(problems.messages[:5]))
    return [names.get(label, f"class {label}") for label in range(_CLASSES)]
