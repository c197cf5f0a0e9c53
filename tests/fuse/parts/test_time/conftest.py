"""Streams of segments, and what a model says of them with and without adapting."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from mmcache.fuse.parts.test_time import TEST_TIME, Adapter, Seen, step_options


@pytest.fixture
def stream() -> Callable[..., list[Seen]]:
    """A batch in pieces of `size`."""

    def cut(batch: Any, present: torch.Tensor, size: int = 2) -> list[Seen]:
        starts = range(0, len(present), size)
        return [Seen({n: x[i : i + size] for n, x in batch.tokens.items()}, present[i : i + size]) for i in starts]

    return cut


@pytest.fixture
def adapter() -> Callable[..., Adapter]:
    """Of a model, with steps large enough to see."""

    def make(model: Any, step: str = "midl", **options: Any) -> Adapter:
        return Adapter(model, TEST_TIME[step].loss, step_options(step, {"adapt_lr": 0.05, **options}))

    return make


@pytest.fixture
def plain() -> Callable[..., list[dict]]:
    """What a model says that does not adapt."""

    def answers(model: Any, batches: list[Seen]) -> list[dict]:
        with torch.no_grad():
            return [model(batch.tokens, batch.present) for batch in batches]

    return answers


@pytest.fixture
def same() -> Callable[..., bool]:
    """Whether two lists of answers are the same to the bit."""
    return lambda one, other: all(torch.equal(a[t], b[t]) for a, b in zip(one, other, strict=True) for t in a)
