"""Files that cannot be used: each is a failure of its segment, with its reason."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmcache.store import Presence
from mmcache.store.exchange.npy_files import read_header
from mmcache.store.ground.errors import UnstorableTokens
from mmcache.store.manage.verify import verify

C, M, F = Presence.CACHED, Presence.MISSING, Presence.FAILED


class Bomb:
    """Unpickled, it leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def _truncated(file: Path) -> None:
    np.save(file, np.ones((200, 3), "f2"))
    os.truncate(file, 500)


def _header_of(shape: str) -> bytes:
    header = f"{{'descr': '<f2', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


BAD_FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty": (lambda file: file.write_bytes(b""), r"cannot be read: it is no \.npy file, or damaged"),
    "text": (lambda file: file.write_text("1 2 3\n" * 30), "cannot be read"),
    "truncated in its tokens": (_truncated, r"cut off: shape \(200, 3\) takes 1,200 bytes, it has 372"),
    "truncated in its header": (lambda file: (np.save(file, np.ones((2, 3))), os.truncate(file, 20)), "cannot be read"),
    "pickled objects": (lambda file: np.save(file, np.array([[Bomb(file.parent / "boom")]])), "object, not floats"),
    "a pickle": (lambda file: file.write_bytes(pickle.dumps(Bomb(file.parent / "boom"))), "cannot be read"),
    "a folder": (lambda file: (file.unlink(), file.mkdir()), "cannot be read: it is a folder, not a regular file"),
    "three axes": (lambda file: np.save(file, np.ones((2, 2, 3), "f2")), r"has shape \(2, 2, 3\); expected \(T, D\)"),
    "no axes": (lambda file: np.save(file, np.float32(1)), r"has shape \(\); expected \(T, D\)"),
    "no tokens": (lambda file: np.save(file, np.ones((0, 3), "f2")), r"has shape \(0, 3\); expected \(T, D\)"),
    "integers": (lambda file: np.save(file, np.ones((2, 3), int)), "holds int64, not floats"),
    "complex numbers": (lambda file: np.save(file, np.ones((2, 3), complex)), "holds complex128, not floats"),
    "words": (lambda file: np.save(file, np.array([["a", "b", "c"]])), "holds <U1, not floats"),
    "an absurd shape": (
        lambda file: file.write_bytes(_header_of("(1000000000000, 3)") + bytes(64)),
        r"cut off: shape \(1000000000000, 3\) takes 6,000,000,000,000 bytes, it has 64",
    ),
    "two arrays": (
        lambda file: file.write_bytes(2 * file.read_bytes()),
        r"has 140 bytes after its array of shape \(2, 3\): one file must hold one array",
    ),
    "a FIFO": (lambda file: (file.unlink(), os.mkfifo(file)), "cannot be read: it is a FIFO, not a regular file"),
    "a dangling link": (
        lambda file: (file.unlink(), file.symlink_to("nowhere")),
        "cannot be read: No such file or directory",
    ),
    "another width": (lambda file: np.save(file, np.ones((2, 4), "f2")), "has tokens of width 4, most have 3"),
    "NaN": (lambda file: np.save(file, np.full((2, 3), np.nan, "f2")), "NaN or infinity among the tokens"),
    "infinity": (lambda file: np.save(file, np.full((2, 3), np.inf, "f2")), "NaN or infinity among the tokens"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_cannot_be_used_is_a_failure_with_its_reason(
    kind: str, user_folder: Callable[..., Path], tmp_path: Path, imported: Callable, tokens: Callable
) -> None:
    """And costs its own segment only; nothing is ever unpickled."""
    folder = user_folder(m={"a": tokens(2), "b": tokens(2), "c": tokens(2)})
    spoil, reason = BAD_FILES[kind]
    spoil(folder / "m" / "b.npy")
    store = imported(folder, tmp_path / "new.zarr")
    assert store.present["m"].tolist() == [C, F, C]
    assert [(line["id"], line["modality"], line["encoder"]) for line in store.failures] == [("b", "m", "npy")]
    assert pd.Series(store.failures[0]["reason"]).str.contains(reason).all()
    assert (store.tokens["m"].read([0, 2]) == 1.5).all()
    assert verify(store.path) == []
    assert not (folder / "m" / "boom").exists()


def test_the_bomb_of_that_test_explodes_where_it_is_unpickled(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "boom")))  # noqa: S301
    assert (tmp_path / "boom").exists()


def test_an_archive_is_a_failure(
    user_folder: Callable[..., Path], tmp_path: Path, imported: Callable, tokens: Callable
) -> None:
    folder = user_folder(m={"a": tokens(2)})
    np.savez(folder / "m" / "x.npz", tokens=tokens(2))
    (folder / "m" / "x.npz").rename(folder / "m" / "b.npy")
    store = imported(folder, tmp_path / "new.zarr")
    assert store.present["m"].tolist() == [C, F, M]


HEADERS = [b"(((", b"'''abc", b"{1:", b"{[]:1}", b"-" * 9000 + b"1"]
HEADERS += [
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (%s, 3), }" % first for first in (b"1" + b"0" * 20, b"True")
]


@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
def test_a_header_of_any_kind_is_a_failure(
    header: bytes, user_folder: Callable[..., Path], tmp_path: Path, imported: Callable, tokens: Callable
) -> None:
    folder = user_folder(m={"a": tokens(2)})
    (folder / "m" / "b.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(64))
    assert imported(folder, tmp_path / "new.zarr").present["m"].tolist() == [C, F, M]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_header_with_a_flipped_bit_costs_its_segment_at_most(
    user_folder: Callable[..., Path], tmp_path: Path, tokens: Callable
) -> None:
    file = user_folder(m={"a": tokens(2)}) / "m" / "a.npy"
    data = file.read_bytes()
    raised = {}
    for place in range(128):
        for bit in range(8):
            changed = bytearray(data)
            changed[place] ^= 1 << bit
            file.write_bytes(changed)
            try:
                read_header(file)
            except UnstorableTokens:
                pass
            except Exception as error:
                raised[place, bit] = repr(error)
    assert raised == {}


def test_where_no_file_can_be_used_all_fail(
    user_folder: Callable[..., Path], tmp_path: Path, imported: Callable
) -> None:
    folder = user_folder(m={"a": np.ones((2, 3), int), "b": np.ones((2, 3), int)})
    store = imported(folder, tmp_path / "new.zarr")
    assert store.present["m"].tolist() == [F, F, M]
    assert verify(store.path) == []
