"""Made-up media, to try an encoder with."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcache.common.oracle_world import WIDTH
from mmcache.extract.media.base.requests import (
    AudioRequest,
    BoxCategory,
    BoxesRequest,
    ImuRequest,
    MediaRequest,
    SkeletonRequest,
    VideoRequest,
)
from mmcache.extract.media.oracle_reader import OracleRequest


def sample_media(request: MediaRequest, seed: int = 0) -> NDArray[Any]:
    """Seeded noise in the form that the readers of media give for `request`; see media/base/requests.py."""
    rng = np.random.default_rng(seed)
    if isinstance(request, VideoRequest):
        size = (request.frames, request.short_side, request.short_side * 4 // 3, 3)
        return rng.integers(0, 256, size, dtype=np.uint8)
    if isinstance(request, AudioRequest):
        return rng.normal(0, 0.1, int(request.rate * min(2.0, request.max_seconds))).astype(np.float32)
    if isinstance(request, ImuRequest):
        return rng.normal(0, 3, (request.points, 6)).astype(np.float32)
    if isinstance(request, SkeletonRequest):
        return rng.normal(0, 1, (request.frames, request.bodies, request.joints, 3)).astype(np.float32)
    if isinstance(request, BoxesRequest):
        return _boxes(request, rng)
    if isinstance(request, OracleRequest):
        return rng.normal(0, 1, (request.tokens, WIDTH)).astype(np.float32)
    raise TypeError(f"no sample of {type(request).__name__}")


def _boxes(request: BoxesRequest, rng: np.random.Generator) -> NDArray[np.float32]:
    corners = np.sort(rng.uniform(0, 1, (request.frames, request.boxes, 2, 2)), axis=2)
    boxes = corners.reshape(request.frames, request.boxes, 4)  # x1, y1, x2, y2
    categories = rng.choice([0, *map(int, BoxCategory)], (request.frames, request.boxes, 1))
    scores = rng.uniform(request.min_score, 1, (request.frames, request.boxes, 1))
    return np.where(categories > 0, np.concatenate([boxes, categories, scores], axis=2), 0).astype(np.float32)
