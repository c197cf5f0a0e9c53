"""Skeleton files in the grammar of NTU RGB+D, written value by value."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmcache.extract.media import read_media
from mmcache.extract.media.base.requests import MediaError, NoMedia, Reading, SkeletonRequest
from mmcache.extract.media.base.source import Source
from mmcache.extract.media.skeletons.ntu_skeleton import read_ntu_skeleton

PROPERTY = settings(max_examples=25)
Body = tuple[str, NDArray[np.floating]]  # id, (25, 3)
A, B, C = "72057594037931101", "72057594037931102", "72057594037931103"  # the same number as floats


def person(x: float = 0.0, height: float = 1.7, width: float = 0.5) -> NDArray[np.float64]:
    """(25, 3), 3 m away."""
    joints = np.zeros((25, 3))
    joints[:, 0] = x + np.linspace(-width / 2, width / 2, 25)
    joints[:, 1] = np.linspace(0, height, 25)
    joints[:, 2] = 3.0
    return joints


def skeleton_text(frames: Sequence[Sequence[Body]]) -> str:
    """With NaN where projected coordinates have it in the release."""
    lines = [str(len(frames))]
    for bodies in frames:
        lines.append(str(len(bodies)))
        for body, joints in bodies:
            lines.append(f"{body} 0 1 1 1 1 0 0.02764709 0.05745083 2")
            lines.append(str(len(joints)))
            for x, y, z in joints:
                lines.append(f"{x:.7g} {y:.7g} {z:.7g} 277.419 191.8218 NaN NaN -0.2059 0.05349 0.9692 0.1202 2")
    return "\r\n".join(lines) + "\r\n"


def write(path: Path, frames: Sequence[Sequence[Body]]) -> Path:
    path.write_text(skeleton_text(frames), newline="")
    return path


def read(path: Path, frames: int, bodies: int = 2, joints: int = 25) -> Reading:
    return read_ntu_skeleton(path, SkeletonRequest(frames, bodies, joints))


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    poses = [person(0.1 * frame) for frame in range(6)]
    path = write(tmp_path / "S001C001P001R001A001.skeleton", [[(A, pose)] for pose in poses])
    reading = read_media(Source("ntu_skeleton", (path,)), 0, np.inf, SkeletonRequest(6, 2, 30))
    array = np.asarray(reading.array)
    assert array.shape == (6, 2, 30, 3)
    assert array.dtype == np.float32
    np.testing.assert_allclose(array[:, 0, :25], poses, rtol=1e-6)
    assert not array[:, 1].any()
    assert not array[:, :, 25:].any()
    assert reading.note is None


@PROPERTY
@given(length=st.integers(1, 40), frames=st.integers(1, 20), low=st.floats(0, 0.4), high=st.floats(0.6, 1))
def test_poses_are_taken_at_shares_of_the_file_whatever_its_length(
    length: int, frames: int, low: float, high: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The pose of frame f stands at x = f."""
    path = write(tmp_path_factory.mktemp("s") / "a.skeleton", [[(A, person(float(f)))] for f in range(length)])
    array = read_ntu_skeleton(path, SkeletonRequest(frames=frames, bodies=1, joints=25, part=(low, high))).array
    taken = np.rint(np.asarray(array)[:, 0, 12, 0]).astype(int)
    expected = ((low + (np.arange(frames) + 0.5) / frames * (high - low)) * length).astype(int)
    assert taken.tolist() == expected.tolist()


def test_a_frame_with_nobody_keeps_its_place(tmp_path: Path) -> None:
    path = write(tmp_path / "a.skeleton", [[(A, person(1))], [], [], [(A, person(4))]])
    array = np.asarray(read(path, 4).array)
    assert array[:, 0].any(axis=(1, 2)).tolist() == [True, False, False, True]
    np.testing.assert_allclose(array[3, 0, 12, 0], 4, atol=1e-6)


def test_the_one_who_moves_most_comes_first_whatever_the_order_in_the_file(tmp_path: Path) -> None:
    """Ids of 64 bits that are one number as floats; their order changes from frame to frame."""
    still, walking = [person(-1)] * 5, [person(1 + 0.3 * frame) for frame in range(5)]
    frames = [[(A, still[f]), (B, walking[f])][:: 1 if f % 2 else -1] for f in range(5)]
    array = np.asarray(read(write(tmp_path / "a.skeleton", frames), 5).array)
    np.testing.assert_allclose(array[:, 0], walking, rtol=1e-6)
    np.testing.assert_allclose(array[:, 1], still, rtol=1e-6)
    alone = read(tmp_path / "a.skeleton", 5, bodies=1)
    np.testing.assert_allclose(np.asarray(alone.array)[:, 0], walking, rtol=1e-6)
    assert alone.note == "1 more bodies than the 1 that are taken"


