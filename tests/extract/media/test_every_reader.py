"""What holds for every reader of frames, depth, IMU, skeletons and boxes: damaged media are read rightly or refused.

The readers and the ways to damage their files are those of `make fuzz`, which tries far more.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmcache.extract.media import (
    AudioRequest,
    BoxesRequest,
    MediaError,
    NoMedia,
    SkeletonRequest,
    VideoRequest,
    read_media,
)
from mmcache.extract.media.base.source import Kind, Source

sys.path.append(str(Path(__file__).parents[2] / "fuzz"))
from targets.media import TARGETS

READERS = [
    target for target in TARGETS if not target.name.startswith(("film:", "sound:")) and target.name != "hdf5 audio"
]


@pytest.fixture(params=READERS, ids=lambda target: target.name)
def reader(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_all_readers_are_here() -> None:
    assert len(READERS) >= 16


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_media_are_read_or_refused_and_never_zero_in_silence(
    reader: Any, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("m")
    path = data.draw(st.sampled_from(reader.write(folder)))
    path.write_bytes(data.draw(reader.edits)(path.read_bytes()))
    began = time.monotonic()
    reason, arrays = "", []
    try:
        arrays = list(reader.read(folder))
    except (MediaError, NoMedia) as refusal:
        reason = str(refusal) or "\x1b"
    assert time.monotonic() - began < 10
    assert "\x1b" not in reason
    for array in arrays:
        assert np.isfinite(array).all()
        assert array.any()


@pytest.mark.parametrize("what", ["a FIFO", "a folder", "nothing", "an empty file", "a file of zeros"])
def test_what_is_no_file_of_media_is_refused_at_once(reader: Any, what: str, tmp_path: Path) -> None:
    for path in reader.write(tmp_path):
        path.unlink()
        if what == "a FIFO":
            os.mkfifo(path)
        elif what == "a folder":
            path.mkdir()
        elif what != "nothing":
            path.write_bytes(b"" if what == "an empty file" else bytes(4096))
    began = time.monotonic()
    with pytest.raises((MediaError, NoMedia), match=what if what in ("a FIFO", "a folder") else None):
        list(reader.read(tmp_path))
    assert time.monotonic() - began < 5


def virtual(file: h5py.File, name: str, folder: Path) -> None:
    layout = h5py.VirtualLayout((30, 45), np.float32)
    layout[:] = h5py.VirtualSource(folder / "gone.h5", "x", (30, 45))
    file.create_virtual_dataset(name, layout)


def external(file: h5py.File, name: str, folder: Path) -> None:
    (folder / "secret").write_bytes(bytes(range(256)) * 100)
    file.create_dataset(name, (30, 45), np.float32, external=[(str(folder / "secret"), 0, 5400)])


def never_written(file: h5py.File, name: str, folder: Path) -> None:
    file.create_dataset(name, (30, 45), np.float32)


def written_in_part(file: h5py.File, name: str, folder: Path) -> None:
    file.create_dataset(name, (30, 45), np.float32, chunks=(10, 45))[:10] = 1


def absurd(file: h5py.File, name: str, folder: Path) -> None:
    file.create_dataset(name, (10**9, 45), np.float32, chunks=(10, 45))[:1] = 1


def link_outside(file: h5py.File, name: str, folder: Path) -> None:
    with h5py.File(folder / "other.h5", "w") as other:
        other["x"] = np.ones((30, 45))
    file[name] = h5py.ExternalLink(str(folder / "other.h5"), "x")


def link_in_circles(file: h5py.File, name: str, folder: Path) -> None:
    file[name] = h5py.SoftLink("/a")
    file["a"] = h5py.SoftLink(f"/{name}")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (virtual, r"is virtual: its values lie elsewhere \(.*gone\.h5"),
        (external, r"keeps its values in another file \(.*secret'\), which is not read"),
        (never_written, r"has the shape \(30, 45\), but its values were never written: they would read as zeros"),
        (written_in_part, r"has the shape \(30, 45\), but parts of it were never written"),
        (absurd, r"has the shape \(1000000000, 45\): 180,000,000,000 bytes, at most 268,435,456 are read"),
        (link_outside, "is a link to another file"),
        (link_in_circles, "is a link that leads back to itself"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_hdf5_is_read_from_the_file_itself_alone(make: Any, reason: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.mat", "w") as file:
        make(file, "A", tmp_path)
    with pytest.raises(MediaError, match=rf"'A' in a\.mat {reason}"):
        read_media(Source("mat_skeleton", (tmp_path / "a.mat",)), 0, np.inf, SkeletonRequest(4, 1, 25))
    kinds: list[tuple[Kind, Any]] = [
        ("hdf5_frames", VideoRequest(2, 8)),
        ("hdf5_boxes", BoxesRequest(2, 2, 0.1)),
        ("hdf5_audio", AudioRequest(16000, 10.0)),
    ]
    for kind, request in kinds:
        with pytest.raises(MediaError, match=r"a\.mat"):
            read_media(Source(kind, (tmp_path / "a.mat",), rate=1.0, entry="A"), 0, 1, request)


def test_absurd_counts_in_a_skeleton_take_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.skeleton"
    for text, reason in (
        ("999999999 1 ", "is cut off: it ends in frame 1 of 999999999"),
        ("1 999999999 ", "is cut off"),
        ("300000 " + "0 " * 300_000, "has no frame with a body in it"),
        ("1" * 30, "is no number of frames"),
    ):
        path.write_text(text)
        with pytest.raises((MediaError, NoMedia), match=reason):
            read_media(Source("ntu_skeleton", (path,)), 0, np.inf, SkeletonRequest(4, 2, 25))
