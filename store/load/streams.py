"""The streams of random numbers: what each one is for, so that no two draws of a run share one by accident.

A draw is keyed by (seed, epoch, stream, segment id) or a part of these. Epochs count from 0 and modalities are the
streams 0 to M - 1, so everything else begins far above.
"""

from enum import IntEnum


class Stream(IntEnum):
    """What a stream is for."""

    MASK_CHOICE = 1 << 20  # which modality is kept, or which subset
    MASK_COUNT = (1 << 20) + 1  # how many modalities are kept, or whether any is dropped
    MASK_FIXED = (1 << 20) + 2  # in the place of an epoch: masks that are the same in every epoch
    INITIAL_WEIGHTS = 1 << 40
    VALIDATION = 1 << 41  # which groups of train pick the epoch
    MISSING = 1 << 42  # which training segments lack a modality for good
    EPISODES = (1 << 42) + 1  # few-shot episodes and their modality subsets
    VIEWS = (1 << 42) + 2  # which cached view of a segment training reads
    TEST_WINDOWS = 1 << 43  # which windows of a test segment are missing
