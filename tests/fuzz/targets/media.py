"""Readers of media: films, sound, pictures, IMU, skeletons and boxes."""

import json
import pickle
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import h5py
import numpy as np
from edits import Edit, raw, table, tree
from hypothesis import strategies as st
from PIL import Image
from target import Arrays, Target

from mmcache.extract.media import (
    AudioRequest,
    BoxesRequest,
    ImuRequest,
    MediaError,
    MediaRequest,
    NoMedia,
    SkeletonRequest,
    VideoRequest,
    read_media,
)
from mmcache.extract.media.base.source import Kind, Source

_VIDEO = VideoRequest(4, 32)
_AUDIO = AudioRequest(rate=16000, max_seconds=2.0)
_IMU = ImuRequest(20)
_SKELETON = SkeletonRequest(5, 2, 25)
_BOXES = BoxesRequest(4, 5, 0.1)
_SECONDS, _FIRST_SECOND = (0.2, 1.2), (0.0, 1.0)


def _media(
    name: str,
    write: Callable[[Path], list[Path]],
    source: Callable[[Path], Source],
    request: MediaRequest,
    edits: st.SearchStrategy[Edit],
    seconds: tuple[float, float] = _SECONDS,
) -> Target:
    def read(folder: Path) -> Arrays:
        reading = read_media(source(folder), *seconds, request)
        return [] if reading.note else [reading.array]

    return Target(name, write, read, edits, (MediaError, NoMedia))


def film(path: Path, form: str, codec: str, seconds: float = 1.6, rate: int = 10) -> list[Path]:
    """A film whose pictures become brighter."""
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", 5
        for number in range(int(seconds * rate)):
            picture = np.full((48, 64, 3), 40 + 10 * number, np.uint8)
            picture[:24, : 4 * number] = 250
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return [path]


def sound(path: Path, form: str, codec: str, seconds: float = 1.6, rate: int = 16000) -> list[Path]:
    """A tone of 440 Hz."""
    tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)).astype(np.float32)
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        kind = stream.format.name
        step = stream.codec_context.frame_size or 1024
        for start in range(0, len(tone), step):
            part = tone[None, start : start + step]
            scale, dtype = {"s16": (32767, np.int16), "s32": (2147483000, np.int32)}.get(kind[:3], (1, np.float32))
            part = (part * scale).astype(dtype)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), kind, "mono")
            frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), start
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return [path]


def _film(name: str, form: str, codec: str) -> Target:
    return _media(
        f"film:{name}",
        lambda folder: film(folder / f"a.{name}", form, codec),
        lambda folder: Source("video", (folder / f"a.{name}",)),
        _VIDEO,
        raw(),
    )


def _sound(name: str, form: str, codec: str) -> Target:
    return _media(
        f"sound:{name}",
        lambda folder: sound(folder / f"a.{name}", form, codec),
        lambda folder: Source("audio", (folder / f"a.{name}",)),
        _AUDIO,
        raw(),
    )


def _pictures(suffix: str, mode: str = "RGB", many: int = 6) -> Callable[[Path], list[Path]]:
    def write(folder: Path) -> list[Path]:
        paths = []
        for number in range(1, many + 1):
            values = np.full((36, 48), 900 + 100 * number, np.uint16) if mode == "I;16" else None
            image = Image.fromarray(values) if values is not None else Image.new(mode, (48, 36), 30 * number)
            paths.append(folder / f"p_{number:04d}.{suffix}")
            image.save(paths[-1])
        return paths

    return write


def _flow(folder: Path) -> list[Path]:
    paths = []
    for name in ("u", "v"):
        (folder / name).mkdir()
        paths += _pictures("jpg", "L")(folder / name)
    return paths


def _packed(encoded: bool) -> Callable[[Path], list[Path]]:
    def write(folder: Path) -> list[Path]:
        with h5py.File(folder / "p.hdf5", "w") as file:
            if encoded:
                pictures = [path.read_bytes() for path in _pictures("jpg")(folder)]
                kind = h5py.vlen_dtype(np.uint8)
                file.create_dataset("v/s", (len(pictures),), kind)[:] = [np.frombuffer(p, np.uint8) for p in pictures]
            else:
                file["v"] = np.sin(np.arange(32000) / 5).astype(np.float32)
        return [folder / "p.hdf5"]

    return write


