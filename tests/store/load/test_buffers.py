import gc
from collections.abc import Callable

import numpy as np
import pytest
import torch

from mmcache.store.load.buffers import BufferPool


def address(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def test_memory_is_used_again_when_nobody_holds_it() -> None:
    pool = BufferPool()
    first = pool.take(4, (3, 2), np.float16)
    where = address(first)
    assert (first.shape, first.dtype) == ((4, 3, 2), torch.float16)
    del first
    assert address(pool.take(4, (3, 2), np.float16)) == where


@pytest.mark.parametrize(
    "keep",
    [
        pytest.param(lambda tensor: tensor, id="tensor"),
        pytest.param(lambda tensor: tensor[1:2], id="slice"),
        pytest.param(lambda tensor: tensor.view(-1)[::2], id="view"),
        pytest.param(lambda tensor: tensor.numpy(), id="array"),
        pytest.param(lambda tensor: tensor.numpy()[0], id="part of an array"),
        pytest.param(lambda tensor: memoryview(tensor.numpy()), id="memoryview"),
        pytest.param(lambda tensor: tensor.detach().requires_grad_() * 2, id="autograd graph"),
    ],
)
def test_memory_is_never_handed_out_while_anything_looks_at_it(keep: Callable[[torch.Tensor], object]) -> None:
    pool = BufferPool()
    tensor = pool.take(4, (3,), np.float32)
    where = address(tensor)
    kept = keep(tensor)
    del tensor
    gc.collect()
    others = [pool.take(4, (3,), np.float32) for _ in range(6)]
    assert where not in {address(other) for other in others}
    del kept


def test_all_that_is_held_at_a_time_is_apart() -> None:
    pool = BufferPool()
    for _ in range(3):
        held = [pool.take(2, (5,), np.float32) for _ in range(8)]
        for number, tensor in enumerate(held):
            tensor.fill_(number)
        assert [float(tensor[0, 0]) for tensor in held] == list(range(8))


def test_a_smaller_last_batch_uses_a_part_and_a_larger_one_new_memory() -> None:
    pool = BufferPool()
    where = address(pool.take(4, (3,), np.float32))
    small = pool.take(2, (3,), np.float32)
    assert small.shape == (2, 3)
    assert address(small) == where
    del small
    assert pool.take(9, (3,), np.float32).shape == (9, 3)


def test_kinds_do_not_mix() -> None:
    pool = BufferPool()
    where = address(pool.take(4, (3,), np.float32))
    assert pool.take(4, (3,), np.int8).dtype == torch.int8
    other = pool.take(4, (4,), np.float32)
    assert address(other) != where


def test_what_was_held_and_given_back_at_once_is_not_all_kept() -> None:
    """A caller who collected a whole epoch leaves no epoch of memory behind."""
    pool = BufferPool()
    held = [pool.take(1, (1000,), np.float32) for _ in range(50)]
    del held
    gc.collect()
    assert sum(len(free) for free in pool._free.values()) <= 4
