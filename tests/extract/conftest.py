"""Media made by the tests of stage one: every frame says which one it is, and every audio when it is."""

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

WriteVideo = Callable[..., Path]
ROWS, COLUMNS = 3, 4  # a frame is 12 black or white blocks: its number in binary


class Watcher:
    """Progress of an extract, kept for a test to look at, which may do something on the way."""

    def __init__(self, on_update: Callable[[dict[str, int]], None] = lambda done: None) -> None:
        self.totals: dict[str, int] = {}
        self.expected: dict[str, float] = {}
        self.seen: list[dict[str, int]] = []
        self.stops = 0
        self.on_update = on_update

    def start(self, totals: dict[str, int]) -> None:
        self.totals = totals

    def expect(self, seconds: dict[str, float]) -> None:
        self.expected = seconds

    def update(self, done: dict[str, int]) -> None:
        self.seen.append(done)
        self.on_update(done)

    def stop(self) -> None:
        self.stops += 1


@pytest.fixture
def progress() -> Watcher:
    return Watcher()


@pytest.fixture(scope="session")
def watcher() -> type[Watcher]:
    return Watcher


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, bytes]]:
    """The bytes of every file below a folder, by its name in it."""
    return _contents


@pytest.fixture(scope="session")
def same_files() -> Callable[[Path, Path], None]:
    """Fails unless two folders hold the same files with the same bytes."""

    def check(one: Path, other: Path) -> None:
        ours, theirs = _contents(one), _contents(other)
        assert ours.keys() == theirs.keys()
        assert [name for name in ours if ours[name] != theirs[name]] == []

    return check


def _picture(number: int, width: int, height: int) -> NDArray[np.uint8]:
    bits = np.array([number >> bit & 1 for bit in range(ROWS * COLUMNS)]).reshape(ROWS, COLUMNS)
    rows, columns = np.arange(height) * ROWS // height, np.arange(width) * COLUMNS // width
    grey = np.where(bits[rows][:, columns], 225, 30).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


@pytest.fixture
def numbers_of() -> Callable[[NDArray[Any]], list[int]]:
    """(T, H, W, 3) frames of write_video -> which of its frames each one is."""

    def read(pictures: NDArray[Any]) -> list[int]:
        _, height, width, _ = pictures.shape
        rows = ((np.arange(ROWS) + 0.5) * height / ROWS).astype(int)
        columns = ((np.arange(COLUMNS) + 0.5) * width / COLUMNS).astype(int)
        centres = pictures[:, rows][:, :, columns].mean(axis=3)
        assert ((centres < 90) | (centres > 165)).all(), "a block is neither black nor white: no clean frame"
        return ((centres > 128).reshape(len(pictures), -1) * (1 << np.arange(ROWS * COLUMNS))).sum(axis=1).tolist()

    return read


@pytest.fixture
def write_video() -> WriteVideo:
    """Write a video whose frame i shows the number i."""

    def write(
        path: Path,
        pictures: int = 50,
        rate: int = 25,
        *,
        pts: Sequence[int] | None = None,  # in units of 1 / rate; None = 0, 1, 2, ...
        hold_last: int | None = None,  # how long the last one stays on screen, in units of 1 / rate
        codec: str = "libx264",
        form: str = "mp4",
        x264: str = "bframes=0",
        options: dict[str, str] | None = None,  # of the encoder, besides
        muxer: dict[str, str] | None = None,
        size: tuple[int, int] = (64, 48),
    ) -> Path:
        options = {"crf": "12"} | (options or {})
        if codec == "libx264":
            options |= {"preset": "veryfast", "threads": "1", "x264-params": f"scenecut=0:b-adapt=0:{x264}"}
        elif codec == "libvpx-vp9":
            options |= {"cpu-used": "8"}
        with av.open(str(path), "w", format=form, options=muxer or {}) as container:
            stream = container.add_stream(codec, rate=rate, options=options)
            stream.width, stream.height = size
            stream.pix_fmt, stream.gop_size = "yuv420p", 12
            packets = []
            for number in range(pictures):
                frame = av.VideoFrame.from_ndarray(_picture(number, *size), format="rgb24")
                frame.pts, frame.time_base = number if pts is None else int(pts[number]), Fraction(1, rate)
                packets += stream.encode(frame)
            packets += stream.encode()
            if hold_last is not None:
                last = max(packets, key=lambda packet: packet.pts)
                last.duration = int(hold_last / rate / last.time_base)
            container.mux(packets)
        return path

    return write


@pytest.fixture
def write_sound() -> Callable[..., Path]:
    """Write samples, (n,) or (channels, n) in [-1, 1], as the only stream of a file."""

    def write(
        path: Path,
        samples: NDArray[np.floating],
        rate: int,
        codec: str = "aac",
        form: str = "mp4",
        *,
        first: int = 0,  # sample number of the first one
        gap: tuple[int, int] | None = None,  # (at, length): from sample `at` on, everything is `length` later
        muxer: dict[str, str] | None = None,
    ) -> Path:
        samples = np.atleast_2d(samples).astype(np.float32)
        layout = {1: "mono", 2: "stereo"}[len(samples)]
        with av.open(str(path), "w", format=form, options=muxer or {}) as container:
            stream = container.add_stream(codec, rate=rate, layout=layout)
            if codec == "aac":
                stream.bit_rate = 192_000
            step = stream.codec_context.frame_size or 1024
            for start in range(0, samples.shape[1], step):
                frame = _sound_frame(samples[:, start : start + step], stream.format.name, layout)
                frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
                frame.pts = first + start + (gap[1] if gap and start >= gap[0] else 0)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    return write


def _sound_frame(part: NDArray[np.float32], sample_format: str, layout: str) -> av.AudioFrame:
    if sample_format.startswith("s16"):
        part = np.round(part * 32767).astype(np.int16)
    elif sample_format.startswith("s32"):
        part = np.round(part * 2147483000.0).astype(np.int32)
    if not sample_format.endswith("p"):  # interleaved
        part = part.T.reshape(1, -1)
    return av.AudioFrame.from_ndarray(np.ascontiguousarray(part), sample_format, layout)


@pytest.fixture
def write_imu() -> Callable[..., tuple[Path, Path]]:
    """Write a pair of CSVs from functions of time: each gives (n, 3) values for (n,) seconds."""

    def write(
        folder: Path,
        video: str,
        seconds: Iterable[float],
        accl: Callable[[NDArray[np.float64]], NDArray[np.float64]],
        gyro: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
        gyro_seconds: Iterable[float] | None = None,
    ) -> tuple[Path, Path]:
        folder.mkdir(parents=True, exist_ok=True)
        clocks = (np.asarray(list(seconds)), np.asarray(list(seconds if gyro_seconds is None else gyro_seconds)))
        paths = []
        for sensor, name, times, values in zip(
            ("accl", "gyro"), ("Accl", "Gyro"), clocks, (accl, gyro or accl), strict=True
        ):
            table = pd.DataFrame(values(times), columns=[f"{name}{axis}" for axis in "XYZ"])
            table.insert(0, "Milliseconds", times * 1000.0)
            paths.append(folder / f"{video}-{sensor}.csv")
            table.to_csv(paths[-1], index=False)
        return paths[0], paths[1]

    return write
