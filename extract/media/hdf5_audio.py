"""Sound of a segment from an HDF5 file of waveforms, one data set a video."""

import math
from pathlib import Path

import h5py
import numpy as np

from mmcache.extract.media.audio import check_level, heard_part, resample, silence_note
from mmcache.extract.media.base import AudioRequest, MediaError, NoMedia, Reading, clamp
from mmcache.extract.media.limits import check_sound
from mmcache.store.user_file import NotRegularFile, check_regular


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
            level cannot be those of sound.
    """
    check_sound(math.floor(rate), 1, f"the sound of {entry}")
    try:
        check_regular(path)
        with h5py.File(path, "r") as file:
            if entry not in file:
                raise NoMedia(f"{path.name} has no sound of {entry}")
            wave = file[entry]
            if not isinstance(wave, h5py.Dataset) or wave.ndim != 1 or wave.dtype.kind not in "fi":
                raise MediaError(f"'{entry}' in {path.name} is no waveform")
            stop_s, note = clamp(start_s, stop_s, len(wave) / rate, "sound")
            start_s, stop_s = heard_part(start_s, stop_s, request)
            first = round(start_s * rate)
            samples = wave[first : max(first + 1, round(stop_s * rate))]
    except FileNotFoundError as error:
        raise MediaError(f"{path.name} is not there") from error
    except NotRegularFile as error:
        raise MediaError(f"{path.name} cannot be read: {error.strerror}") from error
    except OSError as error:
        raise MediaError(f"{path.name} cannot be read as HDF5: {' '.join(str(error).split())[:200]}") from error
    if samples.dtype.kind == "i":
        samples = samples / float(np.iinfo(samples.dtype).max)
    samples = samples.astype(np.float64)
    check_level(samples, f"the sound of {entry} in {path.name}")
    notes = "; ".join(filter(None, [silence_note(samples), note]))
    return Reading(resample(samples, math.floor(rate), request.rate), notes or None)
