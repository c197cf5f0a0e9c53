"""Failures by reason: one line a kind, a count, three names, and no two kinds in one line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcache.store.ground.failure_groups import group_lines, group_reasons

# What readers say, with {} for what differs from file to file.
KINDS = [
    "{} is not there",
    "{} is cut off: it ends at {} s, and the segment at {} s",
    "{} is no readable media file: Invalid data found when processing input",
    "{} has no stream of sound",
    "the encoder gave NaN or infinity among the tokens",
    "{} crashes the process that reads it (Segmentation fault): seen with nothing else running in that process, twice",
]
NAMES = st.builds(
    lambda first, more, end: " ".join([first, *more]) + end,
    st.sampled_from(["clip", "Take", "GOPR0012", "7", "a", "Zoë"]),
    st.lists(st.sampled_from(["3", "b2", "(final)"]), max_size=2),
    st.sampled_from([".mp4", "_01.wav", ".CSV"]),
)


@given(st.lists(st.tuples(st.integers(0, len(KINDS) - 1), NAMES, st.floats(0, 999)), min_size=1, max_size=60))
def test_every_failure_is_in_one_group_and_no_group_has_two_kinds(drawn: list[tuple[int, str, float]]) -> None:
    told = [
        ("rgb/x", KINDS[kind].format(name, f"{s:.1f}", f"{s + 1:.1f}"), [f"s{i}"])
        for i, (kind, name, s) in enumerate(drawn)
    ]
    groups = group_reasons(told)
    assert sorted(name for group in groups for name in group.names) == sorted(f"s{i}" for i in range(len(drawn)))
    for group in groups:
        assert len({drawn[int(name[1:])][0] for name in group.names}) == 1
    assert len(groups) <= max(5, len(KINDS))  # whatever the names of files are


def test_forty_lines_that_differ_in_a_file_name_are_one_with_a_count_and_three_names() -> None:
    lines = [
        {"id": f"clip_{i}", "modality": "audio", "encoder": "ast_b", "reason": f"take {i}.wav is not there"}
        for i in range(40)
    ]
    (group,) = group_lines(lines)
    assert str(group) == "audio/ast_b: take … is not there (40 segments, such as clip_0, clip_1, clip_2)"
    assert group.to_json() == {
        "where": "audio/ast_b",
        "reason": "take … is not there",
        "count": 40,
        "segments": ["clip_0", "clip_1", "clip_2"],
    }


@pytest.mark.parametrize(
    ("reasons", "shown"),
    [
        (["x.wav is empty"], "x.wav is empty"),
        (["x.wav is empty", "x.wav is empty"], "x.wav is empty"),
        (["/a/b c.wav is empty", "/a/d.wav is empty"], "… is empty"),
        (["it has 'one two' in it", "it has 'three' in it"], "it has … in it"),
        ([f"{n} runs.mp4 has no picture stream" for n in ("John", *"abcdef")], "… runs.mp4 has no picture stream"),
        ([f"{n} {n}s.mp4 has no picture stream" for n in ("John", *"abcdef")], "… has no picture stream"),
    ],
)  # fmt: skip
def test_what_reasons_have_in_common_is_shown(reasons: list[str], shown: str) -> None:
    (group,) = group_reasons(("rgb/x", reason, [f"s{i}"]) for i, reason in enumerate(reasons))
    assert group.reason == shown


def test_the_largest_group_comes_first_and_modalities_stay_apart() -> None:
    told = [("rgb/x", "it is empty", ["a"]), ("audio/y", "it is empty", ["a"]), ("audio/y", "it is empty", ["b"])]
    assert [str(group) for group in group_reasons(told)] == ["audio/y: it is empty (a, b)", "rgb/x: it is empty (a)"]


def test_control_characters_are_shown() -> None:
    (group,) = group_reasons([("rgb/x", "a\x1b[2Jb.mp4 is empty", ["s\x07"])])
    assert str(group) == "rgb/x: a\\x1b[2Jb.mp4 is empty (s\\x07)"
