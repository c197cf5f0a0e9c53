import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmcache.store import FeatureStore, FingerprintError, StoreError
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.format.kaverage import k_average
from mmcache.store.format.layout import Presence, StoreMeta, token_arrays
from mmcache.store.ground.errors import UnstorableTokens
from mmcache.store.manage.verify import verify
from mmcache.store.write.add_tokens import add_tokens
from mmcache.store.write.token_writer import TokenWriter

PROPERTY = settings(max_examples=15)
N = 5
ONES = np.ones((1, 2, 3), np.float16)
MakeSegments = Callable[[int], pd.DataFrame]
MakeMeta = Callable[[pd.DataFrame], StoreMeta]


# A store that other readers understand.


@pytest.mark.filterwarnings("ignore:Object at .* is not recognized as a component:zarr.errors.ZarrUserWarning")
def test_plain_zarr_lists_and_reads_the_arrays(epic_store: Path) -> None:
    group = zarr.open_group(epic_store, mode="r")
    members = dict(group.members(max_depth=None))
    arrays = {name for name, member in members.items() if isinstance(member, zarr.Array)}
    made = {"rgb/swin3d_demo", "audio/ast_demo", "imu/imu_demo"}
    assert arrays == {f"{kind}/{name}" for kind in ("tokens", "present") for name in made}
    store = FeatureStore.open(epic_store)
    for name in sorted(made):
        tokens, present = group[f"tokens/{name}"], group[f"present/{name}"]
        assert tokens.shape[0] == present.shape[0] == len(store) == 52
        np.testing.assert_array_equal(present[:], store.present[name])
        np.testing.assert_array_equal(tokens[:, 0], store.tokens[name].read(np.arange(52)))


def test_presence_and_lengths_are_the_bytes_that_zarr_writes(
    make_store: Callable[..., Path], tree: Callable[[Path], dict[str, bytes]]
) -> None:
    presence = np.array([Presence.CACHED, Presence.MISSING, Presence.TO_DO, Presence.FAILED, Presence.CACHED])
    lengths = np.array([[1, 2], [0, 0], [0, 0], [0, 0], [2, 1]])
    root = make_store({"m": np.ones((5, 2, 2, 3), np.float16)}, 3, {"m": presence}, {"m": lengths})
    before = tree(root)
    for kind, values in (("present", presence), ("length", lengths)):
        array = zarr.open_array(root / kind / "m/enc", mode="r+")
        np.testing.assert_array_equal(array[:], values)
        array[:] = array[:]
    assert tree(root) == before


def test_absent_segments_cost_no_bytes(make_store: Callable[..., Path]) -> None:
    tokens = np.ones((4, 1, 10, 10), np.float16)
    presence = np.array([Presence.CACHED, Presence.MISSING, Presence.MISSING, Presence.FAILED])
    root = make_store({"m": tokens}, 2, {"m": presence})
    shards = [path for path in (root / "tokens/m/enc/c").rglob("*") if path.is_file()]
    index = 2 * 16 + 4
    assert [(path.relative_to(root).parts[4], path.stat().st_size) for path in shards] == [("0", 200 + 4 + index)]


# Killed at any moment.


@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_any_moment_the_store_is_sound_and_the_same_command_ends_with_the_same_bytes(
    stride: int, kill_everywhere: Callable[..., tuple[Path, list[dict]]], tree: Callable[[Path], dict[str, bytes]]
) -> None:
    """Design, section 4. Before every seventh file operation; the slow test has them all."""
    folder, kills = kill_everywhere("extract", stride)
    undisturbed = tree(folder / "undisturbed")
    assert len(kills) > 50 / stride
    assert any(name.startswith("toy.zarr/tokens/rgb/enc/c/0") for name in undisturbed)
    for kill in kills:
        assert kill["unreadable"] == [], kill
        assert kill["unsound"] == [], kill
        assert kill["rerun"] == [], kill
        assert tree(folder / str(kill["n"])) == undisturbed, kill


