import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcache.store import FingerprintError, StoreError
from mmcache.store.format.fingerprint import Fingerprint

PROPERTY = settings(max_examples=50)
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
fingerprints = st.builds(
    Fingerprint,
    encoder=st.text(max_size=5),
    weights=st.just("random:0"),
    weights_sha256=st.text("0123456789abcdef", min_size=8, max_size=8),
    preprocessing=st.dictionaries(st.text(max_size=3), values, max_size=3),
    k=st.none() | st.integers(1, 500),
    code_version=st.integers(0, 9),
)


def through_the_store(fingerprint: Fingerprint) -> Fingerprint:
    return Fingerprint.from_attributes(json.loads(json.dumps(fingerprint.to_attributes())))


@PROPERTY
@given(fingerprints)
def test_a_fingerprint_equals_itself_as_saved(fingerprint: Fingerprint) -> None:
    """Tuples come back as lists."""
    fingerprint.check_same(through_the_store(fingerprint), Path("tokens/rgb/enc"))


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("encoder", "swin3d_b", "encoder: the store has 'enc', this run 'swin3d_b'"),
        ("weights_sha256", "f" * 8, "weights_sha256: the store has '0000"),
        ("preprocessing", {"frames": 32, "size": (8, 8)}, "preprocessing: the store has .*16.*, this run .*32"),
        ("k", 300, "k: the store has None, this run 300"),
        ("code_version", 2, "code_version: the store has 1, this run 2"),
    ],
)
def test_the_field_that_differs_is_named(fingerprint: Fingerprint, field: str, value: object, shown: str) -> None:
    ours = dataclasses.replace(fingerprint, **{field: value})
    with pytest.raises(FingerprintError, match=shown) as caught:
        ours.check_same(through_the_store(fingerprint), Path("tokens/rgb/enc"))
    message = str(caught.value)
    assert message.startswith("tokens/rgb/enc holds tokens made differently.")
    assert message.endswith("Use the same settings, or write to another store with --store PATH.")
    assert message.count("the store has") == 1


def test_all_fields_that_differ_are_named(fingerprint: Fingerprint) -> None:
    ours = dataclasses.replace(fingerprint, k=3, code_version=5)
    with pytest.raises(FingerprintError, match=r"(?s)k: the store has.*code_version: the store has"):
        ours.check_same(fingerprint, Path("x"))


def test_the_same_weights_under_another_name_are_the_same(fingerprint: Fingerprint) -> None:
    """The digest tells weights apart; where they came from does not."""
    dataclasses.replace(fingerprint, weights="file:a.pth").check_same(fingerprint, Path("x"))


@pytest.mark.parametrize("attributes", [{}, {"fingerprint": None}, {"fingerprint": {"encoder": "enc"}}])
def test_attributes_without_a_whole_fingerprint_are_a_store_error(attributes: dict[str, object]) -> None:
    with pytest.raises(StoreError, match="fingerprint"):
        Fingerprint.from_attributes(attributes)
