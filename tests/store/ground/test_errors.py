import pytest

from mmcache.store import ConfigError, FingerprintError, MmcacheError, StoreError
from mmcache.store.ground.errors import (
    NoStoreError,
    Problems,
    StoreMismatchError,
    TooManyFailures,
    UnknownTokensError,
    unknown_name,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MmcacheError, 1),
        (StoreError, 1),
        (ConfigError, 2),
        (NoStoreError, 2),
        (StoreMismatchError, 2),
        (FingerprintError, 2),
        (UnknownTokensError, 2),
        (TooManyFailures, 3),
    ],
)
def test_exit_codes(error: type[MmcacheError], code: int) -> None:
    assert error.exit_code == code
    assert issubclass(error, MmcacheError)


def test_a_tokens_mismatch_is_a_store_error() -> None:
    assert issubclass(FingerprintError, StoreMismatchError)
    assert issubclass(StoreMismatchError, StoreError)
    assert issubclass(NoStoreError, StoreError)


def test_unknown_tokens_are_a_key_error_that_reads_as_it_is_written() -> None:
    assert issubclass(UnknownTokensError, KeyError)
    assert str(UnknownTokensError("unknown tokens 'rgd'.")) == "unknown tokens 'rgd'."


def test_an_unknown_name_gets_the_nearest_one() -> None:
    message = unknown_name("strategy", "karma", ["zeros", "karmma", "midl"])
    assert message == "unknown strategy 'karma'. Did you mean 'karmma'? Known: karmma, midl, zeros."


def test_a_name_near_to_nothing_gets_no_suggestion() -> None:
    many = [f"option{i}" for i in range(100)]
    assert unknown_name("option", "option_7", many) == "unknown option 'option_7'. Did you mean 'option7'?"
    assert "option99" in unknown_name("option", "xyz", many)
    assert unknown_name("split", "xyz", ["train", "test"]) == "unknown split 'xyz'. Known: test, train."
    assert unknown_name("split", "train", []) == "unknown split 'train'. Known: none."


def test_no_problems_are_no_error() -> None:
    problems = Problems()
    assert problems.check_name("split", "train", iter(["train", "test"]))
    problems.raise_if_any()
    assert problems.messages == []


def test_one_problem_is_told_as_it_is() -> None:
    problems = Problems()
    assert not problems.check_name("split", "tran", ["train", "test"])
    with pytest.raises(ConfigError, match=r"^unknown split 'tran'\. Did you mean 'train'\? Known: test, train\.$"):
        problems.raise_if_any()


def test_several_problems_are_numbered() -> None:
    problems = Problems()
    for message in ("first", "second", "third"):
        problems.add(message)
    with pytest.raises(ConfigError, match=r"^3 things to put right:\n  1\. first\n  2\. second\n  3\. third$"):
        problems.raise_if_any()
