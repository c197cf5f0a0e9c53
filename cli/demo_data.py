"""A small data set in the official EPIC-KITCHENS-100 layout, in which each sensor has information of its own.

Each segment has two hidden factors for its verb and two for its noun, divided among the sensors:

    verb = (sound, motion)      sound: heard always, felt sometimes;  motion: felt always, seen sometimes
    noun = (shape, weight)      shape: seen always;  weight: seen mostly (as colour), heard, and felt faintly

so that a missing sensor costs accuracy, which another one makes up for in part. The files are real: H.264 pictures
and AAC sound in MP4, IMU as two CSVs of slightly different clocks. As in the real set, some videos lack a sensor.
"""

import dataclasses
import math
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmcache.store.files.atomic import atomic_write

VERBS = ("stir", "shake", "pour", "splash", "cut", "saw")  # (sound, motion) = divmod(verb, 2)
NOUNS = ("cup", "pan", "box", "crate", "stick", "pole")  # (shape, weight) = divmod(noun, 2)
_COLOURS = ((220, 60, 50), (60, 90, 220), (240, 200, 60), (60, 180, 90), (230, 120, 220), (70, 200, 210))
_HIDDEN_COLOUR = (150, 150, 150)
_WIDTH, _HEIGHT = 128, 72
_AUDIO_RATE, _IMU_RATE = 48000, 200
_SEEN_COLOUR, _SEEN_MOTION, _FELT_SOUND = 0.75, 0.85, 0.75  # how often the shared factors are visible
TRAIN_COLUMNS = [
    "narration_id",
    "participant_id",
    "video_id",
    "narration_timestamp",
    "start_timestamp",
    "stop_timestamp",
    "start_frame",
    "stop_frame",
    "narration",
    "verb",
    "verb_class",
    "noun",
    "noun_class",
    "all_nouns",
    "all_noun_classes",
]


@dataclasses.dataclass(frozen=True)
class DemoVideo:
    """One video and which of its files exist. Three-digit ids are the 2020 extension (50 fps, IMU), as in EPIC."""

    name: str
    split: str
    segments: int
    picture: bool = True
    sound: bool = True
    imu: bool = True

    @property
    def fps(self) -> Fraction:
        return Fraction(50) if len(self.name) == 7 else Fraction(60000, 1001)

    @property
    def jpeg_rate(self) -> int:
        """The frame rate of start_frame and stop_frame, which differs from that of the MP4."""
        return 50 if len(self.name) == 7 else 60


