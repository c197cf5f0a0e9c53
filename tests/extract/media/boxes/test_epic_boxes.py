"""Hand-object detections of EPIC-KITCHENS: messages written by hand from types.proto, pickles of every kind."""

import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from mmcache.extract.media import read_media
from mmcache.extract.media.base.requests import BoxesRequest, MediaError
from mmcache.extract.media.base.source import Source
from mmcache.extract.media.boxes.epic_boxes import message_places

ALL = BoxesRequest(frames=4, boxes=3, min_score=0.0)


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def field(number: int, value: float | int | bytes) -> bytes:
    """A field of the wire format; none where it is zero, as proto3 has it."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    if not value:
        return b""
    return varint(number << 3) + varint(value) if isinstance(value, int) else varint(number << 3 | 5) + le(value)


def le(value: float) -> bytes:
    return struct.pack("<f", value)


def box(x1: float, y1: float, x2: float, y2: float) -> bytes:
    return field(1, x1) + field(2, y1) + field(3, x2) + field(4, y2)


def hand(corners: bytes, score: float, state: int = 0, side: int = 0) -> bytes:
    offset = field(1, 0.25) + field(2, -0.5)
    return field(1, corners) + field(2, score) + field(3, state) + field(4, offset) + field(5, side)


def thing(corners: bytes, score: float) -> bytes:
    return field(1, corners) + field(2, score)


def message(number: int, hands: tuple[bytes, ...] = (), objects: tuple[bytes, ...] = ()) -> bytes:
    head = field(1, b"P01_01") + field(2, number)
    return head + b"".join(field(3, each) for each in hands) + b"".join(field(4, each) for each in objects)


def numbered(count: int) -> list[bytes]:
    """The only object of frame n reaches from 0 to n / count."""
    return [message(n, objects=(thing(box(0.0, 0.0, n / count, 1.0), 0.9),)) for n in range(1, count + 1)]


def write(path: Path, items: object, protocol: int = 3) -> Source:
    path.write_bytes(pickle.dumps(items, protocol=protocol))
    return Source("epic_boxes", (path,), rate=60.0)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_hands_and_objects_come_back_as_written_surest_first(protocol: int, tmp_path: Path) -> None:
    left = hand(box(0.0, 0.0, 0.25, 0.5), 0.5)  # all of its zero fields are missing
    right = hand(box(0.5, 0.25, 0.75, 1.0), 0.875, state=3, side=1)
    full = message(1, (left, right), (thing(box(0.125, 0.5, 0.25, 0.75), 0.75),))
    source = write(tmp_path / "P01_01.pkl", [full, message(2)], protocol)
    boxes = read_media(source, 0.0, 0.03, ALL).array
    expected = [[0.5, 0.25, 0.75, 1.0, 1, 0.875], [0.125, 0.5, 0.25, 0.75, 2, 0.75], [0.0, 0.0, 0.25, 0.5, 1, 0.5]]
    np.testing.assert_array_equal(boxes[0], np.array(expected, np.float32))
    sure = read_media(source, 0.0, 0.03, BoxesRequest(4, 3, 0.8)).array
    assert sure[0, :, 4].tolist() == [1, 0, 0]


def test_pictures_without_boxes_are_empty_and_are_no_failure(tmp_path: Path) -> None:
    reading = read_media(write(tmp_path / "a.pkl", [message(n) for n in range(1, 61)]), 0.2, 0.8, ALL)
    assert not reading.array.any()
    assert reading.note == "no box in any of the 4 frames of a.pkl that are looked at"


@pytest.mark.parametrize("rate", [50.0, 60.0])
def test_the_clock_is_that_of_the_extracted_pictures(rate: float, tmp_path: Path) -> None:
    """Frame n is that of second n / rate; more than a pickler's batch of them."""
    count = 2500
    write(tmp_path / "a.pkl", numbered(count))
    source = Source("epic_boxes", (tmp_path / "a.pkl",), rate=rate)
    for start_s, stop_s in ((0.0, 0.1), (3.0, 7.0), (20.0, 39.99)):
        moments = start_s + (np.arange(4) + 0.5) / 4 * (stop_s - start_s)
        numbers = np.maximum(1, np.floor(moments * rate + 1e-6))
        widths = np.asarray(read_media(source, start_s, stop_s, ALL).array)[:, 0, 2]
        np.testing.assert_allclose(widths * count, np.maximum(numbers, count / 456), rtol=1e-5)


def test_the_same_message_pickled_twice_is_two_items(tmp_path: Path) -> None:
    """A pickler writes an object that it has met as a reference to its memo."""
    for protocol in (3, 4):
        once = message(1)
        write(tmp_path / "a.pkl", [once, message(2), once, message(4), b"", b""], protocol)
        places = message_places(tmp_path / "a.pkl")
        data = (tmp_path / "a.pkl").read_bytes()
        items = [data[at : at + length] for at, length in places.tolist()]
        assert items == [once, message(2), once, message(4), b"", b""]


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_in_a_pickle_is_executed(protocol: int, tmp_path: Path) -> None:
    source = write(tmp_path / "a.pkl", [*numbered(3), Payload(tmp_path / "made")], protocol)
    with pytest.raises(MediaError, match="is no pickled list of byte strings: it holds"):
        read_media(source, 0.0, 0.05, ALL)
    assert not (tmp_path / "made").exists()
    pickle.loads((tmp_path / "a.pkl").read_bytes())  # noqa: S301  (it would have been)
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize("items", [{}, "text", [1], [["nested"]], [(b"a",)], [None], [bytearray(b"a")], {b"a": b"b"}])
def test_a_pickle_of_something_else_is_refused(items: object, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"a\.pkl is (no pickled list|a pickle of something else)"):
        read_media(write(tmp_path / "a.pkl", items, 4), 0.0, 1.0, ALL)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"no pickle at all", "is damaged or no pickle"),
        (pickle.dumps(numbered(50), protocol=3)[:-40], "is damaged or no pickle"),
        (pickle.dumps([], protocol=3), "a pickle of something else than a list"),
        (b"\x80\x04]\x94\x8e" + struct.pack("<Q", 1 << 46) + b"short", "is damaged or no pickle"),
    ],
    ids=["empty", "text", "cut off", "no items", "a length of 64 TiB"],
)
def test_a_damaged_pickle_says_why(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(MediaError, match=reason):
        read_media(Source("epic_boxes", (tmp_path / "a.pkl",), rate=60.0), 0.0, 1.0, ALL)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"a\.pkl is not there"):
        message_places(tmp_path / "a.pkl")


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (message(2)[:-1] + b"\xff", "the message of frame 2 is damaged"),
        (message(7), "item 2 says it is of frame 7; they are out of step"),
        (bytes((1 << 20) + 1), "has 1048577 bytes; 1048576 are allowed"),
    ],
)
def test_a_damaged_message_costs_the_segments_that_need_it_and_no_others(
    item: bytes, reason: str, tmp_path: Path
) -> None:
    items = numbered(120)
    items[1] = item
    source = write(tmp_path / "a.pkl", items)
    with pytest.raises(MediaError, match=reason):
        read_media(source, 2 / 60, 2.5 / 60, ALL)
    assert read_media(source, 1.0, 1.5, ALL).note is None


def test_a_file_that_is_replaced_is_read_again(tmp_path: Path) -> None:
    source = write(tmp_path / "a.pkl", numbered(60))
    before = read_media(source, 0.5, 0.51, ALL).array
    write(tmp_path / "a.pkl", numbered(120))
    assert not np.array_equal(before, read_media(source, 0.5, 0.51, ALL).array)