def _gopro(folder: Path) -> list[Path]:
    paths = []
    for sensor, name in (("accl", "Accl"), ("gyro", "Gyro")):
        rows = [f"{5 * i}.0,{np.sin(i / 9):.4f},{9.81 - i / 500:.4f},{i % 7 / 10:.2f}" for i in range(320)]
        paths.append(folder / f"P01_101-{sensor}.csv")
        paths[-1].write_text("\n".join([f"Milliseconds,{name}X,{name}Y,{name}Z", *rows]) + "\n")
    return paths


def _ego4d_imu(folder: Path) -> list[Path]:
    header = "component_idx,component_timestamp_ms,canonical_timestamp_ms,gyro_x,gyro_y,gyro_z,accl_x,accl_y,accl_z"
    rows = [f"0,{5 * i},{5 * i},0.1,{np.sin(i / 9):.4f},0.2,9.7,0.{i % 9},0.3" for i in range(320)]
    (folder / "v.csv").write_text("\n".join([header, *rows]) + "\n")
    return [folder / "v.csv"]


def _imu_table(folder: Path) -> list[Path]:
    header = "timestamp,acc_x,acc_y,acc_z,gyro_x,gyro_y,gyro_z,mag_x,mag_y,mag_z"
    rows = [f"{1.7e9 + i / 100:.2f},{np.sin(i / 9):.4f},9.7,0.{i % 9},0.1,{i % 5},-0.2,40,41,42" for i in range(320)]
    (folder / "v.csv").write_text("\n".join([header, *rows]) + "\n")
    return [folder / "v.csv"]


def _ntu(folder: Path) -> list[Path]:
    lines = ["6"]
    for frame in range(6):
        lines += ["1", "72057594037931101 0 1 1 1 1 0 0.02 -0.2 2", "25"]
        lines += [f"0.{joint:02d} 0.{frame + 1} 2.5 200.1 150.2 900 500 0.1 0.2 0.3 0.4 2" for joint in range(25)]
    (folder / "a.skeleton").write_text("\n".join(lines) + "\n")
    return [folder / "a.skeleton"]


def _nwucla(folder: Path) -> list[Path]:
    paths = []
    for frame in range(6):
        paths.append(folder / f"frame_{frame}_tc_9{frame}_skeletons.txt")
        joints = [f"0.{joint:02d},0.{frame + 1},2.1,2" for joint in range(20)]
        paths[-1].write_text("\n".join(["1", *joints]) + "\n")
    return paths


def _mat(folder: Path) -> list[Path]:
    with h5py.File(folder / "a.mat", "w") as file:
        file["A"] = np.random.default_rng(0).normal(size=(45, 30)) + 3
    return [folder / "a.mat"]


def _else(folder: Path) -> list[Path]:
    def box(category: str, left: float) -> dict[str, object]:
        return {
            "box2d": {"x1": left, "y1": 20, "x2": left + 60, "y2": 90},
            "category": category,
            "standard_category": category,
        }

    frames = [
        {"name": f"7/{number:04d}.jpg", "nr_instances": 2, "labels": [box("hand", 5.0 * number), box("0000", 90.0)]}
        for number in range(1, 20)
    ]
    (folder / "boxes.json").write_text(json.dumps(frames))  # one video, as `predict` takes it
    (folder / "sizes.json").write_text(json.dumps({"7": [427, 240]}))
    return [folder / "boxes.json", folder / "sizes.json"]


def _field(number: int, value: bytes | float) -> bytes:
    """A field of protobuf's wire format."""
    if isinstance(value, bytes):
        return bytes([number << 3 | 2, len(value)]) + value
    return bytes([number << 3 | 5]) + struct.pack("<f", value)


def _epic_boxes(folder: Path) -> list[Path]:
    messages = []
    for number in range(1, 101):
        corners = b"".join(_field(i, share) for i, share in enumerate((0.1, 0.2, 0.1 + number / 200, 0.9), 1))
        found = _field(1, corners) + _field(2, 0.9)
        messages.append(_field(1, b"P01_01") + b"\x10" + bytes([number]) + _field(3, found) + _field(4, found))
    (folder / "P01_01.pkl").write_bytes(pickle.dumps(messages, protocol=3))
    return [folder / "P01_01.pkl"]


