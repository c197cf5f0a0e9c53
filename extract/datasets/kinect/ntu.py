"""NTU RGB+D 60 and 120: one sample a segment, known by its name SsssCcccPpppRrrrAaaa.

    <stem>_rgb.avi, <stem>_ir.avi      colour and infrared videos
    <stem>/                            depth: MDepth-%08d.png (masked) or Depth-%08d.png (full), 16-bit millimetres
    <stem>.skeleton                    text
    <stem>_rgb/, <stem>_ir/            extracted frames, as ActionMAE keeps them

S is the setup, C the camera, P the subject, R the replication, A the action. They may lie in any folders below the
root (nturgb+d_rgb/, nturgbd_rgb_s001/nturgb+d_rgb/, ...). Where both are there, videos are preferred to extracted
frames and masked depth to full. Skeletons re-packed as .skeleton.npy are pickles and are not read.

The splits: cross-subject (xsub; this is `split`), cross-view (xview, of 60), cross-setup (xset, of 120). There is no
official validation split.
"""

import re
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from mmcache.extract.datasets.files.folder_walk import walk
from mmcache.extract.datasets.kinect.kinect_dataset import KinectDataset
from mmcache.extract.datasets.kinect.ntu_actions import ACTIONS
from mmcache.extract.media.base.source import Kind, Source
from mmcache.store.files.user_file import read_regular
from mmcache.store.ground.errors import ConfigError

_STEM = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})", re.ASCII)
_STEM_LENGTH = 20
# (what follows the stem, whether it is a folder) -> modality, kind; of two of one modality the upper one is taken
_FORMS: dict[tuple[str, bool], tuple[str, Kind]] = {
    ("_rgb.avi", False): ("rgb", "video"),
    ("_rgb", True): ("rgb", "frames"),
    ("_ir.avi", False): ("ir", "video"),
    ("_ir", True): ("ir", "frames"),
    ("", True): ("depth", "depth"),
    (".skeleton", False): ("skeleton", "ntu_skeleton"),
}
_LEVELS = 6  # of folders below the root
_LISTS = ("NTU_RGBD_samples_with_missing_skeletons.txt", "NTU_RGBD120_samples_with_missing_skeletons.txt")
_LIST_FOLDERS = (".", "annotations", "NTURGB-D/Matlab", "Matlab", "NTURGB-D")
_LIST_HEADER_LINES = 3
_LIST_LIMIT_BYTES = 16 << 20  # the official lists have some kilobytes
_TRAIN_CAMERAS = (2, 3)
# fmt: off
_TRAIN_SUBJECTS = (
    1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38,  # all that NTU RGB+D 60 has
    45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82, 83, 84, 85, 86, 89, 91, 92, 93, 94, 95,
    97, 98, 100, 103,
)
# fmt: on
_ALL_SETUPS = 32


