"""What --target and --drop make of a strategy: controls stay controls, and what is not used changes no run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcache.fuse.config import LAWS, make_config
from mmcache.fuse.laws import WITH_RATE, WITH_TARGET, unused_masks
from mmcache.fuse.strategies import STRATEGIES
from mmcache.store import ConfigError

CONTROLS = [name for name, preset in STRATEGIES.items() if preset.options.get("law", "none") == "none"]


@pytest.mark.parametrize("strategy", CONTROLS)
def test_what_drops_nothing_stays_as_it_is(strategy: str) -> None:
    """`fuse --strategy zeros --target rgb --drop 0.25` is zeros: the same options, and so the same run."""
    flags = {"target": "rgb", "drop": 0.25}
    config = make_config(strategy, {"flags": flags})
    assert (config.law, config.target, config.drop) == ("none", None, 0.0)
    assert config.identity("s") == make_config(strategy, {}).identity("s")
    assert unused_masks(config, {"flags": flags}) == [
        f"{strategy} drops nothing in training: --drop 0.25 and --target rgb not used"
    ]


def test_the_controls_are_those_that_drop_nothing() -> None:
    assert {"zeros", "skip", "midl"} <= set(CONTROLS)


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name not in CONTROLS])
def test_a_target_is_the_one_that_is_dropped(strategy: str) -> None:
    """MAP keeps its fixed table, which has a target of its own; all others take MMT's law."""
    config = make_config(strategy, {"flags": {"target": "rgb", "drop": 0.25}})
    fixed = STRATEGIES[strategy].options["law"] == "pattern_table"
    assert (config.law, config.target, config.drop) == ("pattern_table" if fixed else "target_only", "rgb", 0.25)
    assert unused_masks(config, {"flags": {"target": "rgb", "drop": 0.25}}) == []


def test_p_0_is_allowed_where_it_is_asked_for() -> None:
    config = make_config("mmt", {"flags": {"target": "audio", "drop": 0}})
    assert (config.law, config.target, config.drop) == ("target_only", "audio", 0.0)


def test_a_strategy_without_a_rate_of_its_own_is_asked_for_one() -> None:
    with pytest.raises(ConfigError, match=r"--target rgb needs --drop P: actionmae has no rate of its own"):
        make_config("actionmae", {"flags": {"target": "rgb"}})
    assert make_config("mmt", {"flags": {"target": "rgb"}}).drop == 0.25


@pytest.mark.parametrize("law", [law for law in LAWS if law not in ("none", *WITH_TARGET)])
def test_a_law_without_a_target_is_not_given_one(law: str) -> None:
    with pytest.raises(ConfigError, match=f"--target rgb with the law {law}, which draws among all modalities"):
        make_config("dropout", {"flags": {"target": "rgb", "law": law}})


@given(st.sampled_from(sorted(STRATEGIES)), st.sampled_from(LAWS), st.floats(0.01, 0.99))
def test_a_rate_that_no_law_reads_makes_no_other_run(strategy: str, law: str, drop: float) -> None:
    if law == "target_only":
        return
    one, plain = ({"law": law, **more} for more in ({"drop": drop}, {"drop": 0.5}))
    same = make_config(strategy, {"f": one}).identity("s") == make_config(strategy, {"f": plain}).identity("s")
    assert same == (law not in WITH_RATE or drop == 0.5)
    assert bool(unused_masks(make_config(strategy, {"f": one}), {"f": one})) == (law not in WITH_RATE)
