"""UWA3D Multiview Activity II (Rahmani et al., TPAMI 2016): one take a segment, 30 actions seen from 4 sides.

    .../UWA3D-RGB/aAA_sSS_vVV_eEE/001,.jpg            with that comma
    .../UWA3D-Depth/aAA_sSS_vVV_eEE/001.png           or WholeFrames/
    .../ActionsSkeleton/aAA_sSS_eEE_vVV.mat           e before v

in any folders below the root, of which one must say RGB, Depth or WholeFrames. Views are 1 front, 2 left, 3 right,
4 top. The take number e differs between the modalities of one take in some copies, so what has the same action,
subject and view is paired in the order of e. Of colour and depth the frames are used whose numbers both have.

Train and test are other views. `split` is ActionMAE's: train on 3 and 4, test on 1 and 2; the takes it leaves out are
'excluded'. `split_v12_v3` trains on 1 and 2 and tests on 3, and so on for every pair of views and each of the two
others; further ones that were published stand in the table below. Actions have numbers and no names in the release.
"""

import itertools
import re
from collections import defaultdict
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from mmcache.extract.datasets.files.folder_walk import walk
from mmcache.extract.datasets.kinect.kinect_dataset import KinectDataset
from mmcache.extract.media.base.source import Kind, Source

_ACTIONS, _VIEWS = 30, (1, 2, 3, 4)
_FRAMES = re.compile(r"a(?P<a>\d+)_s(?P<s>\d+)_v(?P<v>\d+)_e(?P<e>\d+)", re.ASCII)
_SKELETON = re.compile(r"a(?P<a>\d+)_s(?P<s>\d+)_e(?P<e>\d+)_v(?P<v>\d+)\.mat", re.ASCII)
_LEVELS = 6  # of folders below the root
# a word in a folder's name -> the modality of its content
_FOLDERS = {"depth": "depth", "wholeframes": "depth", "rgb": "rgb"}
_KINDS: dict[str, Kind] = {"rgb": "frames", "depth": "depth", "skeleton": "mat_skeleton"}
_BAD_SKELETONS = ("a25_s01_e01_v01.mat", "a26_s01_e01_v01.mat")

# protocol -> views to train on, views to test on
_PROTOCOLS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    f"v{a}{b}_v{test}": ((a, b), (test,))
    for a, b in itertools.combinations(_VIEWS, 2)
    for test in _VIEWS
    if test not in (a, b)
} | {
    "v34_v12": ((3, 4), (1, 2)),  # ActionMAE (Woo et al., AAAI 2023)
    "v12_v34": ((1, 2), (3, 4)),
    "v123_v4": ((1, 2, 3), (4,)),
}
_DEFAULT = "v34_v12"
# What ActionMAE leaves out: colour without depth, or depth without colour.
_EXCLUDED = ("a21_s02_v04_e01", "a06_s06_v04_e01", "a02_s06_v03_e01", "a07_s02_v02_e01", "a16_s06_v02_e01")

_Take = tuple[int, int, int]  # action, subject, view


