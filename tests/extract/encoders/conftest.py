"""What the tests of encoders share: media as the readers would give it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mmcache.extract.media.base.requests import AudioRequest, BoxesRequest, MediaRequest, SkeletonRequest, VideoRequest
from mmcache.extract.media.oracle_reader import OracleRequest


@pytest.fixture(scope="session")
def media_for() -> Callable[[MediaRequest], NDArray[Any]]:
    """The same media for the same request."""
    return _media_for


def _media_for(request: MediaRequest) -> NDArray[Any]:
    rng = np.random.default_rng(0)
    if isinstance(request, VideoRequest):
        size = (request.frames, request.short_side, request.short_side * 4 // 3, 3)
        return rng.integers(0, 256, size, dtype=np.uint8)
    if isinstance(request, AudioRequest):
        return rng.normal(0, 0.1, request.rate * 2).astype(np.float32)
    if isinstance(request, OracleRequest):
        return rng.normal(0, 1, (request.tokens, 8)).astype(np.float32)
    if isinstance(request, BoxesRequest):
        boxes = np.zeros((request.frames, request.boxes, 6), np.float32)
        boxes[:, :3] = [[0.2, 0.2, 0.4, 0.6, 1, 0.9], [0.1, 0.5, 0.3, 0.9, 2, 0.8], [0.6, 0.6, 0.9, 0.9, 2, 0.7]]
        boxes[:, :3, :4] += rng.uniform(0, 0.1, (request.frames, 3, 4))
        return boxes
    if isinstance(request, SkeletonRequest):
        return rng.normal(0, 1, (request.frames, request.bodies, request.joints, 3)).astype(np.float32)
    return rng.normal(0, 3, (request.points, 6)).astype(np.float32)
