"""Images packed into HDF5, in every way that h5py stores bytes."""

import io
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from mmcache.extract.media import read_media
from mmcache.extract.media.base.requests import MediaError, NoMedia, VideoRequest
from mmcache.extract.media.base.source import Source

VLEN = h5py.vlen_dtype(np.uint8)


def picture(level: int, mode: str = "RGB", size: tuple[int, int] = (16, 8)) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, level if mode == "L" else (level, 0, 0)).save(buffer, "JPEG", quality=100, subsampling=0)
    return buffer.getvalue()


def store_list(parent: h5py.Group, name: str, pictures: list[bytes]) -> None:
    parent.create_dataset(name, (len(pictures),), VLEN)
    for n, data in enumerate(pictures):
        parent[name][n] = np.frombuffer(data, np.uint8)


def store_strings(parent: h5py.Group, name: str, pictures: list[bytes]) -> None:
    parent.create_dataset(name, data=np.array(pictures, "S"))


def store_void_group(parent: h5py.Group, name: str, pictures: list[bytes]) -> None:
    group = parent.create_group(name)
    for n, data in enumerate(pictures):
        group.create_dataset(str(n), data=np.void(data))


def store_scalar_group(parent: h5py.Group, name: str, pictures: list[bytes]) -> None:
    """As the published script of BMVC 2021 does, from files 0001.jpg on."""
    group = parent.create_group(name)
    for n, data in enumerate(pictures, 1):
        group.create_dataset(f"{n:04d}", data=np.asarray(data))


def store_array_group(parent: h5py.Group, name: str, pictures: list[bytes]) -> None:
    group = parent.create_group(name)
    for n, data in enumerate(pictures):
        group.create_dataset(str(n), data=np.frombuffer(data, np.uint8))


FORMS = [store_list, store_strings, store_void_group, store_scalar_group, store_array_group]


@pytest.mark.parametrize("store", FORMS)
def test_pictures_are_spread_over_the_segment(store: Any, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        store(file.create_group("P01_01"), "P01_01_7", [picture(10 * n) for n in range(12)])
    source = Source("hdf5_frames", (tmp_path / "a.hdf5",), entry="P01_01/{id}").of_segment("P01_01_7")
    for request, expected in (
        (VideoRequest(4, 8), [1, 4, 7, 10]),
        (VideoRequest(12, 8), list(range(12))),
        (VideoRequest(24, 8), [n // 2 for n in range(24)]),
        (VideoRequest(3, 8, part=(0.5, 1.0)), [7, 9, 11]),
    ):
        array = np.asarray(read_media(source, 3.0, 5.0, request).array)
        assert array.shape == (request.frames, 8, 16, 3)
        np.testing.assert_allclose(array[:, 4, 4, 0].astype(int), np.array(expected) * 10, atol=2)


def test_pictures_are_scaled_to_the_shorter_side(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        store_list(file, "7", [picture(200, size=(40, 20))])
        store_list(file, "8", [picture(200, size=(20, 40))])
    for video, shape in (("7", (2, 10, 20, 3)), ("8", (2, 20, 10, 3))):
        source = Source("hdf5_frames", (tmp_path / "a.hdf5",), entry=video)
        assert read_media(source, 0.0, np.inf, VideoRequest(2, 10)).array.shape == shape


@pytest.mark.parametrize("store", [store_list, store_void_group])
def test_flow_is_u_and_v_in_turn(store: Any, tmp_path: Path) -> None:
    pairs = [(100 + n, 150 - n) for n in range(8)]
    with h5py.File(tmp_path / "flow.hdf5", "w") as file:
        store(file.create_group("v"), "s", [picture(level, "L") for pair in pairs for level in pair])
    source = Source("hdf5_flow", (tmp_path / "flow.hdf5",), entry="v/s")
    array = np.asarray(read_media(source, 0.0, 1.0, VideoRequest(4, 8)).array)
    assert array[:, 0, 0].tolist() == [[101, 149, 128], [103, 147, 128], [105, 145, 128], [107, 143, 128]]
    halved = Source("hdf5_flow", (tmp_path / "flow.hdf5",), gain=0.5, entry="v/s")
    array = np.asarray(read_media(halved, 0.0, 1.0, VideoRequest(1, 8)).array)
    np.testing.assert_allclose(array[0, 0, 0], [128 - 12, 128 + 9, 128], atol=1)


def test_an_entry_that_is_not_there_is_missing_media(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        store_list(file.create_group("P01_01"), "P01_01_7", [picture(0)])
    for entry in ("P01_01/P01_01_8", "P01_02/P01_02_7"):
        with pytest.raises(NoMedia, match=rf"a\.hdf5 has no images of {entry}"):
            read_media(Source("hdf5_frames", (tmp_path / "a.hdf5",), entry=entry), 0.0, 1.0, VideoRequest(2, 8))


def test_a_damaged_picture_is_named_and_others_are_read(tmp_path: Path) -> None:
    pictures = [picture(10 * n) for n in range(8)]
    pictures[5] = pictures[5][:100]
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        store_list(file, "7", pictures)
    source = Source("hdf5_frames", (tmp_path / "a.hdf5",), entry="7")
    with pytest.raises(MediaError, match=r"a\.hdf5: 7, image 5 is no readable image"):
        read_media(source, 0.0, np.inf, VideoRequest(8, 8))
    read_media(source, 0.0, np.inf, VideoRequest(4, 8, part=(0.0, 0.5)))


@pytest.mark.parametrize(
    ("make", "kind", "reason"),
    [
        (lambda file: store_list(file, "7", []), "hdf5_frames", "holds no images"),
        (lambda file: file.create_group("7"), "hdf5_frames", "holds no images"),
        (lambda file: store_list(file, "7", [picture(1)] * 3), "hdf5_flow", "holds 3 images, which are no pairs"),
        (lambda file: file.create_dataset("7", data=5), "hdf5_frames", "no list of images"),
        (lambda file: file.create_dataset("7", data=np.zeros((4, 3))), "hdf5_frames", "no list of images"),
        (lambda file: file.create_dataset("7", data=np.zeros(4)), "hdf5_frames", "image 1 is no readable image"),
        (
            lambda file: store_list(file, "7", [picture(1), picture(1, size=(32, 8))]),
            "hdf5_frames",
            "images of a.hdf5: 7 are not of one shape: scaled, image 0 is 16 x 8 and image 1 is 32 x 8",
        ),
        (
            lambda file: store_list(file, "7", [picture(1, "L"), picture(1, "L", (32, 8))]),
            "hdf5_flow",
            "image 0: u is 16 x 8 pixels, v is 32 x 8",
        ),
    ],
)
def test_an_entry_of_another_form_says_why(make: Any, kind: Any, reason: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        make(file)
    with pytest.raises(MediaError, match=reason):
        read_media(Source(kind, (tmp_path / "a.hdf5",), entry="7"), 0.0, 1.0, VideoRequest(2, 8))


@pytest.mark.parametrize("content", [b"", b"no HDF5", None])
def test_a_file_that_is_no_hdf5_says_why(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "a.hdf5").write_bytes(content)
    with pytest.raises(MediaError, match=r"a\.hdf5 (cannot be read as HDF5|is not there)"):
        read_media(Source("hdf5_frames", (tmp_path / "a.hdf5",), entry="7"), 0.0, 1.0, VideoRequest(2, 8))
