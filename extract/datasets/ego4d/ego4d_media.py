"""The media of Ego4D: where its downloader puts them, and their description in ego4d.json.

    <root>/v2/full_scale/<video_uid>.mp4      also v2_1/, v1/, and <root> itself; the newest release goes first
    <root>/v2/video_540ss/<video_uid>.mp4     the same videos, 540 lines high
    <root>/v2/clips/<clip_uid>.mp4            parts of them, five minutes long for hands and objects
    <root>/v2/imu/<video_uid>.csv
    <root>/v2/ego4d.json                      or <root>/ego4d.json: which videos have audio, IMU, two eyes

Videos are canonical: 30 frames a second throughout.
"""

import dataclasses
import re
from pathlib import Path
from typing import Any, TypeGuard

from mmcache.extract.datasets.base.dataset import Option
from mmcache.extract.datasets.files.annotation_files import read_annotation_json
from mmcache.extract.datasets.files.numbers import is_number
from mmcache.extract.media.base.source import Kind, Source
from mmcache.store.ground.errors import ConfigError

RATE = 30.0
DOCS_URL = "https://ego4d-data.org/docs/start-here"
RELEASES = ("v2_1", "v2", "v1", ".")
VIDEO_FOLDERS = ("full_scale", "video_540ss")
CLIPS = "clips"
MEDIA_OPTION = Option(
    "any",
    f"which files of video and audio are read; any takes the first there is of {', '.join(VIDEO_FOLDERS)}, {CLIPS}",
    ("any", *VIDEO_FOLDERS, CLIPS),
)
_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def is_uid(text: object) -> TypeGuard[str]:
    """Whether `text` is a uid of Ego4D, and so may be part of a path."""
    return isinstance(text, str) and _UID.fullmatch(text) is not None


@dataclasses.dataclass(frozen=True)
class VideoFacts:
    """One video by ego4d.json; unknown values are None, or true if the file itself will show them."""

    duration_s: float | None = None
    has_audio: bool = True
    has_imu: bool = True
    is_stereo: bool = False


class Ego4dMedia:
    """Finds the media of videos and clips.

    Args:
        root: see above.
        annotations: a further folder to look for ego4d.json in.
        media: a value of MEDIA_OPTION.
        problems: gets what ego4d.json says in a form that is not understood.

    Raises:
        ConfigError: ego4d.json is there and is no such file.
    """

    def __init__(self, root: Path, annotations: Path, media: str, problems: list[str]) -> None:
        self.root = root
        self._folders = (*VIDEO_FOLDERS, CLIPS) if media == "any" else (media,)
        self._clips: dict[str, tuple[str, int]] = {}  # name -> clip uid, and the clip's first frame in the video
        self._disputed: set[str] = set()
        self._listed: dict[str, dict[str, Path]] = {}
        self._problems = problems
        places = [annotations, annotations.parent, *(root / release for release in RELEASES)]
        self.metadata = next((place / "ego4d.json" for place in places if (place / "ego4d.json").is_file()), None)
        self._facts: dict[str, VideoFacts] = {}
        if self.metadata is not None:
            self._facts = _read_facts(self.metadata, problems)
        else:
            problems.append(
                f"no ego4d.json in {root} or beside the annotations: stereo videos are not left out, and audio and IMU "
                "are taken to be wherever there are files"
            )

    def facts(self, video_uid: str) -> VideoFacts:
        return self._facts.get(video_uid, VideoFacts())

    def add_clip(self, video_uid: str, clip_uid: str, first_frame: int) -> str:
        """Make known that a clip begins at `first_frame` of a video; the name to use for this pair as a video."""
        name = f"{video_uid}/{clip_uid}"
        _, known = self._clips.setdefault(name, (clip_uid, first_frame))
        if known != first_frame and clip_uid not in self._disputed:
            self._disputed.add(clip_uid)
            self._problems.append(
                f"clip {clip_uid} is said to begin at frame {known} and at {first_frame} of its video; "
                "the first is used"
            )
        return name

    def source(self, modality: str, video: str) -> Source | None:
        """The media of a video uid, or of a name from `add_clip`; None if they do not exist."""
        video_uid = video.partition("/")[0]
        facts = self.facts(video_uid)
        if modality == "imu":
            path = self._files("imu", ".csv").get(video_uid)
            return Source("ego4d_imu", (path,)) if path is not None and facts.has_imu else None
        # Some recordings had their audio removed; the silent stream in their files is not a recording.
        if modality == "audio" and not facts.has_audio:
            return None
        stream: Kind = "audio" if modality == "audio" else "video"
        for folder in self._folders:
            clip_uid, first_frame = self._clips.get(video, ("", 0))
            path = self._files(folder, ".mp4").get(clip_uid if folder == CLIPS else video_uid)
            if path is not None:
                return (
                    Source(stream, (path,), rate=RATE, first=-first_frame)
                    if folder == CLIPS
                    else Source(stream, (path,))
                )
        return None

    def expected_layout(self) -> str:
        return (
            f"Media are looked for as {self.root}/v2/full_scale/<video_uid>.mp4, {self.root}/v2/video_540ss/, "
            f"{self.root}/v2/clips/<clip_uid>.mp4 and {self.root}/v2/imu/<video_uid>.csv, also with v2_1, v1 or "
            f"nothing in the place of v2. The ego4d command line puts them there: {DOCS_URL}"
        )

    def _files(self, folder: str, suffix: str) -> dict[str, Path]:
        """uid -> file. A folder is listed once: there are thousands of files in it."""
        if folder not in self._listed:
            found: dict[str, Path] = {}
            for place in (self.root / release / folder for release in RELEASES):
                for path in sorted(place.glob(f"*{suffix}")) if place.is_dir() else ():
                    if is_uid(path.stem):
                        found.setdefault(path.stem, path)
            self._listed[folder] = found
        return self._listed[folder]


def read_lists(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    """An object with lists at `keys`. Raises ConfigError, saying what is wrong.

    STA of v2 with ego4d.json takes 0.4 GB of memory.
    """
    found = read_annotation_json(path)
    lacking = [key for key in keys if not isinstance(found, dict) or not isinstance(found.get(key), list)]
    if lacking:
        has = ", ".join(map(str, found)) if isinstance(found, dict) else f"a {type(found).__name__}"
        raise ConfigError(f"{path} lacks the lists {', '.join(lacking)}; it has {has[:200] or 'nothing'}")
    return found


def _read_facts(path: Path, problems: list[str]) -> dict[str, VideoFacts]:
    facts = {}
    for number, video in enumerate(read_lists(path, ("videos",))["videos"]):
        uid = video.get("video_uid") if isinstance(video, dict) else None
        if not is_uid(uid):
            problems.append(f"{path.name} video {number}: it has no video_uid")
            continue
        media = video.get("video_metadata")
        audio = ("audio_base_denominator", "audio_duration_sec")
        duration = video.get("duration_sec")
        facts[uid] = VideoFacts(
            duration_s=float(duration) if is_number(duration) and duration > 0 else None,
            has_audio=not isinstance(media, dict) or not any(key in media and media[key] is None for key in audio),
            has_imu=video.get("has_imu") is not False,
            is_stereo=video.get("is_stereo") is True,
        )
    return facts
