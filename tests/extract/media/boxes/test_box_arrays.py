"""Boxes of any source brought to one form, and which frames they are taken from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcache.extract.media.base.requests import BoxesRequest, MediaError
from mmcache.extract.media.boxes.box_arrays import arranged, boxes_over_time

PIXEL = (1 / 100, 1 / 50)
EDGE = st.floats(-3, 3, width=32)
BOX = st.tuples(EDGE, EDGE, EDGE, EDGE, st.sampled_from([1.0, 2.0]), st.floats(0, 1, width=32))


@given(st.lists(BOX, max_size=12), st.integers(1, 5), st.floats(0, 1))
def test_whatever_a_file_holds_boxes_lie_in_the_picture_surest_first(
    found: list[tuple[float, ...]], boxes: int, min_score: float
) -> None:
    out, unusable = arranged(np.array(found).reshape(-1, 6), PIXEL, BoxesRequest(1, boxes, min_score))
    assert unusable == 0
    assert out.shape == (boxes, 6)
    expected = sorted((box[5] for box in found if box[5] >= min_score), reverse=True)[:boxes]
    there = out[:, 4] > 0
    np.testing.assert_allclose(out[there, 5], np.array(expected, np.float32))
    assert not there[len(expected) :].any()
    assert (out[~there] == 0).all()
    corners = out[there, :4]
    assert ((corners >= 0) & (corners <= 1)).all()
    assert (corners[:, 2:] - corners[:, :2] >= np.array(PIXEL) * 0.999).all()


def test_a_proper_box_is_left_as_it_is_and_a_turned_one_is_swapped() -> None:
    box = [0.25, 0.5, 0.75, 1.0, 1.0, 0.9]
    turned = [0.75, 1.0, 0.25, 0.5, 2.0, 0.8]
    out, _ = arranged(np.array([box, turned]), PIXEL, BoxesRequest(1, 3, 0.5))
    np.testing.assert_array_equal(out[0], np.array(box, np.float32))
    np.testing.assert_array_equal(out[1, :4], np.array(box[:4], np.float32))
    assert out[1, 4] == 2


@pytest.mark.parametrize(("x1", "x2", "expected"), [(1.0, 1.2, (0.99, 1.0)), (-0.4, 0.0, (0.0, 0.01)), (0.5, 0.5, ())])
def test_a_box_without_extent_becomes_one_pixel_wide(x1: float, x2: float, expected: tuple[float, ...]) -> None:
    out, _ = arranged(np.array([[x1, 0.1, x2, 0.9, 1, 1]]), PIXEL, BoxesRequest(1, 1, 0))
    np.testing.assert_allclose(out[0, [0, 2]], expected or (0.5, 0.51), rtol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", range(6))
def test_boxes_that_are_no_numbers_are_left_out_and_counted(value: float, column: int) -> None:
    found = np.array([[0.1, 0.1, 0.5, 0.5, 1, 0.9], [0.2, 0.2, 0.6, 0.6, 2, 0.8]])
    found[0, column] = value
    out, unusable = arranged(found, PIXEL, BoxesRequest(1, 2, 0.5))
    assert unusable == 1
    np.testing.assert_allclose(out[0], found[1].astype(np.float32))
    reading = over_time(boxes_of=lambda number: found)
    assert reading.note == "3 boxes of a video are no finite numbers; left out"


def over_time(stop_s: float = 3.0, start_s: float = 0.0, part=(0.0, 1.0), boxes_of=None):  # type: ignore[no-untyped-def]
    """Thirty frames, ten a second, numbered from 1; the score of each box says which."""
    return boxes_over_time(
        boxes_of or (lambda number: np.array([[0.1, 0.1, 0.5, 0.5, 1, number / 100]])),
        (1, 30),
        (10.0, 1.0),
        PIXEL,
        start_s,
        stop_s,
        BoxesRequest(3, 1, 0.0, part=part),
        "a video",
    )


@pytest.mark.parametrize(
    ("start_s", "stop_s", "part", "numbers", "note"),
    [
        (0.0, 3.0, (0.0, 1.0), [6, 16, 26], False),
        (0.0, np.inf, (0.0, 1.0), [6, 16, 26], False),
        (1.0, 1.3, (0.0, 1.0), [11, 12, 13], False),
        (0.0, 3.0, (0.5, 1.0), [18, 23, 28], False),
        (2.0, 9.0, (0.0, 1.0), [22, 26, 29], True),
        (0.0, 0.05, (0.0, 1.0), [1, 1, 1], False),
    ],
)
def test_boxes_are_those_of_the_pictures_on_screen(
    start_s: float, stop_s: float, part: tuple[float, float], numbers: list[int], note: bool
) -> None:
    reading = over_time(stop_s, start_s, part)
    np.testing.assert_allclose(reading.array[:, 0, 5] * 100, numbers, rtol=1e-5)
    assert (reading.note is not None) == note


def test_a_segment_after_the_last_picture_is_an_error() -> None:
    with pytest.raises(MediaError, match=r"starts at 3\.00 s, after the boxes of a video end \(3\.00 s\)"):
        over_time(4.0, 3.0)
