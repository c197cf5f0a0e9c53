"""Something-Something V2: one video a segment, 174 classes; with Something-Else, boxes and other divisions.

    <root>/20bn-something-something-v2/<id>.webm        or videos/, or <root> itself
    something-something-v2-{labels,train,validation,test}.json, or labels/{labels,train,validation,test}.json
    labels/test-answers.csv                             optional: "id;template", which makes test scorable
    dataset.hdf5, flow.hdf5                             frames packed into HDF5 (packed.py): file[id][n], or a group
    bounding_box_smthsmth_part1.json ...                boxes (something_else.py)

Ids are strings. A template with its brackets removed is the class name; placeholders other than [something] keep their
words. There is no sound. Packed flow is one frame of three channels a moment, and is taken as it is.

The divisions of Something-Else become columns `split_compositional`, `split_fewshot_base` ... of the segments, ''
where a video is not in them. Labels stay those of Something-Something V2, by class name: the numbers in
Something-Else's own labels.json are in another order.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from mmcache.extract.datasets.base.dataset import Dataset, Option
from mmcache.extract.datasets.files.annotation_files import read_annotation_json
from mmcache.extract.datasets.files.numbers import whole_number
from mmcache.extract.datasets.files.packed_media import LAYOUT, PackedMedia
from mmcache.extract.datasets.ssv2.something_else import ElseBoxes, plain, read_splits
from mmcache.extract.media.base.source import Source
from mmcache.store.files.user_file import read_regular
from mmcache.store.ground.errors import ConfigError
from mmcache.store.ground.text import excerpt
from mmcache.store.segments.segment_table import UNLABELLED

_SPLITS = ("train", "validation", "test")
_LIMIT_BYTES = 256 << 20  # of test-answers.csv; the official one has 2 MB
_FOLDERS = (".", "labels", "annotations")
_NAMES = ("something-something-v2-{}.json", "{}.json")
_MEDIA_FOLDERS = ("20bn-something-something-v2", "videos", ".")


class SomethingSomethingV2(Dataset):
    """See Dataset.

    Raises:
        ConfigError: the label files are missing or not of the official form.
    """

    name: ClassVar[str] = "ssv2"
    modalities: ClassVar[tuple[str, ...]] = ("rgb", "flow", "boxes")
    mirrors: ClassVar[bool] = False  # classes differ in left and right
    options: ClassVar[Mapping[str, Option]] = {
        "boxes": Option(
            "auto", "whose boxes; auto: annotated where there are any", allowed=("auto", "annotated", "detected")
        )
    }
    eval_split: str = "validation"

    def __init__(self, root: Path, annotations: Path | None = None, boxes: str = "auto") -> None:
        self.root = root
        self.problems: list[str] = []
        self.lost_rows = 0
        self._boxes = ElseBoxes(root, boxes, self.problems)
        folders = [annotations] if annotations is not None else [root / folder for folder in _FOLDERS]
        files = {kind: _find(folders, kind) for kind in ("labels", *_SPLITS)}
        lacking = [kind for kind in ("labels", "train") if files[kind] is None]
        if lacking:
            raise ConfigError(
                f"no {' and no '.join(_NAMES[0].format(kind) for kind in lacking)} (or {lacking[0]}.json) in "
                f"{', '.join(map(str, folders))}. They come with the Something-Something V2 download; "
                "say where they are with --annotations DIR"
            )
        names, labels = _read_classes(files["labels"])  # type: ignore[arg-type]
        self.tasks = {"action": names}
        answers = _read_answers(folders, labels, self.problems)
        tables = []
        for split in _SPLITS:
            path = files[split]
            if path is not None:
                tables.append(self._read_split(path, split, labels, answers))
        table = pd.concat(tables, ignore_index=True)
        repeated = table["id"].duplicated()
        self.problems += [f"video {video} is listed twice; the first is used" for video in table["id"][repeated]]
        table = table[~repeated].reset_index(drop=True)
        known = zip(table["id"], table["action"], strict=True)
        classes = {video: names[label] if label >= 0 else "" for video, label in known}
        bases = [root, *([annotations] if annotations is not None else [])]
        divisions = read_splits(bases, classes, self.problems)
        ids = table["id"].tolist()
        columns = {column: [videos.get(video, "") for video in ids] for column, videos in divisions.items()}
        self.segments = table.assign(**columns)

    @functools.cached_property
    def _packed(self) -> PackedMedia:
        return PackedMedia(self.root)

    def source(self, modality: str, video: str) -> Source | None:
        if not video.isdigit():
            return None
        video_files = (self.root / folder / f"{video}.webm" for folder in _MEDIA_FOLDERS)
        video_file = (
            next((path for path in video_files if path.exists()), None) if modality in ("rgb", "boxes") else None
        )
        if modality == "boxes":
            return self._boxes.source(video, video_file)
        if video_file is not None:
            return Source("video", (video_file,))
        packed = self._packed.file(modality, video) if modality in ("rgb", "flow") else None
        return None if packed is None else Source("hdf5_frames", (packed,), entry=video)

    def expected_layout(self) -> str:
        return (
            f"Videos are looked for as {self.root}/20bn-something-something-v2/<id>.webm, in videos/, and in the root; "
            f"packed frames and flow as {LAYOUT.format(root=self.root)}; boxes as "
            f"{self.root}/bounding_box_smthsmth_part1.json to part4.json or detected_compositional.json, also in its "
            "folders."
        )

    def _read_split(self, path: Path, split: str, labels: dict[str, int], answers: dict[str, int]) -> pd.DataFrame:
        rows: list[dict[str, Any]] = []
        for number, item in enumerate(_read_json(path, list)):
            video = str(item.get("id", "")) if isinstance(item, dict) else ""
            name = plain(str(item.get("template", ""))) if video else ""
            if whole_number(video) is None:
                self.problems.append(f"{path.name} item {number}: it has no number of a video")
                self.lost_rows += 1
                continue
            if split != "test" and name not in labels:
                self.problems.append(f"{path.name} item {number} (video {video}): {excerpt(name)} is no class")
                self.lost_rows += 1
                continue
            label = labels[name] if split != "test" else answers.get(video, UNLABELLED)
            rows.append({"id": video, "split": split, "action": label, "narration": str(item.get("label", ""))})
        table = pd.DataFrame(rows, columns=["id", "split", "action", "narration"])
        return table.assign(video=table["id"], start_s=0.0, stop_s=np.inf)


def _find(folders: list[Path], kind: str) -> Path | None:
    paths = (folder / name.format(kind) for folder in folders for name in _NAMES)
    return next((path for path in paths if path.is_file()), None)


def _read_json(path: Path, kind: type) -> Any:
    found = read_annotation_json(path)
    if not isinstance(found, kind):
        raise ConfigError(f"{path} holds a {type(found).__name__}; the official file holds a {kind.__name__}")
    return found


def _read_classes(path: Path) -> tuple[list[str], dict[str, int]]:
    """Class names by id, and name -> id."""
    found = _read_json(path, dict)
    if not found or sorted(map(str, found.values()), key=lambda v: (len(v), v)) != [str(i) for i in range(len(found))]:
        raise ConfigError(f'{path}: ids must be "0", "1", ... without gaps')
    labels = {name: int(value) for name, value in found.items()}
    return sorted(labels, key=lambda name: labels[name]), labels


def _read_answers(folders: list[Path], labels: dict[str, int], problems: list[str]) -> dict[str, int]:
    """Video -> label of the test split, where the user has them: lines "id;template", without a header.

    Lines of another form go to `problems`. Raises ConfigError when the file is no text.
    """
    path = next((p for p in (folder / "test-answers.csv" for folder in folders) if p.exists()), None)
    if path is None:
        return {}
    try:
        text = read_regular(path, _LIMIT_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"{path} cannot be read: {reason}") from error
    answers: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        video, _, name = (part.strip() for part in line.partition(";"))
        label = labels.get(plain(name))
        if whole_number(video) is None or label is None:
            if line.strip():
                problems.append(f"{path.name} line {number}: {excerpt(line)} is not a video's number, ';' and a class")
        elif answers.setdefault(video, label) != label:
            problems.append(f"{path.name} line {number}: video {video} has another class on an earlier line")
    return answers
