import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcache.store import StoreError
from mmcache.store.files.sealed import (
    BLANK,
    SEAL,
    SPARE,
    Seal,
    check_seal,
    put_file,
    remove_file,
    seal,
    spare_names,
    spare_of,
)
from mmcache.store.format.layout import read_attributes, write_group, write_plain_array, write_sharded_array

PROPERTY = settings(max_examples=30)
Tree = Callable[[Path], dict[str, bytes]]
VALUES = st.one_of(st.integers(), st.text(), st.booleans(), st.none(), st.lists(st.text(), max_size=3))


def document(**attributes: object) -> bytes:
    """A zarr.json of a group, not sealed yet."""
    return json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {**attributes, SEAL: BLANK}}).encode()


@PROPERTY
@given(attributes=st.dictionaries(st.text(), VALUES, max_size=4), indent=st.sampled_from([None, 2]))
def test_what_was_sealed_is_good_and_says_the_same(attributes: dict[str, object], indent: int | None) -> None:
    attributes.pop(SEAL, None)
    blank = json.dumps({"attributes": {**attributes, SEAL: BLANK}}, indent=indent).encode()
    sealed = seal(blank)
    assert check_seal(sealed) is Seal.GOOD
    assert len(sealed) == len(blank)
    found = json.loads(sealed)["attributes"]
    assert found.pop(SEAL) == hashlib.sha256(blank).hexdigest()
    assert found == attributes


def test_no_flipped_bit_truncation_or_addition_stays_good() -> None:
    sealed = seal(document(encoders=["swin3d_b", "swin3d_t"]))
    for place in range(len(sealed)):
        for bit in range(8):
            damaged = bytearray(sealed)
            damaged[place] ^= 1 << bit
            assert check_seal(bytes(damaged)) is not Seal.GOOD, (place, bit)
    assert all(check_seal(sealed[:size]) is not Seal.GOOD for size in range(len(sealed)))
    assert check_seal(sealed + b"\n") is Seal.BROKEN
    assert check_seal(bytes(len(sealed))) is Seal.NONE


def test_what_another_program_wrote_has_no_seal() -> None:
    assert check_seal(b'{"zarr_format": 3, "node_type": "group", "attributes": {"mmcache": {}}}') is Seal.NONE
    assert check_seal(b"") is Seal.NONE


def test_a_seal_that_was_never_filled_is_broken() -> None:
    assert check_seal(document()) is Seal.BROKEN


@pytest.mark.filterwarnings("ignore:Object at .* is not recognized as a component:zarr.errors.ZarrUserWarning")
def test_whatever_the_store_writes_is_sealed_has_its_spare_and_opens_in_zarr(tmp_path: Path) -> None:
    write_group(tmp_path, "", {"mmcache": {"dataset": "toy"}})
    write_group(tmp_path, "tokens", {})
    write_sharded_array(tmp_path, "tokens/m", (4, 2, 3, 5), "float16", 2, {"fingerprint": {"k": None}})
    write_plain_array(tmp_path, "present", (4,), "uint8", (2,), 3)
    names = ["zarr.json", "tokens/zarr.json", "tokens/m/zarr.json", "present/zarr.json"]
    assert spare_names(tmp_path) == set(names)
    for name in names:
        assert check_seal((tmp_path / name).read_bytes()) is Seal.GOOD
        assert spare_of(tmp_path, name).read_bytes() == (tmp_path / name).read_bytes()
    assert zarr.open_array(tmp_path / "tokens/m", mode="r").shape == (4, 2, 3, 5)
    assert read_attributes(tmp_path / "tokens/m") == {"fingerprint": {"k": None}}  # the seal is none of theirs
    assert dict(zarr.open_group(tmp_path, mode="r").members()).keys() == {"tokens", "present"}  # no spare is a member


def test_attributes_are_not_read_from_a_document_that_fails_its_seal(tmp_path: Path) -> None:
    write_group(tmp_path, "", {"encoders": ["swin3d_b"]})
    file = tmp_path / "zarr.json"
    file.write_bytes(file.read_bytes().replace(b"swin3d_b", b"swin3d_t"))
    with pytest.raises(StoreError, match=r"zarr\.json is damaged; .*verify --repair.* \(it fails its checksum\)"):
        read_attributes(tmp_path)


def test_attributes_of_other_programs_are_read_without_a_seal(tmp_path: Path) -> None:
    zarr.create_group(tmp_path, zarr_format=3, attributes={"made_by": "another program"})
    assert read_attributes(tmp_path) == {"made_by": "another program"}


@PROPERTY
@given(
    files=st.dictionaries(
        st.lists(st.sampled_from(["a", "b.c", "zarr.json"]), min_size=1, max_size=3).map("/d/".join),
        st.binary(max_size=9),
        max_size=4,
    )
)
def test_spares_are_listed_by_the_names_of_their_files(
    files: dict[str, bytes], make_folder: Callable[[], Path], tree: Tree
) -> None:
    names = {name for name in files if not any(other.startswith(f"{name}/") for other in files)}
    root = make_folder()
    for name in names:
        put_file(root, name, files[name])
    assert spare_names(root) == names
    assert tree(root) == {
        **{name: files[name] for name in names},
        **{f"{SPARE}/{name}.copy": files[name] for name in names},
    }
    for name in names:
        remove_file(root, name)
        remove_file(root, name)  # there is none any more
    assert (spare_names(root), tree(root)) == (set(), {})


def test_the_spare_is_written_first(tmp_path: Path) -> None:
    """So that whatever stands has its spare: here the file itself cannot be put in place."""
    (tmp_path / "a" / "taken").mkdir(parents=True)
    with pytest.raises(OSError, match=r"director"):
        put_file(tmp_path, "a", b"new")
    assert spare_of(tmp_path, "a").read_bytes() == b"new"
    assert [path.name for path in tmp_path.rglob(".tmp-*")] == []


def test_half_written_spares_of_killed_writers_are_not_listed(tmp_path: Path) -> None:
    put_file(tmp_path, "a", b"whole")
    (tmp_path / SPARE / ".tmp-123-b.copy").write_bytes(b"ha")
    assert spare_names(tmp_path) == {"a"}
