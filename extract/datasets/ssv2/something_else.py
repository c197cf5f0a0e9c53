"""Something-Else (CVPR 2020): boxes of hands and objects in Something-Something V2 videos, and divisions of these.

github.com/joaanna/something_else. Looked for in ROOT and in each of its folders:

    bounding_box_smthsmth_part1.json ... part4.json    annotated boxes of 180,049 videos; gigabytes
    bounding_box_annotations.json, annotations.json    the same in one file, and the repository's sample
    detected_compositional.json                        detected ones, with scores
    train_dataset.json, val_dataset.json               either, prepared for STLT
    videoid2size.json                                  {video: [width, height]}, where the videos are not at hand
    dataset_splits/{compositional,...}/*.json          the divisions; also below something_else/ or code/

A file is taken for detected boxes where `detect` is in its name or its folder's.
"""

from pathlib import Path
from typing import Any

from mmcache.extract.datasets.files.annotation_files import read_annotation_json
from mmcache.extract.datasets.ssv2.box_index import Extents, find_extents
from mmcache.extract.media.base.source import Source
from mmcache.store.ground.errors import ConfigError

RATE, FIRST = 12.0, 1.0  # frames a second, and the first one's number
_BOX_FILES = (
    *(f"bounding_box_smthsmth_part{part}.json" for part in range(1, 5)),
    "bounding_box_annotations.json",
    "annotations.json",
    "detected_compositional.json",
    "train_dataset.json",
    "val_dataset.json",
)
_SIZES = "videoid2size.json"
_SPLIT_FOLDERS = ("dataset_splits", "code/dataset_splits")
_REPOSITORIES = (".", "something_else", "something-else")
# column -> the folder of its files, and the names of those of train and of validation (releases differ)
SPLITS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "split_compositional": ("compositional", ("train",), ("validation",)),
    "split_compositional_shuffled": ("compositional_shuffled", ("train",), ("validation",)),
    "split_oneobject": ("compositional_oneobject", ("train",), ("validation",)),
    "split_fewshot_base": ("fewshot", ("base_training_set",), ("base_validation_set",)),
    "split_fewshot_5shot": (
        "fewshot",
        ("finetune_5shot_training", "finetune_5shot_train"),
        ("finetune_5shot_validation",),
    ),
    "split_fewshot_10shot": (
        "fewshot",
        ("finetune_10shot_train", "finetune_10shot_training"),
        ("finetune_10shot_validation",),
    ),
}


class ElseBoxes:
    """Finds the boxes of a video.

    Args:
        kind: `annotated`, `detected`, or `auto`: annotated where there are any such files. Never both: boxes of people
            and of a detector are not the same thing.
        problems: where it is said what could not be used; files are looked through when the first video is asked for.
    """

    def __init__(self, root: Path, kind: str, problems: list[str]) -> None:
        self._root, self._kind, self._problems = root, kind, problems
        self._extents: list[tuple[Path, Extents]] | None = None
        self._sizes: Path | None = None

    def source(self, video: str, video_file: Path | None) -> Source | None:
        """The boxes of one video, or None; `video` is the video itself, where it is on disk."""
        if self._extents is None:
            self._extents = self._look()
        for path, extents in self._extents:
            if video in extents:
                others = (other for other in (self._sizes, video_file) if other is not None)
                paths = (path, *others)
                return Source(
                    "else_boxes",
                    paths,
                    rate=RATE,
                    first=FIRST,
                    entry=video,
                    extent=extents[video],
                    variant=self._kind,
                )
        return None

    def _look(self) -> list[tuple[Path, Extents]]:
        inside = self._root.iterdir() if self._root.is_dir() else ()
        folders = [self._root, *sorted(path for path in inside if path.is_dir())]
        self._sizes = next((f / _SIZES for f in folders if (f / _SIZES).is_file()), None)
        files = [folder / name for folder in folders for name in _BOX_FILES if (folder / name).is_file()]
        detected = [path for path in files if "detect" in str(path.relative_to(self._root)).lower()]
        annotated = [path for path in files if path not in detected]
        kind = self._kind if self._kind != "auto" else "annotated" if annotated else "detected"
        chosen = annotated if kind == "annotated" else detected
        self._kind = kind
        return [(path, find_extents(path, self._problems)) for path in chosen]


def read_splits(bases: list[Path], classes: dict[str, str], problems: list[str]) -> dict[str, dict[str, str]]:
    """The divisions whose files are there: column -> video -> `train` or `validation`.

    Args:
        bases: folders to look in.
        classes: video -> the name of its class in Something-Something V2, '' where it has none.
        problems: where it is said what could not be used.
    """
    folders = [b / r / s for b in bases for r in _REPOSITORIES for s in _SPLIT_FOLDERS]
    found: dict[str, dict[str, str]] = {}
    for column, (folder, *names) in SPLITS.items():
        for split, stems in zip(("train", "validation"), names, strict=True):
            candidates = (f / folder / f"{stem}.json" for f in folders for stem in stems)
            path = next((path for path in candidates if path.is_file()), None)
            if path is not None:
                _read_split(path, split, found.setdefault(column, {}), classes, problems)
    return found


def _read_split(path: Path, split: str, divided: dict[str, str], classes: dict[str, str], problems: list[str]) -> None:
    """Put the videos of one file into `divided`, and what is wrong with them into `problems`, a line a reason."""
    where = f"{path.parent.name}/{path.name}"
    try:
        items = read_annotation_json(path)
    except ConfigError as error:
        problems.append(f"{where} is not used: {error}")
        return
    if not isinstance(items, list):
        problems.append(f"{where} is not used: it holds a {type(items).__name__}; the official file holds a list")
        return
    wrong: dict[str, list[str]] = {}
    for item in items:
        video, name = _video_and_class(item)
        if video not in classes:
            wrong.setdefault("are no videos of Something-Something V2; left out", []).append(video or "no id")
        elif divided.get(video, split) != split:
            wrong.setdefault("are in train too; left out of validation", []).append(video)
        else:
            divided[video] = split
            if name and classes[video] and name != classes[video]:
                reason = "have another class than in Something-Something V2, whose class is kept"
                wrong.setdefault(reason, []).append(video)
    problems += [f"{where}: {len(v)} items ({', '.join(v[:3])}) {reason}" for reason, v in wrong.items()]


def _video_and_class(item: Any) -> tuple[str, str]:
    if not isinstance(item, dict):
        return "", ""
    return str(item.get("id", "")), plain(str(item.get("template", "")))


def plain(template: str) -> str:
    """A template as the class files have it: without the brackets, with the words inside them."""
    return template.replace("[", "").replace("]", "").strip()
