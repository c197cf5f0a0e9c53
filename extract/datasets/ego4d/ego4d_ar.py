"""Ego4D-AR: recognise verb and noun of what the camera wearer touches, derived from short-term anticipation (STA).

There is no official release of this name. The derivation is ours, after the one of missing-modality papers on Ego4D
(Ramazanova et al., arXiv 2401.11470): a contact of fho_sta_train.json or fho_sta_val.json is one segment, however many
records announce it, from `before_s` before the contact to `after_s` after it. How long the segments of the papers are
is not known. The test split of STA has neither labels nor moments of contact, and so no segments.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from mmcache.extract.datasets.base.dataset import Dataset, Option
from mmcache.extract.datasets.ego4d.ego4d_media import DOCS_URL, MEDIA_OPTION, RATE, RELEASES, Ego4dMedia
from mmcache.extract.datasets.ego4d.ego4d_sta import Contact, contacts_of, read_classes, read_sta
from mmcache.extract.datasets.files.annotation_files import find_annotations
from mmcache.extract.media.base.source import Source
from mmcache.store.ground.errors import ConfigError

_SPLIT_FILES = {"train": "fho_sta_train.json", "val": "fho_sta_val.json"}
_FOLDERS = (".", "annotations", *(f"{release}/annotations" for release in RELEASES[:-1]))
_COLUMNS = ("id", "video", "start_s", "stop_s", "split", "verb", "noun", "video_uid", "contact_frame")


class Ego4dActionRecognition(Dataset):
    """See Dataset. A segment's `video` is a video with a clip of it, for either may be on disk.

    Args:
        root: the folder that the ego4d command line downloads into (see ego4d.py).
        annotations: the folder of the JSON files; None looks in `root`, its annotations/ and those of a release.
        before_s, after_s: where a segment starts and stops, in seconds from the contact.
        media: which files are read.

    Raises:
        ConfigError: folders or files are missing or of another form, or the settings leave no segment.
    """

    name: ClassVar[str] = "ego4d-ar"
    modalities: ClassVar[tuple[str, ...]] = ("rgb", "audio", "imu")
    mirrors: ClassVar[bool] = True
    options: ClassVar[Mapping[str, Option]] = {
        "before_s": Option(1.0, "seconds of a segment before the contact"),
        "after_s": Option(3.0, "seconds of a segment after the contact"),
        "media": MEDIA_OPTION,
    }
    eval_split: str = "val"

    def __init__(
        self,
        root: Path,
        annotations: Path | None = None,
        *,
        before_s: float = 1.0,
        after_s: float = 3.0,
        media: str = "any",
    ) -> None:
        if not (math.isfinite(before_s + after_s) and before_s >= 0 and after_s > 0):
            raise ConfigError(f"before_s {before_s} and after_s {after_s}: before_s is at least 0, after_s more than 0")
        self.problems: list[str] = []
        needed = list(_SPLIT_FILES.values())
        folder = find_annotations(root, annotations, _FOLDERS, needed, "Ego4D", DOCS_URL, "the ego4d command line")
        self._media = Ego4dMedia(root, folder, media, self.problems)
        contents = {name: read_sta(folder / name) for name in needed}
        self.tasks = read_classes(contents)
        self.segments = self._segments(self._grouped(contents), before_s, after_s)

    def source(self, modality: str, video: str) -> Source | None:
        return self._media.source(modality, video)

    def expected_layout(self) -> str:
        return self._media.expected_layout()

    def _grouped(self, contents: dict[str, dict[str, Any]]) -> dict[str, tuple[str, Contact]]:
        """Id -> split, and the first record of this contact: near-copies of a segment are one segment."""
        groups: dict[str, tuple[str, Contact]] = {}
        for split, name in _SPLIT_FILES.items():
            for contact in contacts_of(contents[name], self.tasks, name, self.problems):
                known_split, known = groups.setdefault(contact.id, (split, contact))
                if known_split != split:
                    self.problems.append(f"{name}: contact {contact.id} is in {known_split} too, and is used there")
                elif contact < known:
                    groups[contact.id] = (split, contact)
        return groups

    def _segments(self, groups: dict[str, tuple[str, Contact]], before_s: float, after_s: float) -> pd.DataFrame:
        stereo: dict[str, int] = {}
        out: dict[str, list[Any]] = {column: [] for column in _COLUMNS}
        for split, contact in sorted(groups.values()):
            video, facts = contact.video_uid, self._media.facts(contact.video_uid)
            if facts.is_stereo:
                stereo[video] = stereo.get(video, 0) + 1
                continue
            moment_s = contact.frame / RATE
            end_s = math.inf if facts.duration_s is None else facts.duration_s
            start_s, stop_s = max(0.0, moment_s - before_s), min(moment_s + after_s, end_s)
            if start_s >= stop_s:
                self.problems.append(
                    f"contact {contact.id} is at {moment_s:.2f} s, but its video ends at {end_s:.2f} s"
                )
                continue
            if contact.clip_uid:
                video = self._media.add_clip(video, contact.clip_uid, contact.clip_first)
            labels = (contact.verb, contact.noun)
            values = (contact.id, video, start_s, stop_s, split, *labels, contact.video_uid, contact.frame)
            for column, value in zip(_COLUMNS, values, strict=True):
                out[column].append(value)
        for uid, count in stereo.items():
            self.problems.append(f"video {uid} is stereo, two frames side by side: its {count} segments are left out")
        if not out["id"]:
            raise ConfigError(f"STA gives no segment: {'; '.join(self.problems[:3]) or 'its files list nothing'}")
        return pd.DataFrame(out).sort_values(["split", "video", "start_s", "id"], kind="stable", ignore_index=True)
