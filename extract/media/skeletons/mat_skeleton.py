"""Skeletons of UWA3D Multiview Activity II: a MATLAB v7.3 file (which is HDF5) a sample, one body in it.

    A    [T, 45]: 15 joints, x y z of each

MATLAB stores columns first, so HDF5 sees (45, T). A file that Python wrote has (T, 45), which is read too.
"""

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from mmcache.extract.media.base.hdf5_members import find_member, member, named, open_hdf5
from mmcache.extract.media.base.requests import MediaError, NoMedia, Reading, SkeletonRequest
from mmcache.extract.media.skeletons.poses import MOST_METRES, spread_poses, without_nan
from mmcache.store.files.hdf5_reading import dtype_of, has_attribute, names_in, read_whole
from mmcache.store.ground.text import printable

JOINTS = 15


def read_mat_skeleton(path: Path, request: SkeletonRequest) -> Reading:
    """Poses spread evenly over the file.

    Returns:
        Reading of (frames, bodies, joints, 3) float32 in metres; only the first body is ever there.

    Raises:
        NoMedia: it has no frames, or all of it is 0.
        MediaError: it cannot be read, or is not of the form above.
    """
    with open_hdf5(path, "MATLAB v7.3 (HDF5)") as file:
        matrix = _matrix(file, path)
    poses, note = without_nan(matrix.reshape(len(matrix), 1, JOINTS, 3), "joints")
    distances = np.abs(poses[poses.any(axis=-1)]).max(axis=-1)
    if len(distances) and np.median(distances) > MOST_METRES:
        poses = poses / np.float32(1000)  # the unit of OpenNI, which tracks 15 joints
    return Reading(spread_poses(poses, request, path.name), note)


def _matrix(file: h5py.File, path: Path) -> NDArray[np.float64]:
    """(T, 45)"""
    name, where, width = path.name, named("A", path), JOINTS * 3
    matrix = find_member(file, "A", where)
    with member(where):
        if not isinstance(matrix, h5py.Dataset):
            there = ", ".join(names_in(file)[:8])
            raise MediaError(f"{name} has no matrix 'A'; it has {printable(there) or 'nothing'}")
        if has_attribute(matrix, "MATLAB_empty") or matrix.size == 0:
            raise NoMedia(f"{name} has no frame with a body in it")
        dtype = dtype_of(matrix)
        if matrix.ndim != 2 or dtype.kind not in "fiu" or width not in matrix.shape:
            raise MediaError(f"{where} is {dtype} {matrix.shape}, not [T, {width}] numbers")
        if matrix.shape == (width, width) and not has_attribute(matrix, "MATLAB_class"):
            raise MediaError(f"{where} is {width} x {width} and not written by MATLAB: rows and columns are unclear")
        values = np.asarray(read_whole(matrix), np.float64)
    return values.T if matrix.shape[1] != width or matrix.shape == (width, width) else values
