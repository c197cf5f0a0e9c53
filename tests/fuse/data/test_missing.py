"""Training sets made incomplete: how many segments lack a modality, which ones, and how these sets are nested."""

import itertools

import numpy as np
import pytest

from mmcache.fuse.data.missing import with_missing
from mmcache.store.ground.errors import ConfigError
from mmcache.store.load.order import id_keys

N = 1000
NAMES = ["audio", "imu", "rgb"]
IDS = [f"s{i}" for i in range(N)]
KEYS = id_keys(IDS)
WHOLE = np.ones((N, 3), bool)


@pytest.mark.holds("shared", "1.1 training sets lack as many as the rate says, and are nested")
def test_as_many_segments_lack_it_as_the_rate_says() -> None:
    for rate in (0.0, 0.25, 0.333, 0.5, 0.999):
        lacking = ~with_missing(WHOLE, KEYS, 0, {"rgb": rate}, NAMES)
        assert lacking.sum(axis=0).tolist() == [0, 0, round(rate * N)]


@pytest.mark.holds("shared", "1.1 training sets lack as many as the rate says, and are nested")
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
