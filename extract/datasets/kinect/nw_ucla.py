"""Northwestern-UCLA Multiview Action 3D (Wang et al., CVPR 2014): one take a segment, 10 actions seen by 3 cameras.

    multiview_action/view_{1,2,3}/aAA_sSS_eEE/     or view_{1,2,3}/ in the root
        frame_<n>_tc_<timecode>_rgb.jpg            640 x 480
        frame_<n>_tc_<timecode>_depth.png          320 x 240
        frame_<n>_tc_<timecode>_skeletons.txt
        ..._depth_vis.jpg, ..._maprgbd.png, fileList.txt, which are not needed

A moment has another timecode in every modality: they are matched by n, which has no leading zeros. Colour and depth
are used where both have the frame, so that the same share of each is the same moment.

The published protocol is cross-view, train on views 1 and 2, test on 3: `split`, which is also `split_view3`.
`split_view1` and `split_view2` test on another view.
"""

import os
import re
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from mmcache.extract.datasets.kinect.kinect_dataset import KinectDataset
from mmcache.extract.media.base.source import Kind, Source

# The number of an action on disk -> its name; the numbers have gaps. Labels count the lines.
_ACTIONS = {
    1: "pick up with one hand",
    2: "pick up with two hands",
    3: "drop trash",
    4: "walk around",
    5: "sit down",
    6: "stand up",
    8: "donning",
    9: "doffing",
    11: "throw",
    12: "carry",
}
_VIEWS = (1, 2, 3)
_TAKE = re.compile(r"a(\d+)_s(\d+)_e(\d+)", re.ASCII)
_VIEW = re.compile(r"view_(\d+)", re.ASCII)
# modality -> (kind, names of its files)
_FILES: dict[str, tuple[Kind, str]] = {
    "rgb": ("frames", r"frame_(?P<number>[0-9]+)_(?:.*_)?rgb\.jpg"),
    "depth": ("depth", r"frame_(?P<number>[0-9]+)_(?:.*_)?depth\.png"),
    "skeleton": ("nwucla_skeleton", r"frame_(?P<number>[0-9]+)_(?:.*_)?skeletons\.txt"),
}


class NwUcla(KinectDataset):
    """See KinectDataset.

    Args:
        root: the folder of multiview_action/, or of view_1/ to view_3/.

    Raises:
        ConfigError: there is no take below `root`.
    """

    name: ClassVar[str] = "nw-ucla"

    def __init__(self, root: Path, annotations: Path | None = None, depth: str = "grey") -> None:
        super().__init__(root, annotations, depth)
        self.tasks = {"action": list(_ACTIONS.values())}
        self._takes: dict[str, tuple[Path, frozenset[str]]] = {}  # id -> folder, modalities in it
        rows = [row for view, folder in self._views() for row in self._read_view(view, folder)]
        self._refuse_empty(rows, "take of Northwestern-UCLA")
        table = pd.DataFrame(rows).sort_values("id", kind="stable", ignore_index=True)
        splits = {f"split_view{test}": (table["view"] == test).map({True: "test", False: "train"}) for test in _VIEWS}
        self.segments = table.assign(
            video=table["id"], start_s=0.0, stop_s=np.inf, split=splits["split_view3"], **splits
        )

    def source(self, modality: str, video: str) -> Source | None:
        folder, there = self._takes.get(video, (self.root, frozenset[str]()))
        if modality not in there:
            return None
        kind, names = _FILES[modality]
        beside = tuple((folder, _FILES[other][1]) for other in ("rgb", "depth") if other in there and other != modality)
        return Source(kind, (folder,), variant=self._variant(kind), names=names, beside=beside)

    def expected_layout(self) -> str:
        return (
            f"Takes are looked for as {self.root}/multiview_action/view_1/a01_s01_e00/, also without multiview_action/."
        )

    def _views(self) -> list[tuple[int, Path]]:
        folder = next((f for f in (self.root / "multiview_action", self.root) if f.is_dir()), None)
        if folder is None:
            return []
        views = []
        for name in self._listed(folder):
            match = _VIEW.fullmatch(name)
            if match and int(match[1]) in _VIEWS:
                views.append((int(match[1]), folder / name))
            elif match:
                self.problems.append(f"{name} is none of the views {', '.join(map(str, _VIEWS))}")
        return views

    def _read_view(self, view: int, folder: Path) -> list[dict[str, object]]:
        rows: list[dict[str, object]] = []
        labels = {number: label for label, number in enumerate(_ACTIONS)}
        for name in self._listed(folder):
            match = _TAKE.fullmatch(name)
            if match is None or int(match[1]) not in labels:
                if (folder / name).is_dir():
                    allowed = ", ".join(map(str, _ACTIONS))
                    self.problems.append(f"{folder.name}/{name} is no take aAA_sSS_eEE of an action of {allowed}")
                continue
            action, subject, take = map(int, match.groups())
            segment = f"{name}_v{view:02d}"
            files = self._listed(folder / name)
            there = frozenset(m for m, (_, names) in _FILES.items() if any(re.fullmatch(names, file) for file in files))
            self._takes[segment] = folder / name, there
            rows.append({"id": segment, "action": labels[action], "subject": subject, "view": view, "take": take})
        return rows

    def _listed(self, folder: Path) -> list[str]:
        try:
            return sorted(os.listdir(folder))
        except OSError as error:
            self.problems.append(f"the folder {folder} cannot be read: {error.strerror}")
            return []