class Uwa3d(KinectDataset):
    """See KinectDataset.

    Args:
        root: a folder that has the takes anywhere below it.

    Raises:
        ConfigError: there is no take below `root`.
    """

    name: ClassVar[str] = "uwa3d"

    def __init__(self, root: Path, annotations: Path | None = None, depth: str = "grey") -> None:
        super().__init__(root, annotations, depth)
        self.tasks = {"action": [f"a{number:02d}" for number in range(1, _ACTIONS + 1)]}
        self._media: dict[str, dict[str, Path]] = {}  # id -> modality -> path
        rows = []
        found = self._find()
        for take in sorted(found):
            for number, media in _pair(found[take]):
                action, subject, view = take
                segment = f"a{action:02d}_s{subject:02d}_v{view:02d}_e{number:02d}"
                self._media[segment] = media
                rows.append(
                    {
                        "id": segment,
                        "action": action - 1,
                        "subject": subject,
                        "view": view,
                        "take": number,
                        "excluded": any(path.name in _EXCLUDED for path in media.values()),
                    }
                )
        self._refuse_empty(rows, "take of UWA3D")
        self._tell_unmatched()
        self.segments = _with_splits(pd.DataFrame(rows))

    def source(self, modality: str, video: str) -> Source | None:
        media = self._media.get(video, {})
        if modality not in media:
            return None
        others = {"rgb": "depth", "depth": "rgb"}
        beside = tuple((media[other], "") for other in [others.get(modality)] if other in media)
        kind = _KINDS[modality]
        return Source(kind, (media[modality],), variant=self._variant(kind), beside=beside)

    def expected_layout(self) -> str:
        return (
            f"Takes are found by name below {self.root}: UWA3D-RGB/a01_s01_v01_e01/, UWA3D-Depth/a01_s01_v01_e01/ "
            "and ActionsSkeleton/a01_s01_e01_v01.mat."
        )

    def _find(self) -> dict[_Take, dict[str, dict[int, Path]]]:
        """Take -> modality -> e -> path."""
        found: dict[_Take, dict[str, dict[int, Path]]] = defaultdict(lambda: defaultdict(dict))
        entries = walk(self.root, _LEVELS, lambda name: _FRAMES.fullmatch(name) is not None, self.problems)
        for entry, is_folder in entries:
            path = Path(entry.path)
            shown = path.relative_to(self.root)
            match, modality = _SKELETON.fullmatch(entry.name), "skeleton"
            if match is None:
                match = _FRAMES.fullmatch(entry.name)
                if match is None or not is_folder:
                    continue
                modality = _modality_of(shown.parent)
                if not modality:
                    self.problems.append(f"{shown}: no folder above it says RGB, Depth or WholeFrames")
                    continue
            action, subject, view, number = (int(match[field]) for field in "asve")
            if not 1 <= action <= _ACTIONS or view not in _VIEWS:
                self.problems.append(f"{shown}: actions go from 1 to {_ACTIONS}, views from 1 to {len(_VIEWS)}")
            elif entry.name in _BAD_SKELETONS:
                self.problems.append(f"{shown} is known to be damaged and left out")
            else:
                takes = found[action, subject, view][modality]
                if number in takes:
                    takes[number] = self._preferred(takes[number], path)
                else:
                    takes[number] = path
        return found

    def _preferred(self, one: Path, other: Path) -> Path:
        """Of two folders of the same frames: the region of interest rather than whole frames, as in ActionMAE."""
        used, left = sorted((one, other), key=lambda path: ("roi" not in str(path).casefold(), str(path)))
        self.problems.append(f"{left.relative_to(self.root)} is also {used.relative_to(self.root)}, which is used")
        return used

    def _tell_unmatched(self) -> None:
        """Takes that lack colour or depth, where the data set has both."""
        there = set().union(*self._media.values())
        for segment, media in self._media.items():
            lacking = [modality for modality in ("rgb", "depth") if modality in there and modality not in media]
            if lacking:
                self.problems.append(
                    f"{segment} has {' and '.join(media)} but no {' and no '.join(lacking)} to pair with"
                )


def _pair(found: dict[str, dict[int, Path]]) -> list[tuple[int, dict[str, Path]]]:
    """The segments of one action, subject and view, each with its e and modality -> path.

    Their e is that of the colour, or else of the first modality there is. Of a modality with as many takes as that one
    they are paired in the order of e, of others where e is the same; the rest stay alone.
    """
    lead = next(modality for modality in _KINDS if modality in found)
    segments = {number: {lead: path} for number, path in sorted(found[lead].items())}
    numbers = list(segments)
    for modality, paths in found.items():
        for order, (number, path) in enumerate(sorted(paths.items())):
            partner = numbers[order] if len(paths) == len(numbers) else number
            segments.setdefault(partner, {})[modality] = path
    return sorted(segments.items())


def _modality_of(folder: Path) -> str:
    """The modality by the nearest folder whose name contains one, or ''."""
    for part in reversed(folder.parts):
        for word, modality in _FOLDERS.items():
            if word in part.casefold():
                return modality
    return ""


def _with_splits(table: pd.DataFrame) -> pd.DataFrame:
    """The segments with a column a protocol, and ActionMAE's as `split`."""
    splits = {}
    for protocol, (train, test) in _PROTOCOLS.items():
        roles = dict.fromkeys(train, "train") | dict.fromkeys(test, "test")
        splits[f"split_{protocol}"] = table["view"].map(lambda view, roles=roles: roles.get(view, ""))
    default = f"split_{_DEFAULT}"
    excluded = table["excluded"]
    split = splits[default].mask(excluded, "excluded")
    splits[default] = splits[default].mask(excluded, "")
    return table.drop(columns="excluded").assign(video=table["id"], start_s=0.0, stop_s=np.inf, split=split, **splits)
