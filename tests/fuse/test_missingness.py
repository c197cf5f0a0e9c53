"""Training sets made incomplete: how many, which ones, nested, and the tables that say so."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from mmcache.fuse.data.missing import apply_patterns, draw_patterns, read_patterns, with_missing, write_patterns
from mmcache.store.ground.errors import ConfigError
from mmcache.store.load.order import id_keys

N = 1000
NAMES = ["audio", "imu", "rgb"]
IDS = [f"s{i}" for i in range(N)]
KEYS = id_keys(IDS)
WHOLE = np.ones((N, 3), bool)


def test_as_many_segments_lack_it_as_the_rate_says() -> None:
    for rate in (0.0, 0.25, 0.333, 0.5, 0.999):
        lacking = ~with_missing(WHOLE, KEYS, 0, {"rgb": rate}, NAMES)
        assert lacking.sum(axis=0).tolist() == [0, 0, round(rate * N)]


def test_sets_are_nested_in_the_rate_and_change_with_the_seed() -> None:
    sets = [~with_missing(WHOLE, KEYS, 0, {"rgb": r}, NAMES)[:, 2] for r in (0.1, 0.25, 0.5, 0.75, 1.0)]
    for smaller, larger in itertools.pairwise(sets):
        assert not (smaller & ~larger).any()
    assert sets[-1].all()
    assert (~with_missing(WHOLE, KEYS, 1, {"rgb": 0.25}, NAMES)[:, 2] != sets[1]).any()


def test_which_ones_is_a_matter_of_ids_and_not_of_order() -> None:
    order = np.random.default_rng(0).permutation(N)
    rates = {"audio": 0.3, "rgb": 0.4}
    one = with_missing(WHOLE, KEYS, 3, rates, NAMES)
    other = with_missing(WHOLE, KEYS[order], 3, rates, NAMES)
    assert (one[order] == other).all()
    turned = with_missing(WHOLE, KEYS, 3, rates, ["rgb", "imu", "audio"])
    assert (turned[:, ::-1] == one).all()


def test_several_rates_share_the_segments_out_before_any_lacks_two() -> None:
    """MMT's run with both missing: 25 % lack the one, another 25 % the other."""
    present = np.ones((N, 2), bool)
    kept = with_missing(present, KEYS, 0, {"audio": 0.25, "rgb": 0.25}, ["audio", "rgb"])
    assert kept.sum(axis=0).tolist() == [750, 750]
    assert (kept.sum(axis=1) >= 1).all()
    assert (kept.sum(axis=1) == 1).sum() == 500
    three = with_missing(WHOLE, KEYS, 0, {"audio": 0.5, "rgb": 0.9}, NAMES)
    assert (~three).sum(axis=0).tolist() == [500, 0, 900]
    assert three[:, 1].all()


def test_nobody_loses_the_last_modality_by_chance() -> None:
    present = WHOLE.copy()
    present[:600, :2] = False  # rgb is all they have
    kept = with_missing(present, KEYS, 0, {"rgb": 0.4}, NAMES)
    assert kept[:600, 2].all()
    assert not kept[600:, 2].any()
    with pytest.raises(ConfigError, match=r"rgb=0\.5 asks for 500 of 1000 segments .* only 400"):
        with_missing(present, KEYS, 0, {"rgb": 0.5}, NAMES)
    assert with_missing(present, KEYS, 0, {"rgb": 1.0}, NAMES).any(axis=1).sum() == 400


@pytest.mark.parametrize(
    ("rates", "message"),
    [({"rgb": 1.5}, r"rgb=1\.5: rates go from 0 to 1"), ({"rbg": 0.5}, "Did you mean 'rgb'"), ({"rgb": -1}, "from 0")],
)
def test_wrong_rates_are_said(rates: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        with_missing(WHOLE, KEYS, 0, rates, NAMES)


def test_a_table_has_the_counts_of_map_and_survives_its_file(tmp_path: Path) -> None:
    table = draw_patterns(IDS, ["image", "text"], 0.7)
    assert (~table[["image", "text"]]).sum().tolist() == [350, 350]
    assert (table["image"] | table["text"]).all()
    assert (~draw_patterns(IDS, ["image", "text"], 0.7, "text")["text"]).sum() == 700
    write_patterns(tmp_path / "t.csv", table)
    assert read_patterns(tmp_path / "t.csv").equals(table)
    kept = apply_patterns(np.ones((N, 2), bool), IDS, ["text", "image"], table)
    assert (kept == table[["text", "image"]].to_numpy()).all()


def test_a_table_speaks_of_those_it_names_only(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,rgb\ns1,0\ns2,1\nelsewhere,0\n")
    kept = apply_patterns(WHOLE, IDS, NAMES, read_patterns(tmp_path / "t.csv"))
    assert [np.flatnonzero(~column).tolist() for column in kept.T] == [[], [], [1]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("segment,rgb\na,1\n", "has the columns segment, rgb"),
        ("id,rgb\na,maybe\n", "has 'maybe' in rgb"),
        ("id,rgb\na,1\na,0\n", "lists segment 'a' more than once"),
        ("", "no readable table of patterns"),
    ],
)
def test_a_file_that_is_no_table_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_patterns(tmp_path / "t.csv")


def test_a_table_that_leaves_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,audio,imu,rgb\ns7,0,0,0\n")
    with pytest.raises(ConfigError, match="leave segment 's7' with no modality"):
        apply_patterns(WHOLE, IDS, NAMES, read_patterns(tmp_path / "t.csv"))