def test_a_body_found_again_under_another_id_goes_on(tmp_path: Path) -> None:
    """A is lost after frame 2 and comes back as C in frame 4; B is there all along."""
    moving = [person(0.5 * frame) for frame in range(7)]
    there = [person(-2)] * 7
    frames: list[list[Body]] = [[(B, there[f])] for f in range(7)]
    for f in (0, 1, 2):
        frames[f].append((A, moving[f]))
    for f in (4, 5, 6):
        frames[f].append((C, moving[f]))
    array = np.asarray(read(write(tmp_path / "a.skeleton", frames), 7).array)
    np.testing.assert_allclose(array[[0, 1, 2, 4, 5, 6], 0], [moving[f] for f in (0, 1, 2, 4, 5, 6)], atol=1e-6)
    assert not array[3, 0].any()
    np.testing.assert_allclose(array[:, 1], there, rtol=1e-6)


def test_furniture_is_left_out_unless_it_is_all_there_is(tmp_path: Path) -> None:
    """A body wider than high; the only one of a file may lie on the floor."""
    chair = [person(0.6 * frame, height=0.3, width=1.5) for frame in range(4)]
    sitting = [person(0, height=0.9)] * 4
    path = write(tmp_path / "both.skeleton", [[(A, chair[f]), (B, sitting[f])] for f in range(4)])
    reading = read(path, 4)
    np.testing.assert_allclose(np.asarray(reading.array)[:, 0], sitting, rtol=1e-6)
    assert not np.asarray(reading.array)[:, 1].any()
    assert reading.note == "1 bodies wider than high left out"
    lying = read(write(tmp_path / "lying.skeleton", [[(A, pose)] for pose in chair]), 4)
    np.testing.assert_allclose(np.asarray(lying.array)[:, 0], chair, rtol=1e-6)
    assert lying.note is None


def test_joints_that_are_no_numbers_are_0_and_told(tmp_path: Path) -> None:
    pose = person(2)
    pose[7, 1] = np.nan
    reading = read(write(tmp_path / "a.skeleton", [[(A, pose)], [(A, person(2))]]), 2)
    assert np.isfinite(reading.array).all()
    assert np.asarray(reading.array)[0, 0, 7].tolist() == [0, 0, 0]
    assert reading.note == "1 joints that are no numbers set to 0"


def test_nobody_at_all_is_no_media(tmp_path: Path) -> None:
    nobody = [write(tmp_path / "empty.skeleton", [[], [], []]), write(tmp_path / "none.skeleton", [])]
    nobody.append(write(tmp_path / "zero.skeleton", [[(A, np.zeros((25, 3)))]] * 3))
    for path in nobody:
        with pytest.raises(NoMedia, match=f"{path.name} has no frame with a body in it"):
            read(path, 4)


@PROPERTY
@given(share=st.floats(0, 0.999))
def test_a_file_cut_off_anywhere_is_told_as_that(share: float, tmp_path_factory: pytest.TempPathFactory) -> None:
    text = skeleton_text([[(A, person()), (B, person(1))]] * 3)
    values = text.split()
    path = tmp_path_factory.mktemp("s") / "a.skeleton"
    path.write_text(" ".join(values[: int(share * len(values))]))
    with pytest.raises(MediaError, match=r"a\.skeleton is cut off: it (is empty|ends in frame [123] of 3)"):
        read(path, 4)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<html> not found </html>", "is not of the form of NTU RGB.D's skeletons: '<html>' is no number of frames"),
        ("2 -1 0", "'-1' is no number of bodies"),
        (skeleton_text([[(A, person()[:20])]]), "a body of 20 joints in frame 1, not of 25"),
        (skeleton_text([[(A, person())]]).replace("\r\n25\r\n-0.25 ", "\r\n25\r\nx "), "could not convert string"),
        ("1 1.5", r"'1\.5' is no number of bodies"),
        ("1 " + "9" * 5000, r"99\.\.\.' is no number of bodies"),
        (
            skeleton_text([[(A, person())]]).replace("-0.25 ", "-4000 "),
            r"has a joint at 4000 m, and at most 50 m are pos",
        ),
    ],
)
def test_another_form_is_told(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.skeleton").write_text(text)
    with pytest.raises(MediaError, match=reason):
        read(tmp_path / "a.skeleton", 4)


def test_files_that_cannot_be_opened_or_do_not_fit_are_told(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"gone\.skeleton cannot be read: No such file"):
        read(tmp_path / "gone.skeleton", 4)
    (tmp_path / "noise.skeleton").write_bytes(np.random.default_rng(0).bytes(3000))
    with pytest.raises(MediaError, match="is not of the form"):
        read(tmp_path / "noise.skeleton", 4)
    path = write(tmp_path / "a.skeleton", [[(A, person())]])
    with pytest.raises(MediaError, match=r"a\.skeleton has 25 joints a body; the encoder takes 20 at most"):
        read(path, 4, joints=20)
    path.write_text(path.read_text() + "7 8 9")
    assert read(path, 4).note == "3 values after the last frame ignored"
