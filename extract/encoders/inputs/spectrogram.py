"""The spectrogram of the Audio Spectrogram Transformer, as transformers makes it: what its users share."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import ASTFeatureExtractor

RATE, MEL_BINS = 16000, 128
HOP, WINDOW = 160, 400  # samples from one spectrogram frame to the next, and in one: 10 and 25 ms
MEAN, STD = -4.2677393, 4.5689974  # of log-mel values, AudioSet
SILENCE = float(np.log(1.192092955078125e-07))  # the floor of log-mel values


@contextmanager
def empty_filters() -> Iterator[None]:
    """128 mel bins over 257 frequencies leave the lowest filters empty: so AST was trained, and no warning is due."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="At least one mel filter has all zero values")
        yield


def extractor(frames: int, **options: Any) -> ASTFeatureExtractor:
    """Audio to (frames, 128) log-mel, padded with 0 before it is normalised, or cut."""
    with empty_filters():
        return ASTFeatureExtractor(sampling_rate=RATE, num_mel_bins=MEL_BINS, max_length=frames, **options)


def long_enough(samples: NDArray[Any]) -> NDArray[Any]:
    """Audio that has at least one spectrogram frame: a shorter one is followed by silence."""
    return np.pad(samples, (0, max(0, WINDOW - len(samples))))


def frames_of(samples: NDArray[Any]) -> int:
    """How many spectrogram frames audio has before it is padded or cut."""
    return 1 + (len(samples) - WINDOW) // HOP
