"""A hundred damaged inputs in one table: every one is recorded with its reason, none is fatal, memory stays bounded."""

import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from mmcache.extract.planning.extract_config import ExtractConfig
from mmcache.extract.planning.plan import make_plan
from mmcache.extract.run.pipeline import run_extract
from mmcache.store.feature_store import FeatureStore
from mmcache.store.format.layout import Presence
from mmcache.store.manage.verify import verify

Row = dict[str, str]
MAX_WORKER_BYTES = 3 << 30  # of a worker's memory; torch and Ray take most of 1 GiB


def patched(data: bytes, name: bytes, offset: int, value: bytes) -> bytes:
    """An MP4 whose box `name` has `value` written `offset` bytes after its name."""
    at = data.index(name) + 4 + offset
    return data[:at] + value + data[at + len(value) :]


def damaged_films(folder: Path, film: bytes, webm: bytes, silent: bytes) -> Iterator[tuple[str, Row]]:
    """What is wrong -> a row of the table."""
    rng = np.random.default_rng(0)

    def put(name: str, data: bytes) -> str:
        (folder / name).write_bytes(data)
        return name

    for i, share in enumerate(np.linspace(0.02, 0.6, 26)):
        kind, data = (("mp4", film), ("webm", webm))[i % 2]
        name = put(f"cut{i}.{kind}", data[: int(len(data) * share)])
        yield f"cut off after {share:.0%}", {"rgb": name, "start": "1.5", "stop": "1.9"}
    for i in range(4):
        yield "zero-length", {"rgb": put(f"empty{i}.mp4", b"")}
    texts = (b"I am no film.\n" * 50, b"<html><body>404</body></html>", b"\x00" * 5000, rng.bytes(5000))
    for i, data in enumerate(texts):
        yield "wrong contents", {"rgb": put(f"text{i}.mp4", data)}
        yield "wrong contents", {"audio": put(f"text{i}.wav", data)}
    with zipfile.ZipFile(folder / "zip.mp4", "w") as archive:
        archive.writestr("film.mp4", film)
    yield "zip as MP4", {"rgb": "zip.mp4"}
    yield "zip as MP4", {"audio": "zip.mp4"}
    for i in range(16):
        data = bytearray(film)
        start = int(rng.integers(0, len(data) * 2 // 3))
        data[start : start + len(data) // 3] = rng.bytes(len(data) // 3)
        yield "random bytes inside", {"rgb": put(f"noise{i}.mp4", bytes(data))}
    yield "no such stream", {"rgb": put("sound_only.mp4", silent)}
    for i in range(4):
        yield "past the end", {"rgb": put(f"short{i}.mp4", film), "start": str(100 * 10**i), "stop": str(101 * 10**i)}
    for i, seconds in enumerate((10**5, 10**7, 2**31 - 1)):
        data = film
        for box, offset in ((b"mvhd", 16), (b"tkhd", 20), (b"mdhd", 16)):
            data = patched(data, box, offset, struct.pack(">I", min(2**32 - 1, seconds * 1000)))
        yield "absurd duration", {"rgb": put(f"long{i}.mp4", data)}
    yield "absurd stop", {"rgb": put("stop.mp4", film), "start": "50", "stop": "1e8"}
    folder.joinpath("folder.mp4").mkdir()
    yield "a folder", {"rgb": "folder.mp4"}


def damaged_sounds(folder: Path) -> Iterator[tuple[str, Row]]:
    def wav(
        rate: int = 16000, channels: int = 1, bits: int = 16, data: bytes = b"\x01\x02" * 4000, form: int = 1
    ) -> bytes:
        block = max(1, channels * bits // 8)
        head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, form, channels,
                           rate, rate * block % 2**32, block % 2**16, bits, b"data", len(data))  # fmt: skip
        return head + data

    sounds = {
        "a rate of 4 GHz": wav(rate=2**32 - 1),
        "a rate of 0": wav(rate=0),
        "60,000 channels": wav(channels=60000),
        "no channel": wav(channels=0),
        "no bits": wav(bits=0),
        "no samples": wav(data=b""),
        "an unknown codec": wav(form=0x1234),
        "cut off in its header": wav()[:30],
        "cut off before its samples": wav()[:44],
        "not a number": wav(bits=32, form=3, data=struct.pack("<f", float("nan")) * 4000),
        "infinity": wav(bits=32, form=3, data=struct.pack("<f", float("inf")) * 4000),
    }
    for i, (what, data) in enumerate(sounds.items()):
        (folder / f"sound{i}.wav").write_bytes(data)
        yield what, {"audio": f"sound{i}.wav"}
    for i in range(4):
        (folder / f"late{i}.wav").write_bytes(wav())
        yield "past the end", {"audio": f"late{i}.wav", "start": str(5 * 10**i), "stop": str(6 * 10**i)}


def damaged_imu(folder: Path) -> Iterator[tuple[str, Row]]:
    good = "Milliseconds,{0}X,{0}Y,{0}Z\n" + "".join(f"{t},1,2,3\n" for t in range(0, 4000, 5))
    bad = {
        "no header": "1,2,3,4\n5,6,7,8\n",
        "another header": "time,x,y,z\n0,1,2,3\n",
        "no rows": "Milliseconds,{0}X,{0}Y,{0}Z\n",
        "words": "Milliseconds,{0}X,{0}Y,{0}Z\na,b,c,d\ne,f,g,h\n",
        "not a number": "Milliseconds,{0}X,{0}Y,{0}Z\nnan,1,2,3\ninf,1,2,3\n",
        "empty": "",
        "broken rows": 'Milliseconds,{0}X,{0}Y,{0}Z\n0,1,2,"3\n5,1,2\n',
        "zeros": "\x00" * 3000,
        "one row": "Milliseconds,{0}X,{0}Y,{0}Z\n10,1,2,3\n",
        "another time": good.replace("\n", "\n9999999"),
    }
    for i, (what, text) in enumerate(bad.items()):
        for broken in ("accl", "gyro"):
            names = [f"{i}{broken}-{sensor}.csv" for sensor in ("accl", "gyro")]
            for name, sensor, title in zip(names, ("accl", "gyro"), ("Accl", "Gyro"), strict=True):
                (folder / name).write_text((text if sensor == broken else good).replace("{0}", title))
            yield f"{broken}: {what}", {"imu": ";".join(names), "start": "0", "stop": "2"}


def test_a_hundred_damaged_inputs_are_each_recorded_with_a_reason(
    tmp_path: Path, write_video: Callable[..., Path], write_sound: Callable[..., Path], watcher: Any
) -> None:
    film = write_video(tmp_path / "good.mp4", 50, muxer={"movflags": "faststart"})
    webm = write_video(tmp_path / "good.webm", 50, codec="libvpx-vp9", form="webm")
    tone = write_sound(tmp_path / "tone.mp4", np.sin(np.arange(32000) / 10), 16000)
    cases = [
        *damaged_films(tmp_path, film.read_bytes(), webm.read_bytes(), tone.read_bytes()),
        *damaged_sounds(tmp_path),
        *damaged_imu(tmp_path),
    ]
    assert len(cases) >= 100
    columns = ("id", "rgb", "audio", "imu", "start", "stop")
    lines = [",".join(columns)]
    lines += [",".join([f"bad{i}", *(row.get(c, "") for c in columns[1:])]) for i, (_, row) in enumerate(cases)]
    broken_rows = [
        "x,good.mp4,,,two,three",
        "y,good.mp4,,,3,1",
        "y2,good.mp4,,,-1,1",
        "y3,good.mp4,,,0,1e300",
        ",good.mp4,,,,",
        "bad0,good.mp4,,,,",
    ]
    lines += [*broken_rows, "ok,good.mp4,tone.mp4,,0,1.9", "whole,good.mp4,,,,"]
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    peak = [0]

    def watch(done: dict[str, int]) -> None:
        for child in psutil.Process().children(recursive=True):
            try:
                if "ExtractWorker" in " ".join(child.cmdline()):
                    peak[0] = max(peak[0], child.memory_info().rss)
            except psutil.NoSuchProcess:
                continue

    plan = make_plan(
        ExtractConfig(
            "manifest", tmp_path, store=tmp_path / "s.zarr", weights="random", batch_size=8,
            unlabelled=True, max_failures=0.1,
            encoder={"rgb": "swin3d_demo", "audio": "ast_demo", "imu": "imu_demo"},
        )
    )  # fmt: skip
    assert len(plan.dataset.problems) == len(broken_rows), plan.dataset.problems
    run_extract(plan, watcher(watch))
    store = FeatureStore.open(tmp_path / "s.zarr")
    assert verify(store.path) == []
    assert peak[0] < MAX_WORKER_BYTES
    reasons = {(line["id"], line["modality"]): line["reason"] for line in [*store.failures, *store.notes]}
    row_of = {name: row for row, name in enumerate(store.segments["id"])}
    for i, (what, row) in enumerate(cases):
        name = f"bad{i}"
        modality = next(m for m in ("rgb", "audio", "imu") if m in row)
        status = store.present[modality][row_of[name]]
        reason = reasons.get((name, modality), "")
        if what == "random bytes inside" and status == Presence.CACHED:
            continue  # it may hit what the segment does not need
        if what == "absurd duration" and status == Presence.CACHED:  # FFmpeg counts the frames itself
            same = store.tokens["rgb"].read([row_of[name], row_of["whole"]])
            np.testing.assert_allclose(same[0], same[1], atol=2e-3)
            continue
        assert status in (Presence.FAILED, Presence.MISSING), f"{what}: {Presence(status).name} {reason}"
        assert reason, f"{what}: no reason"
        assert "Error" not in reason, f"{what}: {reason}"
        assert len(reason) < 300
    assert all(store.present[modality][row_of["ok"]] == Presence.CACHED for modality in ("rgb", "audio"))
