"""Folders of 16-bit depth images, written with Pillow, whose values are known."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from mmcache.extract.media import read_media
from mmcache.extract.media.base.requests import MediaError, NoMedia, VideoRequest
from mmcache.extract.media.base.source import Source
from mmcache.extract.media.images.depth import FAR_MM, NEAR_MM, read_depth

PROPERTY = settings(max_examples=30)


def write_depth(folder: Path, maps: Iterable[NDArray[Any]], name: str = "MDepth-{:08d}.png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, values in enumerate(maps, 1):
        Image.fromarray(values).save(folder / name.format(number))
    return folder


def read(folder: Path, frames: int = 1, side: int = 8, colouring: str = "grey", **more: Any) -> NDArray[np.uint8]:
    return np.asarray(read_depth(folder, 0, np.inf, VideoRequest(frames, side), colouring, None, 0, **more).array)


def test_millimetres_become_grey_on_one_scale(tmp_path: Path) -> None:
    values = np.array([[0, 1, 499, 500, 530, 4250, 8000, 65535]] * 8, np.uint16)
    pictures = read(write_depth(tmp_path / "d", [values]))
    assert pictures.shape == (1, 8, 8, 3)
    assert pictures.dtype == np.uint8
    assert pictures[0, 0, :, 0].tolist() == [0, 1, 1, 1, 2, 128, 255, 255]
    assert (pictures == pictures[..., :1]).all()


@PROPERTY
@given(values=st.lists(st.integers(0, 65535), min_size=2, max_size=30))
def test_grey_keeps_the_order_of_distances_and_0_for_no_data(
    values: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    row = np.array([sorted([*values, 65535])], np.uint16)  # of no data at all there is no image
    grey = read(write_depth(tmp_path_factory.mktemp("d"), [row]), side=1)[0, 0, :, 0]
    assert (np.diff(grey.astype(int)) >= 0).all()
    assert ((grey == 0) == (row[0] == 0)).all()
    inside = (row[0] >= NEAR_MM) & (row[0] <= FAR_MM)
    back = NEAR_MM + (grey[inside].astype(float) - 1) / 254 * (FAR_MM - NEAR_MM)
    assert (np.abs(back - row[0][inside]) <= 15).all()


@pytest.mark.parametrize(("height", "width", "side", "shape"), [(424, 512, 256, (256, 309)), (60, 40, 100, (150, 100))])
def test_sizes_are_read_and_no_data_is_never_mixed_in(
    height: int, width: int, side: int, shape: tuple[int, int], tmp_path: Path
) -> None:
    values = np.zeros((height, width), np.uint16)
    values[height // 3 : height // 2, width // 3 : width // 2] = 4250
    pictures = read(write_depth(tmp_path / "d", [values]), side=side)
    assert pictures.shape[1:3] == shape
    assert set(np.unique(pictures)) == {0, 128}


def test_jet_is_that_of_each_picture_by_itself(tmp_path: Path) -> None:
    near = np.array([[0, 1000, 2000]] * 3, np.uint16)
    far = near * 4
    flat = np.full((3, 3), 700, np.uint16)
    pictures = read(write_depth(tmp_path / "d", [near, far, flat]), 3, 3, "jet")
    # matplotlib's cm.jet(0), cm.jet(0.5) and cm.jet(1.0), times 255, cut to whole numbers
    assert pictures[0, 0].tolist() == [[0, 0, 127], [124, 255, 121], [127, 0, 0]]
    assert (pictures[1] == pictures[0]).all()
    assert (pictures[2] == [0, 0, 127]).all()


def test_pictures_are_spread_over_the_folder_by_number(tmp_path: Path) -> None:
    maps = [np.full((4, 4), NEAR_MM + round((number - 1) * 7500 / 254), np.uint16) for number in range(1, 13)]
    folder = write_depth(tmp_path / "S001C001P001R001A001", maps, "Depth-{}.png")  # Depth-10 comes before Depth-2
    (folder / "Thumbs.db").touch()
    (folder / "._Depth-3.png").write_bytes(b"what a Mac leaves behind")
    source = Source("depth", (folder,), variant="grey")
    request = VideoRequest(12, 4)
    assert np.asarray(read_media(source, 0, np.inf, request).array)[:, 0, 0, 0].tolist() == list(range(1, 13))
    later = VideoRequest(frames=3, short_side=4, part=(0.5, 1.0))
    assert np.asarray(read_media(source, 0, np.inf, later).array)[:, 0, 0, 0].tolist() == [8, 10, 12]


def test_only_numbers_that_another_modality_has_too_are_used(tmp_path: Path) -> None:
    folder = write_depth(tmp_path / "depth", [np.full((2, 2), 4250 * (n % 2), np.uint16) for n in range(1, 9)])
    other = tmp_path / "rgb"
    other.mkdir()
    for number in (2, 4, 6, 11):
        (other / f"{number:03d},.jpg").touch()
    assert read(folder, 8, 2)[:, 0, 0, 0].tolist() == [128, 0] * 4
    with pytest.raises(NoMedia, match=r"depth holds no distance in this segment: every value is 0"):
        read(folder, 8, 2, beside=((other, ""),))
    (other / "003,.jpg").touch()
    assert read(folder, 8, 2, beside=((other, ""),))[:, 0, 0, 0].tolist() == [0, 0, 128, 128, 0, 0, 0, 0]
    (tmp_path / "late").mkdir()
    assert read(folder, 8, 2, beside=((tmp_path / "late", ""),))[:, 0, 0, 0].tolist() == [128, 0] * 4
    (tmp_path / "late" / "012.jpg").touch()
    with pytest.raises(MediaError, match=r"no number of an image in depth is also found in .*/late"):
        read(folder, beside=((tmp_path / "late", ""),))


def test_grey_of_8_bits_is_taken_as_it_is(tmp_path: Path) -> None:
    values = np.array([[0, 7, 255]] * 3, np.uint8)
    for number, stored in enumerate((values, np.repeat(values[..., None], 3, axis=2))):
        folder = write_depth(tmp_path / str(number), [stored])
        assert read(folder, 1, 3)[0, 0].tolist() == [[0] * 3, [7] * 3, [255] * 3]
        assert read(folder, 1, 3, "jet")[0, 0, [0, 2]].tolist() == [[0, 0, 127], [127, 0, 0]]


def test_coloured_pictures_are_taken_as_jet_and_never_as_distance(tmp_path: Path) -> None:
    colours = np.zeros((2, 3, 3), np.uint8)
    colours[:, 0] = (0, 0, 127)
    folder = write_depth(tmp_path / "d", [colours])
    assert (read(folder, 1, 2, "jet")[0] == colours).all()
    with pytest.raises(MediaError, match=r"MDepth-00000001\.png is a coloured image, .* --set depth=jet"):
        read(folder, 1, 2)
    Image.fromarray(colours).quantize(4).save(folder / "MDepth-00000001.png")
    assert (read(folder, 1, 2, "jet")[0] == colours).all()


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="the folder gone is not there"):
        read(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MediaError, match=r"empty holds no numbered images but nothing; allowed are \.jpg, "):
        read(tmp_path / "empty")
    folder = write_depth(tmp_path / "cut", [np.arange(4096, dtype=np.uint16).reshape(64, 64)])
    whole = (folder / "MDepth-00000001.png").read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"<html>"):
        (folder / "MDepth-00000001.png").write_bytes(content)
        with pytest.raises(MediaError, match=r"MDepth-00000001\.png is no readable image"):
            read(folder)
    folder = write_depth(tmp_path / "bits", [np.eye(8, dtype=bool)])
    with pytest.raises(
        MediaError, match="holds bool values from False to True; depth is of 16 bits, in millimetres, or grey of 8"
    ):
        read(folder)
    folder = write_depth(tmp_path / "mixed", [np.ones(shape, np.uint16) for shape in ((20, 30), (20, 40))])
    with pytest.raises(MediaError, match=r"mixed are not of one shape: scaled, MDepth-00000001\.png is 12 x 8 and"):
        read(folder, 2)
