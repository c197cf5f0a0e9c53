import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.codecs import Crc32cCodec

from mmcache.store import FeatureStore, StoreError, StoreMeta
from mmcache.store.files.sealed import SEAL, Seal, check_seal
from mmcache.store.format import layout as layout_module
from mmcache.store.format.layout import (
    FORMAT_VERSION,
    check_name,
    ensure_group,
    read_attributes,
    read_meta,
    token_bytes,
    write_group,
    write_meta,
    write_plain_array,
    write_sharded_array,
)

META = StoreMeta("epic", {"verb": ["take", "cut"]}, {"train": 3}, "train", {"train": {"rgb": {"enc": 2}}}, {"k": 2})


@pytest.mark.parametrize("name", ["rgb", "swin3d_t", "0", "a.b", "timm-vit_base", "x" * 100, "hf_MCG-NJU.videomae"])
def test_names_that_can_be_folders(name: str) -> None:
    assert check_name("encoder", name) == name


@pytest.mark.parametrize("name", ["", "..", "a/b", "../x", "a\\b", ".a", "_a", "a b", "a.", "x" * 101, "é", "a\0"])
def test_names_that_cannot_be_folders(name: str) -> None:
    with pytest.raises(StoreError, match=r"(?s)encoder '.*' cannot name a folder"):
        check_name("encoder", name)


def test_the_metadata_is_what_zarr_writes(tmp_path: Path) -> None:
    """Same documents as zarr-python puts on a disk, but for the seal."""
    attributes = {"fingerprint": {"k": None, "size": [8, 8]}, "ü": "動画"}
    write_group(tmp_path, "ours", attributes)
    zarr.create_group(tmp_path / "theirs", attributes=attributes, zarr_format=3)
    write_sharded_array(tmp_path, "ours/t", (5, 2, 3, 4), "float16", 2, attributes)
    write_plain_array(tmp_path, "ours/p", (5,), "uint8", (2,), 3)
    write_plain_array(tmp_path, "ours/l", (5, 2), "float16", (2, 2), float("nan"))
    crc = {"compressors": Crc32cCodec(), "zarr_format": 3}
    zarr.create_array(
        tmp_path / "theirs/t",
        shape=(5, 2, 3, 4),
        dtype="float16",
        shards=(2, 2, 3, 4),
        chunks=(1, 1, 3, 4),
        fill_value=0,
        attributes=attributes,
        **crc,
    )
    zarr.create_array(tmp_path / "theirs/p", shape=(5,), dtype="uint8", chunks=(2,), fill_value=3, **crc)
    zarr.create_array(
        tmp_path / "theirs/l",
        shape=(5, 2),
        dtype="float16",
        chunks=(2, 2),
        fill_value=np.nan,
        **crc,
    )
    for name in ("", "t", "p", "l"):
        ours, theirs = (tmp_path / side / name / "zarr.json" for side in ("ours", "theirs"))
        assert check_seal(ours.read_bytes()) is Seal.GOOD
        document = json.loads(ours.read_bytes())
        del document["attributes"][SEAL]
        assert json.dumps(document) == json.dumps(json.loads(theirs.read_bytes())), name
        assert read_attributes(ours.parent) == (attributes if name in ("", "t") else {})


def test_a_groups_attributes_are_replaced(tmp_path: Path) -> None:
    write_group(tmp_path, "", {"a": 1})
    ensure_group(tmp_path, "")
    assert read_attributes(tmp_path) == {"a": 1}
    write_group(tmp_path, "", {"b": 2})
    assert dict(zarr.open_group(tmp_path, mode="r").attrs).items() >= {"b": 2}.items()
    ensure_group(tmp_path, "new")
    assert read_attributes(tmp_path / "new") == {}


def test_the_meta_comes_back_as_it_was(tmp_path: Path) -> None:
    write_meta(tmp_path, META)
    assert read_meta(tmp_path) == META
    assert META.format_version == FORMAT_VERSION
    assert META.created_by.startswith("mmcache ")


def test_entries_of_a_later_version_of_the_same_format_are_passed_over(tmp_path: Path) -> None:
    write_group(tmp_path, "", {"mmcache": {**dataclasses.asdict(META), "colour": "blue"}})
    assert read_meta(tmp_path) == META


@pytest.mark.parametrize("version", [FORMAT_VERSION + 1, 99, "1", None, 1.5])
def test_another_format_version_is_refused(tmp_path: Path, version: object) -> None:
    write_group(tmp_path, "", {"mmcache": {**dataclasses.asdict(META), "format_version": version}})
    with pytest.raises(StoreError, match=rf"has store format '?{version}'?; this mmcache reads up to {FORMAT_VERSION}"):
        read_meta(tmp_path)


def test_no_store_is_refused_with_what_to_do(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(StoreError, match=r"no store at .* `mmcache extract` or `mmcache store import` makes one"):
            FeatureStore.open(path)


def test_another_zarr_group_is_refused(tmp_path: Path) -> None:
    zarr.create_group(tmp_path / "other", attributes={"title": "mine"})
    with pytest.raises(StoreError, match="is a Zarr group but not an mmcache store"):
        FeatureStore.open(str(tmp_path / "other"))


@pytest.mark.parametrize(
    "document",
    [
        "",
        "{",
        "null",
        "[]",
        "3",
        "{}",
        '{"attributes": null}',
        '{"attributes": {"mmcache": null}}',
        '{"attributes": {"mmcache": 3}}',
        '{"attributes": {"mmcache": {"format_version": 1}}}',
        '{"attributes": {"mmcache": {"format_version": 1, "dataset": "epic"}}}',
        b"\xff\xfe",
    ],
)
def test_a_damaged_root_is_a_store_error(tmp_path: Path, document: str | bytes) -> None:
    (tmp_path / "zarr.json").write_bytes(document if isinstance(document, bytes) else document.encode())
    with pytest.raises(StoreError, match=str(tmp_path)):
        FeatureStore.open(tmp_path)


def test_a_truncated_root_is_a_store_error(make_store: Callable[..., Path]) -> None:
    root = make_store({"m": np.ones((3, 1, 2, 3), np.float16)})
    whole = (root / "zarr.json").read_bytes()
    for size in range(0, len(whole), 50):
        (root / "zarr.json").write_bytes(whole[:size])
        with pytest.raises(StoreError, match=r"zarr\.json is damaged"):
            FeatureStore.open(root)


def test_token_bytes() -> None:
    assert [token_bytes(3, 5, dtype) for dtype in layout_module.TOKEN_DTYPES] == [30, 60, 15]


def test_nothing_absolute_is_in_a_store(make_store: Callable[..., Path], tree: Callable[..., dict[str, Any]]) -> None:
    """A store can be moved, and two made in different places are the same bytes."""
    tokens = {"m": np.ones((3, 1, 2, 3), np.float16)}
    one, other = make_store(tokens), make_store(tokens)
    assert tree(one) == tree(other)
    for name, data in tree(one).items():
        assert str(one.parent).encode() not in data, name
        if name.endswith("zarr.json"):
            assert json.loads(data)["zarr_format"] == 3
