"""Audio of a segment from an HDF5 file of waveforms, one data set a video."""

import math
from pathlib import Path

import h5py
import numpy as np

from mmcache.extract.media.av.audio import check_level, part_to_read, resample, silence_note
from mmcache.extract.media.base.hdf5_members import find_member, member, named, open_hdf5
from mmcache.extract.media.base.limits import check_audio
from mmcache.extract.media.base.requests import AudioRequest, MediaError, NoMedia, Reading, clamp
from mmcache.store.files.hdf5_reading import check_written, dtype_of, read_rows

# Integers of 64 bits are refused: NumPy turns 16-bit audio into them, and then their full scale is not known.
_DTYPES = tuple(map(np.dtype, ("float16", "float32", "float64", "int8", "int16", "int32")))
_ALLOWED = "floats, or of signed integers of 8 to 32 bits"


def read_hdf5_audio(
    path: Path, entry: str, rate: float, start_s: float, stop_s: float, request: AudioRequest
) -> Reading:
    """[start_s, stop_s) of the waveform `entry`, resampled.

    Args:
        rate: samples a second in the file.

    Returns:
        Reading of (samples,) float32 in [-1, 1].

    Raises:
        NoMedia: the file has no such entry.
        MediaError: it cannot be opened, the entry is no waveform, it ends before the segment starts, or its rate or
            level cannot be those of audio.
    """
    check_audio(math.floor(rate), 1, f"the audio of {entry}")
    where = named(entry, path)
    with open_hdf5(path) as file, member(where):
        wave = find_member(file, entry, where)
        if wave is None:
            raise NoMedia(f"{path.name} has no audio of {entry}")
        if not isinstance(wave, h5py.Dataset):
            raise MediaError(f"{where} is no waveform but a group")
        dtype = dtype_of(wave)
        if wave.ndim != 1 or dtype.newbyteorder("=") not in _DTYPES:
            raise MediaError(f"{where} is no waveform: it holds {dtype} {wave.shape}, not (samples,) of {_ALLOWED}")
        stop_s, note = clamp(start_s, stop_s, len(wave) / rate, "audio")
        start_s, stop_s = part_to_read(start_s, stop_s, request)
        first = min(round(start_s * rate), len(wave) - 1)
        part = slice(first, max(first + 1, round(stop_s * rate)))
        check_written(wave, part)
        samples = read_rows(wave, part)
    if samples.dtype.kind == "i":
        samples = samples / float(np.iinfo(samples.dtype).max)
    samples = samples.astype(np.float64)
    check_level(samples, f"the audio of {entry} in {path.name}")
    notes = "; ".join(filter(None, [silence_note(samples), note]))
    return Reading(resample(samples, math.floor(rate), request.rate), notes or None)