# The bytes are a function of what is cached, not of when and in how many runs.


def test_an_array_keeps_its_shards_when_another_size_is_asked_for(
    writer: TokenWriter, fingerprint: Fingerprint, tree: Callable[[Path], dict[str, bytes]], settle: Callable[..., None]
) -> None:
    settle(writer, {0: Presence.CACHED})
    before = tree(writer.root)
    again = add_tokens(writer.root, "m", fingerprint, 2, 3, shard_bytes=1 << 20)
    assert again.grid == writer.grid
    assert tree(writer.root) == before


def test_a_second_encoder_stands_beside_the_first(
    writer: TokenWriter, fingerprint: Fingerprint, tree: Callable[[Path], dict[str, bytes]], settle: Callable[..., None]
) -> None:
    settle(writer, dict.fromkeys(range(N), Presence.CACHED))
    before = tree(writer.root / "tokens/m/enc")
    for encoder in ("zzz", "aaa"):
        add_tokens(writer.root, "m", dataclasses.replace(fingerprint, encoder=encoder), 4, 1, dtype="float32")
    assert token_arrays(writer.root) == [("m", "enc"), ("m", "zzz"), ("m", "aaa")]
    assert tree(writer.root / "tokens/m/enc") == before
    assert TokenWriter(writer.root, "m", "aaa").presence().tolist() == [Presence.TO_DO] * N
    assert verify(writer.root) == []


def test_a_new_array_is_all_to_do_even_where_an_old_one_was_removed_by_hand(
    writer: TokenWriter, fingerprint: Fingerprint, settle: Callable[..., None]
) -> None:
    settle(writer, dict.fromkeys(range(N), Presence.CACHED))
    shutil.rmtree(writer.path)
    again = add_tokens(writer.root, "m", fingerprint, 2, 3, shard_bytes=3 * ONES.nbytes)
    assert again.presence().tolist() == [Presence.TO_DO] * N


# What is refused.


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("weights_sha256", "1" * 64),
        ("preprocessing", {"frames": 32, "size": [8, 8]}),
        ("k", 300),
        ("code_version", 2),
    ],
)
def test_tokens_made_differently_are_refused(
    writer: TokenWriter, fingerprint: Fingerprint, field: str, value: object, tree: Callable[[Path], dict[str, bytes]]
) -> None:
    before = tree(writer.root)
    other = dataclasses.replace(fingerprint, **{field: value})
    with pytest.raises(FingerprintError, match=f"{field}: the store has .*, this run") as caught:
        add_tokens(writer.root, "m", other, 2, 3)
    assert str(caught.value).count("the store has") == 1
    assert tree(writer.root) == before


@pytest.mark.parametrize("changes", [{"tokens": 3}, {"width": 4}, {"views": 2}, {"dtype": "float32"}])
def test_another_shape_or_dtype_is_refused(
    writer: TokenWriter, fingerprint: Fingerprint, changes: dict[str, Any]
) -> None:
    with pytest.raises(StoreError, match=r"holds float16 tokens of shape \(5, 1, 2, 3\); this run makes"):
        add_tokens(writer.root, "m", fingerprint, **{"tokens": 2, "width": 3, **changes})


@pytest.mark.parametrize("made_with", [False, True])
def test_lengths_for_an_array_that_was_made_without_are_refused_and_the_other_way_round(
    empty_store: Path, fingerprint: Fingerprint, made_with: bool
) -> None:
    add_tokens(empty_store, "m", fingerprint, 2, 3, variable_length=made_with)
    with pytest.raises(StoreError, match="length"):
        add_tokens(empty_store, "m", fingerprint, 2, 3, variable_length=not made_with)