class _Ntu(KinectDataset):
    """See KinectDataset.

    Args:
        root: a folder that has the samples anywhere below it.
        annotations: the folder of the lists of missing skeletons; None looks in `root` and its usual sub-folders.

    Raises:
        ConfigError: there is no sample below `root`.
    """

    name: ClassVar[str]
    modalities: ClassVar[tuple[str, ...]] = ("rgb", "depth", "ir", "skeleton")
    # The largest number of each: setup, camera, subject, replication, action.
    limits: ClassVar[tuple[int, int, int, int, int]]
    own_list: ClassVar[str]

    def __init__(self, root: Path, annotations: Path | None = None, depth: str = "grey") -> None:
        super().__init__(root, annotations, depth)
        self._found = self._find()
        stems = sorted(set().union(*self._found.values()))
        numbers = self._usable(stems)
        self._refuse_empty(numbers, f"sample of {self.name}")
        self.tasks = {"action": list(ACTIONS[: self.limits[4]])}
        self._no_skeleton = self._listed_without_skeleton(annotations)
        table = pd.DataFrame(list(numbers.values()), columns=["setup", "camera", "subject", "replication", "action"])
        self.segments = table.assign(
            id=list(numbers),
            video=list(numbers),
            start_s=0.0,
            stop_s=np.inf,
            action=table["action"] - 1,
            split=lambda t: _train_where(t["subject"].isin(_TRAIN_SUBJECTS)),
            split_xsub=lambda t: t["split"],
            **self._other_split(table),
        )

    def source(self, modality: str, video: str) -> Source | None:
        if modality == "skeleton" and video in self._no_skeleton:
            return None
        found = self._found.get(modality, {}).get(video)
        if found is None:
            return None
        kind, path = found
        return Source(kind, (Path(path),), variant=self._variant(kind))

    def expected_layout(self) -> str:
        return (
            f"Samples are found by name in any folder below {self.root}: S001C001P001R001A001_rgb.avi, ..._ir.avi, "
            "the depth folder S001C001P001R001A001/ and S001C001P001R001A001.skeleton, as the archives of "
            "rose1.ntu.edu.sg/dataset/actionRecognition unpack."
        )

    def _other_split(self, table: pd.DataFrame) -> dict[str, pd.Series]:
        """The column of the split besides xsub."""
        raise NotImplementedError

    def _find(self) -> dict[str, dict[str, tuple[Kind, str]]]:
        """Modality -> stem -> (kind, path)."""
        found: dict[str, dict[str, tuple[Kind, str]]] = {modality: {} for modality in self.modalities}
        ranks = {form: rank for rank, form in enumerate(_FORMS)}
        taken: dict[tuple[str, str], tuple[int, bool]] = {}  # how much each is preferred, less is more
        twice: dict[str, list[str]] = {modality: [] for modality in self.modalities}
        unknown: list[str] = []
        for entry, is_folder in walk(self.root, _LEVELS, _is_sample, self.problems):
            stem = entry.name[:_STEM_LENGTH]
            if not _STEM.fullmatch(stem):
                continue
            form = (entry.name[_STEM_LENGTH:], is_folder)
            if form not in _FORMS:
                unknown.append(entry.name)
                continue
            modality, kind = _FORMS[form]
            rank = (ranks[form], kind == "depth" and "masked" not in entry.path.casefold())
            before = taken.get((modality, stem))
            if before is not None:
                twice[modality].append(stem)
            if before is None or rank < before:
                taken[modality, stem] = rank
                found[modality][stem] = (kind, entry.path)
        for modality, stems in twice.items():
            if stems:
                self.problems.append(f"{modality} lies there twice {len(stems)} times, such as {stems[0]}; one is used")
        if unknown:
            why = ": pickles are not read" if unknown[0].endswith(".npy") else ""
            self.problems.append(f"{len(unknown)} files or folders of no known form, such as {unknown[0]}{why}")
        return found

    def _usable(self, stems: list[str]) -> dict[str, tuple[int, ...]]:
        """Stem -> setup, camera, subject, replication, action, of the samples that belong to this release."""
        usable = {}
        for stem in stems:
            match = _STEM.fullmatch(stem)
            assert match is not None
            numbers = tuple(int(part) for part in match.groups())
            if self.limits[0] < numbers[0] <= _ALL_SETUPS:
                continue  # of the other 60 classes of NTU RGB+D 120
            if all(1 <= number <= limit for number, limit in zip(numbers, self.limits, strict=True)):
                usable[stem] = numbers
            else:
                last = "S{:03d}C{:03d}P{:03d}R{:03d}A{:03d}".format(*self.limits)
                self.problems.append(f"{stem} is no sample of {self.name}, whose numbers go from 1 to those of {last}")
        return usable

    def _listed_without_skeleton(self, annotations: Path | None) -> set[str]:
        """The samples whose skeletons are missing or incomplete, by the lists of the official repository."""
        folders = [annotations] if annotations is not None else [self.root / folder for folder in _LIST_FOLDERS]
        listed: set[str] = set()
        names = []
        for name in _LISTS:
            path = next((folder / name for folder in folders if (folder / name).is_file()), None)
            if path is not None:
                names.append(name)
                listed |= self._read_list(path)
        if self._found["skeleton"] and self.own_list not in names and _LISTS[-1] not in names:
            self.problems.append(
                f"{self.own_list} (of github.com/shahroudy/NTURGB-D) is not in {', '.join(map(str, folders))}: "
                "skeletons that are known to be incomplete are taken as they are"
            )
        return listed

    def _read_list(self, path: Path) -> set[str]:
        try:
            lines = read_regular(path, _LIST_LIMIT_BYTES).decode("utf-8", "replace").splitlines()
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
        stems = set()
        for number, line in enumerate(map(str.strip, lines), 1):
            if _STEM.fullmatch(line):
                stems.add(line)
            elif line and number > _LIST_HEADER_LINES:
                self.problems.append(f"{path.name} line {number}: '{line[:40]}' names no sample")
        return stems


class Ntu60(_Ntu):
    """NTU RGB+D (Shahroudy et al., CVPR 2016): setups 1 to 17. The rest of NTU RGB+D 120 may lie beside it."""

    name: ClassVar[str] = "ntu60"
    limits: ClassVar[tuple[int, int, int, int, int]] = (17, 3, 40, 2, 60)
    own_list: ClassVar[str] = _LISTS[0]

    def _other_split(self, table: pd.DataFrame) -> dict[str, pd.Series]:
        return {"split_xview": _train_where(table["camera"].isin(_TRAIN_CAMERAS))}


class Ntu120(_Ntu):
    """NTU RGB+D 120 (Liu et al., TPAMI 2019), which includes NTU RGB+D."""

    name: ClassVar[str] = "ntu120"
    limits: ClassVar[tuple[int, int, int, int, int]] = (_ALL_SETUPS, 3, 106, 2, 120)
    own_list: ClassVar[str] = _LISTS[1]

    def _other_split(self, table: pd.DataFrame) -> dict[str, pd.Series]:
        return {"split_xset": _train_where(table["setup"] % 2 == 0)}


def _is_sample(name: str) -> bool:
    return _STEM.match(name) is not None


def _train_where(in_train: pd.Series) -> pd.Series:
    return in_train.map({True: "train", False: "test"})
