"""Sound of a segment from an HDF5 file of waveforms, one data set a video."""

import math
from pathlib import Path

import h5py
import numpy as np

from mmcache.extract.media.audio import resample
from mmcache.extract.media.base import AudioRequest, MediaError, NoMedia, Reading, clamp


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
        MediaError: it cannot be opened, the entry is no waveform, or it ends before the segment starts.
    """
    try:
        with h5py.File(path, "r") as file:
            if entry not in file:
                raise NoMedia(f"{path.name} has no sound of {entry}")
            wave = file[entry]
            if not isinstance(wave, h5py.Dataset) or wave.ndim != 1 or wave.dtype.kind not in "fi":
                raise MediaError(f"'{entry}' in {path.name} is no waveform")
            stop_s, note = clamp(start_s, stop_s, len(wave) / rate, "sound")
            start_s, stop_s = request.part_of(start_s, stop_s)
            if stop_s - start_s > request.max_seconds:
                start_s = (start_s + stop_s - request.max_seconds) / 2
                stop_s = start_s + request.max_seconds
            first = round(start_s * rate)
            samples = wave[first : max(first + 1, round(stop_s * rate))]
    except OSError as error:
        raise MediaError(f"{path.name} cannot be read as HDF5: {' '.join(str(error).split())[:200]}") from error
    if samples.dtype.kind == "i":
        samples = samples / float(np.iinfo(samples.dtype).max)
    if not np.isfinite(samples).all():
        raise MediaError(f"the sound of {entry} in {path.name} holds NaN or infinity")
    return Reading(resample(samples.astype(np.float64), math.floor(rate), request.rate), note)