def demo_videos(train: int = 17, validation: int = 8, segments: int = 30) -> list[DemoVideo]:
    """The list of videos: most complete; in train some without IMU, without sound, or without an MP4."""
    videos = [DemoVideo(f"P{1 + i % 4:02d}_{101 + i // 4}", "train", segments) for i in range(train)]
    if train >= 4:
        videos[1] = dataclasses.replace(videos[1], name="P02_01", imu=False)  # 2018 videos have no IMU
        videos[2] = dataclasses.replace(videos[2], sound=False)
        videos[3] = dataclasses.replace(videos[3], picture=False)  # not downloaded
    held_out = [DemoVideo(f"P{5 + i % 3:02d}_{101 + i // 3}", "validation", segments) for i in range(validation)]
    if validation >= 4:
        held_out[1] = dataclasses.replace(held_out[1], name="P06_01", imu=False)
    return [*videos, *held_out, DemoVideo("P08_101", "test", max(2, segments // 5))]


@dataclasses.dataclass(frozen=True)
class _Event:
    start_s: float
    stop_s: float
    verb: int
    noun: int


def write_epic_demo(root: Path, videos: list[DemoVideo] | None = None, seed: int = 0) -> None:
    """Write annotations, MP4 files and IMU CSVs below `root`, and a mmcache.yaml with settings for a small data set.

    Args:
        videos: what to write; None = demo_videos().
        seed: of all random draws; the same seed gives the same segments, frames and sounds.
    """
    videos = demo_videos() if videos is None else videos
    annotations = root / "epic-kitchens-100-annotations"
    annotations.mkdir(parents=True, exist_ok=True)
    events = [_draw_events(video, np.random.default_rng((seed, i, 0))) for i, video in enumerate(videos)]
    _write_annotations(annotations, videos, events)

    def write_media(i: int) -> None:
        rng = np.random.default_rng((seed, i, 1))
        folder = root / videos[i].name[:3]
        if videos[i].imu:
            _write_imu(folder / "meta_data", videos[i], events[i], rng)
        if videos[i].picture:
            _write_mp4(folder / "videos" / f"{videos[i].name}.MP4", videos[i], events[i], rng)

    with ThreadPoolExecutor() as pool:  # the codecs release the interpreter lock
        list(pool.map(write_media, range(len(videos))))
    atomic_write(root / "mmcache.yaml", _SETTINGS.encode())


_SETTINGS = """\
# Settings that fit this small data set; flags override them.
extract:
  encoder: {rgb: swin3d_demo, audio: ast_demo, imu: imu_demo}
  shard_mb: 1
  batch_size: 16
fuse:
  k: 24
  width: 96
  heads: 4
  epochs: 30
  batch_size: 32
  lr: 0.001
"""


def _draw_events(video: DemoVideo, rng: np.random.Generator) -> list[_Event]:
    """Segments one after another with short gaps; now and then one overlaps the next, as in EPIC."""
    events, now = [], 0.4
    for _ in range(video.segments):
        length = round(float(rng.uniform(0.9, 1.5)), 2)
        start = round(now, 2)
        events.append(_Event(start, round(start + length, 2), int(rng.integers(6)), int(rng.integers(6))))
        now = start + length + float(rng.uniform(-0.05, 0.25))
    return events


def _timestamp(seconds: float, decimals: int) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes) // 60:02d}:{int(minutes) % 60:02d}:{rest:0{3 + decimals}.{decimals}f}"


def _write_annotations(folder: Path, videos: list[DemoVideo], events: list[list[_Event]]) -> None:
    rows: dict[str, list[tuple]] = {"train": [], "validation": [], "test": []}
    for video, found in zip(videos, events, strict=True):
        for i, event in enumerate(found):
            verb, noun, rate = VERBS[event.verb], NOUNS[event.noun], video.jpeg_rate
            clip = (f"{video.name}_{i}", video.name[:3], video.name, _timestamp(event.start_s, 3))
            times = (_timestamp(event.start_s, 2), _timestamp(event.stop_s, 2))
            frames = (max(1, math.floor(event.start_s * rate)), math.floor(event.stop_s * rate))
            labels = (f"{verb} {noun}", verb, event.verb, noun, event.noun, f"['{noun}']", f"[{event.noun}]")
            rows[video.split].append((*clip, *times, *frames, *labels))
    names = {
        "train": "EPIC_100_train.csv",
        "validation": "EPIC_100_validation.csv",
        "test": "EPIC_100_test_timestamps.csv",
    }
    for split, name in names.items():
        table = pd.DataFrame(rows[split], columns=TRAIN_COLUMNS).sort_values("narration_id")
        columns = TRAIN_COLUMNS if split != "test" else TRAIN_COLUMNS[:8]
        table[columns].to_csv(folder / name, index=False)
    for task, keys in (("verb", VERBS), ("noun", NOUNS)):
        lines = [f"{i},{key},\"['{key}']\",demo" for i, key in enumerate(keys)]
        (folder / f"EPIC_100_{task}_classes.csv").write_text(
            "\r\n".join(["id,key,instances,category", *lines]), newline=""
        )


def _write_mp4(path: Path, video: DemoVideo, events: list[_Event], rng: np.random.Generator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    duration_s = events[-1].stop_s + 0.5
    with av.open(str(path), "w", format="mp4") as container:
        picture = container.add_stream(
            "libx264", rate=video.fps, options={"preset": "ultrafast", "crf": "20", "threads": "1"}
        )
        picture.width, picture.height, picture.pix_fmt, picture.gop_size = _WIDTH, _HEIGHT, "yuv420p", 25
        sound = container.add_stream("aac", rate=_AUDIO_RATE, layout="stereo") if video.sound else None
        for image in _pictures(video, events, duration_s, rng):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(picture.encode())
        if sound is not None:
            samples = np.repeat(_sound(events, duration_s, rng)[None], 2, axis=0).astype(np.float32)
            for start in range(0, samples.shape[1], 1024):
                frame = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(samples[:, start : start + 1024]), "fltp", "stereo"
                )
                frame.sample_rate, frame.pts = _AUDIO_RATE, start
                container.mux(sound.encode(frame))
            container.mux(sound.encode())


def _pictures(video: DemoVideo, events: list[_Event], duration_s: float, rng: np.random.Generator):  # type: ignore[no-untyped-def]
    """(72, 128, 3) uint8 pictures: a shape on a noisy ground, moving across or up and down, or not at all."""
    looks = [(rng.random() < _SEEN_COLOUR, rng.random() < _SEEN_MOTION, rng.random(2)) for _ in events]
    ground = rng.integers(80, 100, (_HEIGHT, _WIDTH, 3), dtype=np.uint8)
    rows, columns = np.mgrid[:_HEIGHT, :_WIDTH]
    current = 0
    for frame in range(int(duration_s * video.fps)):
        now = float(frame / video.fps)
        image = ground.copy()
        while current + 1 < len(events) and events[current + 1].start_s <= now:
            current += 1
        event = events[current]
        if event.start_s <= now < event.stop_s:
            coloured, moves, where = looks[current]
            shape, _ = divmod(event.noun, 2)
            swing = 20 * math.sin(2 * math.pi * 1.5 * (now - event.start_s)) if moves else 0.0
            up, across = (swing, 0.0) if event.verb % 2 else (0.0, swing)
            y, x = 31 + 10 * where[0] + up, 58 + 12 * where[1] + across
            mask = _shape_mask(shape, rows - y, columns - x)
            image[mask] = _COLOURS[event.noun] if coloured else _HIDDEN_COLOUR
        yield image


def _shape_mask(shape: int, dy: NDArray[np.floating], dx: NDArray[np.floating]) -> NDArray[np.bool_]:
    if shape == 0:
        return dy**2 + dx**2 < 14**2
    if shape == 1:
        return (abs(dy) < 11) & (abs(dx) < 11)
    return (abs(dy) < 4) & (abs(dx) < 24)


def _sound(events: list[_Event], duration_s: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Clicks, hiss or a siren by the verb's sound; low or high by the noun's weight; over a faint noise."""
    out = rng.normal(0, 0.01, int(duration_s * _AUDIO_RATE))
    for event in events:
        first = int(event.start_s * _AUDIO_RATE)
        t = np.arange(int((event.stop_s - event.start_s) * _AUDIO_RATE)) / _AUDIO_RATE
        pitch = (420.0 if event.noun % 2 else 1400.0) * float(rng.uniform(0.9, 1.1))
        kind = event.verb // 2
        if kind == 0:  # clicks, ten a second
            wave = np.sin(2 * np.pi * pitch * t) * np.exp(-40 * (t % 0.1))
        elif kind == 1:  # hiss around the pitch
            wave = np.sin(2 * np.pi * np.cumsum(pitch * (1 + 0.4 * rng.normal(size=len(t)))) / _AUDIO_RATE)
            wave = 0.5 * wave + 0.3 * rng.normal(size=len(t))
        else:  # a siren
            wave = np.sin(2 * np.pi * pitch * t + 20 * np.sin(2 * np.pi * 3 * t))
        out[first : first + len(t)] += 0.25 * wave
    return np.clip(out, -1, 1)


def _write_imu(folder: Path, video: DemoVideo, events: list[_Event], rng: np.random.Generator) -> None:
    """Shaking slow or fast by the verb's motion, along an axis by its sound, harder for a heavy noun."""
    folder.mkdir(parents=True, exist_ok=True)
    count = int((events[-1].stop_s + 0.2) * _IMU_RATE)
    for sensor, offset_ms, scale in (("accl", 0.0, 3.0), ("gyro", 2.0, 1.0)):
        t = np.arange(count) / _IMU_RATE
        values = rng.normal(0, 0.25 * scale, (count, 3))
        if sensor == "accl":
            values[:, 2] += 9.81
        axes_rng = np.random.default_rng((hash_of(video.name), 7))  # both sensors feel the same hand
        for event in events:
            axis = event.verb // 2 if axes_rng.random() < _FELT_SOUND else int(axes_rng.integers(3))
            strength = float(axes_rng.lognormal(0.9 if event.noun % 2 else 0.0, 0.3))
            span = (t >= event.start_s) & (t < event.stop_s)
            frequency = 7.0 if event.verb % 2 else 2.5
            values[span, axis] += scale * strength * np.sin(2 * np.pi * frequency * (t[span] - event.start_s))
        name = {"accl": "Accl", "gyro": "Gyro"}[sensor]
        table = pd.DataFrame(values, columns=[f"{name}{axis}" for axis in "XYZ"]).round(5)
        table.insert(0, "Milliseconds", np.round(t * 1000 + offset_ms, 3))
        table.to_csv(folder / f"{video.name}-{sensor}.csv", index=False)


def hash_of(name: str) -> int:
    """A number for a name that is the same in every process (Python's own hash is not)."""
    return int.from_bytes(name.encode(), "little") % 2**63
