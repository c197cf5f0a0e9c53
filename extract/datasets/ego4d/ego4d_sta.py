"""The annotations of Ego4D's short-term anticipation (STA): objects about to be touched, and when they are.

A record is one frame of a video: {video_uid or video_id, frame, clip_uid, clip_frame, objects: [{verb_category_id,
noun_category_id, time_to_contact, box}]}. Frames count 30 a second. Half a second later there may be another record of
the same contact.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmcache.extract.datasets.ego4d.ego4d_media import RATE, is_uid, read_lists
from mmcache.extract.datasets.files.numbers import is_count, is_number
from mmcache.store.ground.errors import Problems
from mmcache.store.ground.text import excerpt

_CATEGORIES = {"verb": "verb_categories", "noun": "noun_categories"}
_MOST_FRAMES = 1 << 31  # of a video; more is a fault of the file
_LONGEST_S = 60.0  # anticipation is of some seconds; more would be frames or milliseconds


@dataclasses.dataclass(frozen=True, order=True)
class Contact:
    """A touch of an object, from one record. Records of one touch share their `id`."""

    video_uid: str
    frame: int  # of the contact, in the video
    verb: int
    noun: int
    seen: int  # the record's own frame
    clip_uid: str
    clip_first: int  # the clip's first frame, in the video

    @property
    def id(self) -> str:
        return f"{self.video_uid}_{self.frame:07d}_{self.verb}_{self.noun}"


def read_sta(path: Path) -> dict[str, Any]:
    """The content of one file. Raises ConfigError when it is of another form."""
    return read_lists(path, ("annotations", *_CATEGORIES.values()))


def read_classes(contents: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """Task -> class names; a head's size comes from here, never from the labels present.

    Args:
        contents: file name -> content.

    Raises:
        ConfigError: ids have gaps, or the files do not agree.
    """
    problems = Problems()
    tasks: dict[str, list[str]] = {}
    for name, content in contents.items():
        for task, key in _CATEGORIES.items():
            items = [item if isinstance(item, dict) else {} for item in content[key]]
            names = {item["id"]: str(item.get("name", "")) for item in items if is_number(item.get("id"))}
            if not items or sorted(names) != list(range(len(items))):
                problems.add(f"{name}: {key} must have ids 0, 1, 2, ... without gaps")
                continue
            listed = [names[i] for i in range(len(names))]
            if tasks.setdefault(task, listed) != listed:
                problems.add(f"{name}: {key} differ from those of {next(iter(contents))}: files of two releases?")
    problems.raise_if_any()
    return tasks


def contacts_of(
    content: dict[str, Any], tasks: dict[str, list[str]], name: str, problems: list[str]
) -> Iterator[Contact]:
    """The contacts of one file, as often as there are records of them; what cannot be used goes to `problems`."""
    odd_rates = _odd_rates(content)
    for number, record in enumerate(content["annotations"]):
        where = f"{name} annotation {number}"
        try:
            if not isinstance(record, dict):
                raise ValueError("it is no object")
            where += f" ({excerpt(record['uid']) if record.get('uid') else 'no uid'})"
            video_uid, frame = _video_of(record), _frame(record, "frame")
            if video_uid in odd_rates:
                raise ValueError(f"its video has {odd_rates[video_uid]:g} frames a second, not {RATE:g}")
            clip_uid = record.get("clip_uid") or ""
            if clip_uid and not is_uid(clip_uid):
                raise ValueError(f"clip_uid {excerpt(clip_uid)} is no uid")
            clip_first = frame - _frame(record, "clip_frame") if clip_uid else 0
            if clip_first < 0:
                raise ValueError(f"its clip would begin {-clip_first} frames before its video")
            objects = record.get("objects")
            if not isinstance(objects, list) or not objects:
                raise ValueError("it lists no objects")
        except ValueError as error:
            problems.append(f"{where}: {error}")
            continue
        for i, item in enumerate(objects):
            try:
                if not isinstance(item, dict):
                    raise ValueError("it is no object")
                verb, noun = (_category(item, task, tasks[task]) for task in _CATEGORIES)
                contact = round(frame + _to_contact_s(item) * RATE)
            except ValueError as error:
                problems.append(f"{where} object {i}: {error}")
                continue
            yield Contact(video_uid, contact, verb, noun, frame, clip_uid, clip_first)


def _odd_rates(content: dict[str, Any]) -> dict[str, float]:
    """Videos whose listed rate differs from the rate of the frame numbers."""
    info = content.get("info")
    videos = info.get("video_metadata") if isinstance(info, dict) else None
    if not isinstance(videos, dict):
        return {}
    rates = {uid: video.get("fps") for uid, video in videos.items() if isinstance(video, dict)}
    return {uid: fps for uid, fps in rates.items() if is_number(fps) and abs(fps - RATE) > 0.01}


def _video_of(record: dict[str, Any]) -> str:
    """The video's uid: documents call it video_id, the official code reads video_uid."""
    found = [record[key] for key in ("video_uid", "video_id") if record.get(key)]
    if not found:
        raise ValueError("it has neither video_uid nor video_id")
    if found[0] != found[-1]:
        raise ValueError(f"its video_uid is {excerpt(found[0])}, its video_id {excerpt(found[-1])}")
    if not is_uid(found[0]):
        raise ValueError(f"video {excerpt(found[0])} is no uid")
    return found[0]


def _frame(record: dict[str, Any], key: str) -> int:
    value = record.get(key)
    if not is_count(value, _MOST_FRAMES):
        raise ValueError(f"{key} {excerpt(value)} is no number of a frame")
    return int(value)


def _category(item: dict[str, Any], task: str, classes: list[str]) -> int:
    value = item.get(f"{task}_category_id")
    if not is_count(value, len(classes)):
        raise ValueError(f"{task}_category_id {excerpt(value)} is not one of 0..{len(classes) - 1}")
    return int(value)


def _to_contact_s(item: dict[str, Any]) -> float:
    value = item.get("time_to_contact")
    if not is_number(value) or not 0 <= value <= _LONGEST_S:
        raise ValueError(f"time_to_contact {excerpt(value)} is no number of seconds from 0 to {_LONGEST_S:g}")
    return float(value)
