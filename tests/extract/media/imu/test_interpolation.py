"""How much of a segment was recorded, against counting it moment by moment."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcache.extract.media.base.requests import ImuRequest, NoMedia
from mmcache.extract.media.imu.interpolation import Stream, _unrecorded_s, interpolate, stream_of

# Samples on whole seconds; what is more than 2 s apart has a gap between.
samples = st.lists(st.integers(0, 40), min_size=1, max_size=25, unique=True)


def stream(at: list[int]) -> Stream:
    times = np.array(sorted(at), np.float64)
    return Stream(times, np.stack([times, -times, 0 * times], axis=1), gap_s=2.0)


def recorded(at: list[int], moment: float) -> bool:
    before, after = [t for t in at if t <= moment], [t for t in at if t >= moment]
    return bool(before and after) and min(after) - max(before) <= 2


@settings(max_examples=150)
@given(one=samples, other=samples, span=st.tuples(st.integers(-3, 43), st.integers(1, 30)))
def test_what_is_not_recorded_by_either_is_counted_once(
    one: list[int], other: list[int], span: tuple[int, int]
) -> None:
    start_s, stop_s = span[0], span[0] + span[1]
    middles = np.arange(start_s, stop_s) + 0.5
    expected = sum(not (recorded(one, m) and recorded(other, m)) for m in middles)
    assert _unrecorded_s([stream(one), stream(other)], start_s, stop_s) == expected


@settings(max_examples=100)
@given(one=samples, span=st.tuples(st.integers(-3, 43), st.integers(1, 30)))
def test_a_segment_is_read_when_half_of_it_was_recorded(one: list[int], span: tuple[int, int]) -> None:
    start_s, stop_s = float(span[0]), float(span[0] + span[1])
    missing = _unrecorded_s([stream(one)], start_s, stop_s)
    if missing > 0.5 * (stop_s - start_s):
        with pytest.raises(NoMedia, match="not this segment"):
            interpolate([stream(one)], "x.csv", start_s, stop_s, ImuRequest(points=6))
        return
    reading = interpolate([stream(one)], "x.csv", start_s, stop_s, ImuRequest(points=6))
    assert reading.array.shape == (6, 3)
    assert (reading.note is None) == (missing == 0)
    assert reading.array[:, 0].min() >= min(one)
    assert reading.array[:, 0].max() <= max(one)


def test_slow_sensors_have_no_gaps_all_the_time() -> None:
    once_a_second = np.arange(0.0, 60.0)
    slow = stream_of(once_a_second[::-1], np.zeros((60, 3)))
    assert slow.gap_s == 10.0
    assert interpolate([slow], "x.csv", 3.2, 4.1, ImuRequest(points=4)).note is None
    assert stream_of(np.arange(0.0, 9.0, 0.005), np.zeros((1800, 3))).gap_s == 0.5
    assert stream_of(np.array([3.0]), np.zeros((1, 3))).gap_s == 0.5
