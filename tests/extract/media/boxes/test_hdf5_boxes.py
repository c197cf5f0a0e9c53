"""Detections packed into HDF5: a Python literal a frame."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mmcache.extract.media import read_media
from mmcache.extract.media.base.requests import BoxesRequest, MediaError, NoMedia
from mmcache.extract.media.base.source import Source

ALL = BoxesRequest(frames=4, boxes=2, min_score=0.5)


def text(n: int) -> str:
    """An object that reaches to n / 100, and a hand, as written by str() of a list of dicts."""
    hand = {"box": [0.0, 0.25, 0.5, 1.0], "category": "hand", "score": 0.75, "state": 3, "side": 1}
    return str([{"box": [0.0, 0.0, n / 100, 1.0], "category": "object", "score": 0.9}, hand])


def write(path: Path, texts: dict[str, Any], video: str = "P01_01") -> Source:
    with h5py.File(path, "w") as file:
        group = file.create_group(video)
        for name, content in texts.items():
            group.create_dataset(name, data=content)
    return Source("hdf5_boxes", (path,), rate=60.0, entry="P01_01")


@pytest.mark.parametrize("as_bytes", [True, False])
def test_detections_come_back_as_written(as_bytes: bool, tmp_path: Path) -> None:
    texts = {str(n): np.bytes_(text(n)) if as_bytes else text(n) for n in range(1, 31)}
    boxes = read_media(write(tmp_path / "a.hdf5", texts), 0.2, 0.21, ALL).array
    expected = [[0.0, 0.0, 0.12, 1.0, 2, 0.9], [0.0, 0.25, 0.5, 1.0, 1, 0.75]]
    np.testing.assert_allclose(boxes[0], expected, rtol=1e-5)


@pytest.mark.parametrize("counted_from", [0, 1])
def test_the_clock_is_that_of_the_extracted_pictures(counted_from: int, tmp_path: Path) -> None:
    texts = {str(n - 1 + counted_from): text(n) for n in range(1, 61)}
    source = write(tmp_path / "a.hdf5", texts)
    for start_s, stop_s in ((0.1, 0.9), (0.5, 0.55)):
        numbers = np.floor((start_s + (np.arange(4) + 0.5) / 4 * (stop_s - start_s)) * 60 + 1e-6)
        array = np.asarray(read_media(source, start_s, stop_s, ALL).array)
        np.testing.assert_allclose(array[:, 0, 2] * 100, numbers, rtol=1e-4)


def test_a_picture_without_an_entry_or_with_an_empty_one_has_no_boxes(tmp_path: Path) -> None:
    source = write(tmp_path / "a.hdf5", {"1": text(1), "2": "[]", "60": text(60)})
    assert not np.asarray(read_media(source, 0.04, 0.5, ALL).array).any()


def test_a_video_that_is_not_there_is_missing_media(tmp_path: Path) -> None:
    source = write(tmp_path / "a.hdf5", {"1": text(1)}, video="P01_02")
    with pytest.raises(NoMedia, match=r"a\.hdf5 has no detections of P01_01"):
        read_media(source, 0.0, 1.0, ALL)


@pytest.mark.parametrize(
    "content",
    [
        "__import__('os').mkdir('made')",
        "[1]",
        "[{'box': [1, 2, 3], 'category': 'hand', 'score': 1}]",
        "[{'box': [1, 2, 3, 4], 'category': 'foot', 'score': 1}]",
        "[{'box': [1, 2, 3, 4], 'category': 'hand'}]",
        "[" * 3000,
        "",
        5,
        np.zeros(4),
        "x" * ((1 << 20) + 1),
    ],
    ids=lambda content: repr(content)[:30],
)
def test_what_is_no_list_of_detections_says_why(content: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = np.bytes_(content) if isinstance(content, str) and content else content
    source = write(tmp_path / "a.hdf5", {str(n): data for n in range(1, 31)})
    with pytest.raises(
        MediaError,
        match=r"a\.hdf5: P01_01, frame 12 (is no list of detections|is no text|has the shape \(\): [\d,]+ bytes)",
    ):
        read_media(source, 0.2, 0.21, ALL)
    assert not (tmp_path / "made").exists()


def test_a_file_of_another_form_says_why(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="has no entry named by a number"):
        read_media(write(tmp_path / "a.hdf5", {"x": text(1)}), 0.0, 1.0, ALL)
    with h5py.File(tmp_path / "b.hdf5", "w") as file:
        file["P01_01"] = np.zeros(5)
    with pytest.raises(MediaError, match="is no group"):
        read_media(Source("hdf5_boxes", (tmp_path / "b.hdf5",), rate=60.0, entry="P01_01"), 0.0, 1.0, ALL)
    (tmp_path / "c.hdf5").write_bytes(b"no HDF5")
    with pytest.raises(MediaError, match=r"c\.hdf5 cannot be read as HDF5"):
        read_media(Source("hdf5_boxes", (tmp_path / "c.hdf5",), rate=60.0, entry="P01_01"), 0.0, 1.0, ALL)