def test_a_dtype_that_is_not_stored_is_refused(empty_store: Path, fingerprint: Fingerprint) -> None:
    with pytest.raises(StoreError, match="stored as float16 or float32 or int8, not int4"):
        add_tokens(empty_store, "m", fingerprint, 2, 3, dtype="int4")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/a", ".hidden", "a b", "a\n", "é", "x" * 101, "a.", "-a", "zarr.json"]
)
@pytest.mark.parametrize("what", ["modality", "encoder"])
def test_names_that_cannot_be_folders_are_refused(
    empty_store: Path, fingerprint: Fingerprint, what: str, name: str, tree: Callable[[Path], dict[str, bytes]]
) -> None:
    before = tree(empty_store.parent)
    modality, encoder = (name, "enc") if what == "modality" else ("m", name)
    with pytest.raises(StoreError, match=f"(?s){what} .* cannot name a folder"):
        add_tokens(empty_store, modality, dataclasses.replace(fingerprint, encoder=encoder), 2, 3)
    assert tree(empty_store.parent) == before


# What an array stores of an encoder's tokens.


@PROPERTY
@given(n=st.integers(1, 12), k=st.integers(1, 6), seed=st.integers(0, 99))
def test_tokens_beyond_k_are_averaged(
    n: int, k: int, seed: int, make_store: Callable[..., Path], fingerprint: Fingerprint
) -> None:
    """And what is shorter is padded, where lengths vary."""
    root = make_store({"x": np.ones((2, 1, 1, 1), np.float16)})
    capped = dataclasses.replace(fingerprint, k=k)
    writer = add_tokens(root, "m", capped, k, 3, views=2, dtype="float32", variable_length=True)
    tokens = np.random.default_rng(seed).standard_normal((2, n, 3)).astype(np.float32)
    lengths = np.array([n, max(1, n // 2)])
    stored = writer.store_form(tokens, lengths)
    expected, shorter = k_average(tokens, k, lengths)
    assert stored.chunks["tokens"].shape == (2, k, 3)
    np.testing.assert_array_equal(stored.chunks["tokens"][:, : min(n, k)], expected if n > k else tokens)
    assert (stored.chunks["tokens"][:, n:] == 0).all()
    np.testing.assert_array_equal(stored.side_values["length"], shorter)


@pytest.mark.parametrize(
    "tokens",
    [
        np.ones((1, 2, 4), np.float16),
        np.ones((1, 3, 3), np.float16),  # the array has no cap to average to
        np.ones((1, 1, 3), np.float16),  # nor lengths that say what was padded
        np.ones((2, 2, 3), np.float16),
        np.ones((2, 3), np.float16),
        np.ones((1, 2, 3), np.int8),
    ],
)
def test_tokens_of_another_size_are_refused(writer: TokenWriter, tokens: NDArray[np.floating]) -> None:
    with pytest.raises(ValueError, match="takes"):
        writer.store_form(tokens)


@pytest.mark.parametrize("varies", [False, True])
def test_lengths_go_with_arrays_that_have_them_and_with_no_others(
    empty_store: Path, fingerprint: Fingerprint, varies: bool
) -> None:
    writer = add_tokens(empty_store, "m", fingerprint, 2, 3, variable_length=varies)
    with pytest.raises(ValueError, match="m/enc needs lengths" if varies else "m/enc takes no lengths"):
        writer.store_form(ONES, None if varies else np.array([1]))


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_unstorable(
    empty_store: Path, fingerprint: Fingerprint, dtype: str, value: float
) -> None:
    writer = add_tokens(empty_store, "m", fingerprint, 2, 3, dtype=dtype)
    tokens = ONES.astype(np.float32)
    tokens[0, 1, 2] = value
    with pytest.raises(UnstorableTokens, match="NaN or infinity among the tokens"):
        writer.store_form(tokens)


@pytest.mark.parametrize("value", [65520, -1e30])
def test_values_too_large_for_the_dtype_are_unstorable(writer: TokenWriter, value: float) -> None:
    with pytest.raises(UnstorableTokens, match="values that float16 cannot hold"):
        writer.store_form((ONES * np.float32(value)).astype(np.float32))
    assert np.isfinite(writer.store_form((ONES * 65504).astype(np.float32)).chunks["tokens"]).all()
