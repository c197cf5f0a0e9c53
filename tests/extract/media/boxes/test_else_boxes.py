"""Boxes of one Something-Something video, in the four forms that they come in."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcache.extract.media import read_media
from mmcache.extract.media.base.requests import BoxesRequest, MediaError, NoMedia
from mmcache.extract.media.base.source import Source

WIDTH, HEIGHT = 427, 240
ALL = BoxesRequest(frames=4, boxes=3, min_score=0.5)


def label(x1: float, y1: float, x2: float, y2: float, category: str, standard: str | None = None, **more: Any) -> dict:
    return {
        "box2d": {"y1": y1, "y2": y2, "x1": x1, "x2": x2},  # in the order of the release
        "gt_annotation": "object 0",
        "category": category,
        **({"standard_category": standard} if standard else {}),
        **more,
    }


def picture(number: int, labels: list[dict]) -> dict:
    return {"name": f"2/{number:04d}.jpg", "gt_placeholders": ["cup"], "nr_instances": 1, "labels": labels}


def moving(numbers: range | list[int]) -> list[dict]:
    """The only object of frame n reaches from 0 to 10 n pixels."""
    return [picture(n, [label(0, 0, 10 * n, 240, "cup", "0000")]) for n in numbers]


def write(folder: Path, item: object, sizes: object = None, before: bytes = b'{"1": [], "2": ') -> Source:
    data = json.dumps(item).encode()
    (folder / "part.json").write_bytes(before + data + b', "3": [}')
    sizes = {"2": [WIDTH, HEIGHT]} if sizes is None else sizes
    (folder / "videoid2size.json").write_text(json.dumps(sizes))
    extent = (len(before), len(before) + len(data))
    paths = (folder / "part.json", folder / "videoid2size.json")
    return Source("else_boxes", paths, rate=12.0, first=1.0, entry="2", extent=extent)


def read(source: Source, stop_s: float = np.inf, start_s: float = 0.0, request: BoxesRequest = ALL) -> Any:
    return read_media(source, start_s, stop_s, request)


def test_annotated_boxes_are_shares_of_the_original_picture(tmp_path: Path) -> None:
    labels = [label(42.7, 24, 85.4, 48, "handbag", "0000"), label(0, 120, 213.5, 240, "hand", "hand")]
    reading = read(write(tmp_path, [picture(1, labels)]))
    expected = [[0.1, 0.1, 0.2, 0.2, 2, 1], [0, 0.5, 0.5, 1, 1, 1], [0] * 6]
    np.testing.assert_allclose(reading.array[0], expected, atol=1e-6)
    assert reading.note is None


@pytest.mark.parametrize(
    ("category", "standard", "expected"),
    [
        ("hand", "hand", 1),
        ("hand", None, 1),
        ("left hand", None, 1),
        ("handbag", None, 2),
        ("a hand purse", "0001", 2),
        ("glove", "hand", 1),
        ("0000", None, 2),
    ],
)
def test_what_counts_as_a_hand(category: str, standard: str | None, expected: int, tmp_path: Path) -> None:
    reading = read(write(tmp_path, [picture(1, [label(0, 0, 9, 9, category, standard)])]))
    assert reading.array[0, 0, 4] == expected


def test_two_hands_and_pictures_without_boxes(tmp_path: Path) -> None:
    hands = [label(0, 0, 50, 50, "hand", "hand"), label(60, 60, 90, 90, "hand", "hand")]
    reading = read(write(tmp_path, [picture(1, hands), picture(2, [])]), request=BoxesRequest(2, 3, 0.5))
    assert reading.array[..., 4].tolist() == [[1, 1, 0], [0, 0, 0]]


def test_pictures_are_found_by_the_number_in_their_names(tmp_path: Path) -> None:
    """Twelve a second from frame 1; those that were left out have no boxes."""
    source = write(tmp_path, moving([1, 2, 3, 9, 10, 11, 12]))
    reading = read(source, 1.0, request=BoxesRequest(12, 1, 0.5))
    numbers = np.rint(reading.array[:, 0, 2] * WIDTH / 10).astype(int)
    assert numbers.tolist() == [1, 2, 3, 0, 0, 0, 0, 0, 9, 10, 11, 12]


def test_detected_boxes_have_scores(tmp_path: Path) -> None:
    labels = [label(0, 0, 9, 9, "cup", "0000", score=0.4), label(0, 0, 9, 9, "hand", "hand", score=0.75)]
    reading = read(write(tmp_path, [picture(1, labels)]))
    assert reading.array[0, :, 5].tolist() == [0.75, 0, 0]


def prepared(n: int, score: float = 1.0) -> dict:
    return {"category": "object", "x1": 0, "y1": 0, "x2": 10 * n, "y2": 240, "score": score}


@pytest.mark.parametrize("listed", [False, True], ids=["BMVC 2021", "ICCV 2023"])
def test_prepared_boxes_go_by_their_position(listed: bool, tmp_path: Path) -> None:
    frames: list[Any] = [[prepared(n), prepared(40, 0.3)] for n in range(1, 13)]
    item = {"id": "2", "template": "Pushing [something]", "frames": frames, "size": [WIDTH, HEIGHT]}
    sizes: dict | None = {}
    if not listed:
        item["frames"] = [{"frame_objects": frame} for frame in frames]
        del item["size"]
        sizes = None
    reading = read(write(tmp_path, item, sizes), 1.0, request=BoxesRequest(12, 2, 0.5))
    numbers = np.rint(reading.array[:, 0, 2] * WIDTH / 10).astype(int)
    assert numbers.tolist() == list(range(1, 13))
    assert not reading.array[:, 1].any()


def test_the_video_says_how_large_its_pictures_are_and_when_they_end(
    write_video: Callable[..., Path], tmp_path: Path
) -> None:
    film = write_video(
        tmp_path / "2.webm", pictures=24, rate=12, codec="libvpx-vp9", form="webm", size=(WIDTH - 1, HEIGHT)
    )
    source = write(tmp_path, moving(range(1, 7)), sizes={})
    with pytest.raises(MediaError, match=r"size of its frames is not known: put the video, or videoid2size\.json"):
        read(source)
    with_film = Source("else_boxes", (source.paths[0], film), 12.0, 1.0, entry="2", extent=source.extent)
    reading = read(with_film, request=BoxesRequest(24, 1, 0.5))
    numbers = np.rint(reading.array[:, 0, 2] * (WIDTH - 1) / 10).astype(int)
    assert numbers.tolist() == [1, 2, 3, 4, 5, 6, *[0] * 18]
    assert reading.note is None


def test_degenerate_boxes_are_mended(tmp_path: Path) -> None:
    labels = [label(300, 200, 100, 100, "cup"), label(-20, 30, 500, 30, "cup"), label(440, 250, 470, 260, "cup")]
    boxes = read(write(tmp_path, [picture(1, labels)])).array[0, :, :4] * [WIDTH, HEIGHT, WIDTH, HEIGHT]
    expected = [[100, 100, 300, 200], [0, 30, WIDTH, 31], [WIDTH - 1, HEIGHT - 1, WIDTH, HEIGHT]]
    np.testing.assert_allclose(boxes, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "bad",
    [
        {"labels": []},
        {"name": "2/.jpg", "labels": []},
        {"name": "2/0002.jpg"},
        {"name": "2/0002.jpg", "labels": {}},
        None,
        {"name": "2/0002.jpg", "labels": ["cup"]},
        {"name": "2/0002.jpg", "labels": [{"category": "cup"}]},
        {"name": "2/0002.jpg", "labels": [label(0, 0, 1, "far", "cup")]},  # type: ignore[arg-type]
        {"name": "2/0002.jpg", "labels": [{"box2d": {"x1": 1, "x2": 3, "y2": 4}}]},
    ],
)
def test_a_bad_entry_is_counted_and_costs_no_other(bad: object, tmp_path: Path) -> None:
    reading = read(write(tmp_path, [*moving([1]), bad]))
    assert reading.note == "1 entries of part.json are no numbered frame or no box; left out"
    assert reading.array[0, 0, 4] == 2


@pytest.mark.parametrize("item", [[], {"id": "2", "frames": []}])
def test_a_video_without_annotated_pictures_is_missing(item: object, tmp_path: Path) -> None:
    with pytest.raises(NoMedia, match=r"part\.json has no boxes of video 2"):
        read(write(tmp_path, item))


@pytest.mark.parametrize("item", ["text", 5, None, {"id": "2"}, {"id": "2", "frames": {}}])
def test_a_part_of_another_form_is_an_error(item: object, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"part\.json: the part of video 2 is no list of frames"):
        read(write(tmp_path, item))


def test_a_file_that_changed_since_it_was_looked_through(tmp_path: Path) -> None:
    source = write(tmp_path, moving(range(1, 9)))
    moved = Source("else_boxes", source.paths, 12.0, 1.0, entry="2", extent=(3, 40))
    with pytest.raises(MediaError, match="the part of video 2 is no JSON"):
        read(moved)
    (tmp_path / "part.json").write_text("[" * 100_000)
    with pytest.raises(MediaError, match="the part of video 2 is no JSON"):
        read(Source("else_boxes", source.paths, 12.0, 1.0, entry="2", extent=(0, 100_000)))
    with pytest.raises(MediaError, match="8,388,609 bytes for video 2; 8,388,608 are allowed"):
        read(Source("else_boxes", source.paths, 12.0, 1.0, entry="2", extent=(0, (8 << 20) + 1)))
    (tmp_path / "part.json").unlink()
    with pytest.raises(MediaError, match=r"part\.json cannot be read"):
        read(source)


@pytest.mark.parametrize("sizes", [{"2": [427]}, {"2": [0, 240]}, {"2": "427x240"}, {"2": [True, True]}, {}])
def test_a_size_that_is_none_is_not_used(sizes: object, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="the size of its frames is not known"):
        read(write(tmp_path, moving([1]), sizes))


def test_a_table_of_sizes_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"videoid2size\.json is no table of sizes"):
        read(write(tmp_path, moving([1]), [427, 240]))
