"""UWA3D's MATLAB files, written as MATLAB writes version 7.3: HDF5 behind a header of 512 bytes, columns first."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from mmcache.extract.media import read_media
from mmcache.extract.media.base.requests import MediaError, NoMedia, Reading, SkeletonRequest
from mmcache.extract.media.base.source import Source


def poses(frames: int) -> NDArray[np.float64]:
    """(T, 15, 3) in metres: x says the frame, y the joint."""
    out = np.full((frames, 15, 3), 2.5)
    out[..., 0] = np.arange(frames)[:, None] / 10
    out[..., 1] = np.arange(15) / 10
    return out


def write(path: Path, matrix: NDArray[np.floating], *, name: str = "A") -> Path:
    """A matrix [rows, columns] of MATLAB."""
    with h5py.File(path, "w", userblock_size=512) as file:
        entry = file.create_dataset(name, data=np.ascontiguousarray(matrix.T))
        entry.attrs["MATLAB_class"] = np.bytes_("double")
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: PCWIN64, Created on: Mon Jan 01 00:00:00 2014 HDF5 schema 1.00 .")
    return path


def read(path: Path, frames: int) -> Reading:
    return read_media(Source("mat_skeleton", (path,)), 0, np.inf, SkeletonRequest(frames, 2, 20))


@pytest.mark.parametrize("frames", [1, 44, 45, 80])
def test_a_matrix_is_read_by_rows_also_where_it_is_square(frames: int, tmp_path: Path) -> None:
    expected = poses(frames)
    array = np.asarray(read(write(tmp_path / "a.mat", expected.reshape(frames, 45)), frames).array)
    assert array.shape == (frames, 2, 20, 3)
    np.testing.assert_allclose(array[:, 0, :15], expected, rtol=1e-6)
    assert not array[:, 1].any()
    assert not array[:, :, 15:].any()


def test_rows_first_is_read_where_it_is_clear(tmp_path: Path) -> None:
    for frames in (7, 45):
        with h5py.File(tmp_path / f"{frames}.mat", "w") as file:
            file["A"] = poses(frames).reshape(frames, 45)
    np.testing.assert_allclose(np.asarray(read(tmp_path / "7.mat", 7).array)[:, 0, :15], poses(7), rtol=1e-6)
    with pytest.raises(MediaError, match="45 x 45 and not written by MATLAB: rows and columns are unclear"):
        read(tmp_path / "45.mat", 7)


def test_millimetres_become_metres(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mat", 1000 * poses(9).reshape(9, 45))
    np.testing.assert_allclose(np.asarray(read(path, 9).array)[:, 0, :15], poses(9), rtol=1e-6)


def test_poses_are_spread_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mat", poses(100).reshape(100, 45))
    assert np.rint(np.asarray(read(path, 4).array)[:, 0, 0, 0] * 10).tolist() == [12, 37, 62, 87]


def test_zeros_are_no_media(tmp_path: Path) -> None:
    with pytest.raises(NoMedia, match=r"a\.mat has no frame with a body in it"):
        read(write(tmp_path / "a.mat", np.zeros((30, 45))), 4)
    with h5py.File(tmp_path / "empty.mat", "w", userblock_size=512) as file:  # how MATLAB stores []
        file["A"] = np.array([0, 45], np.uint64)
        file["A"].attrs["MATLAB_empty"] = np.uint8(1)
    with pytest.raises(NoMedia, match=r"empty\.mat has no frame with a body in it"):
        read(tmp_path / "empty.mat", 4)


def test_joints_that_are_no_numbers_are_0_and_told(tmp_path: Path) -> None:
    matrix = poses(6).reshape(6, 45)
    matrix[2, 3:6] = np.nan
    reading = read(write(tmp_path / "a.mat", matrix), 6)
    assert np.asarray(reading.array)[2, 0, 1].tolist() == [0, 0, 0]
    assert reading.note == "1 joints that are no numbers set to 0"


def test_another_form_is_told(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"a\.mat has no matrix 'A'; it has skeleton"):
        read(write(tmp_path / "a.mat", poses(6).reshape(6, 45), name="skeleton"), 4)
    with pytest.raises(MediaError, match=r"'A' in b\.mat is float64 \(60, 8\), not \[T, 45\] numbers"):
        read(write(tmp_path / "b.mat", np.ones((8, 60))), 4)
    with h5py.File(tmp_path / "c.mat", "w") as file:
        file["A"] = [b"text"] * 45
    with pytest.raises(MediaError, match=r"not \[T, 45\] numbers"):
        read(tmp_path / "c.mat", 4)


def test_files_that_cannot_be_opened_are_told(tmp_path: Path) -> None:
    for name, content in (("old", b"MATLAB 5.0 MAT-file, Platform: PCWIN64"), ("empty", b"")):
        (tmp_path / f"{name}.mat").write_bytes(content)
        with pytest.raises(MediaError, match=rf"{name}\.mat cannot be read as MATLAB v7\.3 \(HDF5\)"):
            read(tmp_path / f"{name}.mat", 4)
    path = write(tmp_path / "cut.mat", poses(500).reshape(500, 45))
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(MediaError, match=r"cut\.mat cannot be read"):
        read(path, 4)
    with pytest.raises(MediaError, match=r"gone\.mat is not there"):
        read(tmp_path / "gone.mat", 4)