def _hdf5_boxes(folder: Path) -> list[Path]:
    with h5py.File(folder / "b.hdf5", "w") as file:
        for number in range(100):
            found = {"box": [0.1, 0.2, 0.3 + number / 200, 0.9], "category": "hand", "score": 0.9}
            file[f"P01_01/{number}"] = str([found]).encode()
    return [folder / "b.hdf5"]


def _numbered(kind: Kind, variant: str = "") -> Callable[[Path], Source]:
    return lambda folder: Source(kind, (folder,), rate=5.0, first=1.0, variant=variant)


_NWUCLA = r"frame_(?P<number>\d+)_tc_\d+_skeletons\.txt"

TARGETS = (
    _film("mp4", "mp4", "libx264"),
    _film("mkv", "matroska", "libx264"),
    _film("webm", "webm", "libvpx-vp9"),
    _film("avi", "avi", "mpeg4"),
    _film("mpg", "mpegts", "mpeg2video"),
    _sound("wav", "wav", "pcm_s16le"),
    _sound("flac", "flac", "flac"),
    _sound("mp3", "mp3", "libmp3lame"),
    _sound("m4a", "mp4", "aac"),
    _sound("aac", "adts", "aac"),
    _sound("ogg", "ogg", "libopus"),
    _media("pictures:jpg", _pictures("jpg"), _numbered("frames"), _VIDEO, raw(), _FIRST_SECOND),
    _media("pictures:png", _pictures("png"), _numbered("frames"), _VIDEO, raw(), _FIRST_SECOND),
    _media(
        "flow",
        _flow,
        lambda folder: Source("flow", (folder / "u", folder / "v"), rate=5.0, first=1.0),
        _VIDEO,
        raw(),
        _FIRST_SECOND,
    ),
    _media("pictures:tif", _pictures("tif"), _numbered("frames"), _VIDEO, raw(), _FIRST_SECOND),
    _media("pictures:webp", _pictures("webp"), _numbered("frames"), _VIDEO, raw(), _FIRST_SECOND),
    _media("infrared", _pictures("png", "I;16"), _numbered("frames", "800..1700"), _VIDEO, raw(), _FIRST_SECOND),
    _media("depth", _pictures("png", "I;16"), _numbered("depth", "grey"), _VIDEO, raw(), _FIRST_SECOND),
    _media(
        "hdf5 pictures",
        _packed(True),
        lambda folder: Source("hdf5_frames", (folder / "p.hdf5",), entry="v/s"),
        _VIDEO,
        raw(),
    ),
    _media(
        "hdf5 sound",
        _packed(False),
        lambda folder: Source("hdf5_audio", (folder / "p.hdf5",), rate=16000, entry="v"),
        _AUDIO,
        raw(),
    ),
    _media(
        "imu:gopro",
        _gopro,
        lambda folder: Source("imu", (folder / "P01_101-accl.csv", folder / "P01_101-gyro.csv")),
        _IMU,
        table(),
    ),
    _media("imu:ego4d", _ego4d_imu, lambda folder: Source("ego4d_imu", (folder / "v.csv",)), _IMU, table()),
    _media("imu:table", _imu_table, lambda folder: Source("imu", (folder / "v.csv",)), _IMU, table()),
    _media("skeleton:ntu", _ntu, lambda folder: Source("ntu_skeleton", (folder / "a.skeleton",)), _SKELETON, table()),
    _media(
        "skeleton:nw-ucla",
        _nwucla,
        lambda folder: Source("nwucla_skeleton", (folder,), names=_NWUCLA),
        _SKELETON,
        table(),
    ),
    _media("skeleton:mat", _mat, lambda folder: Source("mat_skeleton", (folder / "a.mat",)), _SKELETON, raw()),
    _media(
        "boxes:epic",
        _epic_boxes,
        lambda folder: Source("epic_boxes", (folder / "P01_01.pkl",), rate=60.0),
        _BOXES,
        raw(),
    ),
    _media(
        "boxes:hdf5",
        _hdf5_boxes,
        lambda folder: Source("hdf5_boxes", (folder / "b.hdf5",), rate=60.0, entry="P01_01"),
        _BOXES,
        raw(),
    ),
    _media(
        "boxes:something-else",
        _else,
        lambda folder: Source(
            "else_boxes", (folder / "boxes.json", folder / "sizes.json"), rate=12.0, first=1.0, entry="7"
        ),
        _BOXES,
        tree(),
    ),
)
