"""Checksums inside metadata files, and a spare copy of each file to repair it from.

zarr.json            attributes.zarr_json_sha256 is the digest of the file's own bytes, taken with zeros in its place
.spare/<path>.copy   the same bytes, written before the file itself

Tokens need no copy: each chunk has a crc32c, and lost tokens are extracted again. Metadata cannot be.
"""

import enum
import hashlib
import re
from pathlib import Path

from mmcache.store.files.atomic import TEMPORARY_PREFIX, atomic_write

SPARE = ".spare"
SEAL = "zarr_json_sha256"
_SUFFIX = ".copy"
BLANK = "0" * 64  # in place of the digest while the digest is computed
_DIGEST = re.compile(rb'"%s"\s*:\s*"([0-9a-f]{64})"' % SEAL.encode())


class Seal(enum.Enum):
    """The state of the checksum in a zarr.json."""

    GOOD = "good"
    BROKEN = "broken"
    NONE = "none"  # another program wrote the file, or the damage hit the seal's own name


def seal(document: bytes) -> bytes:
    """Put the digest where `document`, a zarr.json whose attributes hold SEAL: BLANK, has zeros."""
    found = _DIGEST.search(document)
    assert found is not None, f"no {SEAL} attribute to fill"
    start, stop = found.span(1)
    return document[:start] + hashlib.sha256(document).hexdigest().encode() + document[stop:]


def check_seal(document: bytes) -> Seal:
    """Compare a zarr.json with the digest inside it."""
    found = _DIGEST.search(document)
    if found is None:
        return Seal.NONE
    start, stop = found.span(1)
    blank = document[:start] + BLANK.encode() + document[stop:]
    return Seal.GOOD if hashlib.sha256(blank).hexdigest().encode() == found[1] else Seal.BROKEN


def spare_of(root: Path, name: str) -> Path:
    """The path of the spare copy of `root`/`name`; the suffix keeps Zarr from listing it as another array."""
    return root / SPARE / f"{name}{_SUFFIX}"


def spare_names(root: Path) -> set[str]:
    """The names that have a spare copy."""
    files = (root / SPARE).rglob(f"*{_SUFFIX}")
    whole = (file for file in files if not file.name.startswith(TEMPORARY_PREFIX))
    return {str(file.relative_to(root / SPARE)).removesuffix(_SUFFIX) for file in whole}


def put_file(root: Path, name: str, data: bytes) -> None:
    """Write `root`/`name` and its spare copy, each whole or not at all."""
    atomic_write(spare_of(root, name), data)
    atomic_write(root / name, data)


def remove_file(root: Path, name: str) -> None:
    """Remove `root`/`name` and its spare copy."""
    (root / name).unlink(missing_ok=True)
    spare_of(root, name).unlink(missing_ok=True)
