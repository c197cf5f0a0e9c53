"""Create a store, or check that the existing one has the same segments."""

import dataclasses
import hashlib
import os
import shutil
from pathlib import Path

import pandas as pd

from mmcache.store.files.atomic import fsync_folder, remove_leftovers, temporary_beside
from mmcache.store.files.sealed import put_file
from mmcache.store.format import layout
from mmcache.store.format.layout import Presence, StoreMeta
from mmcache.store.format.small_array import read_small_array
from mmcache.store.ground.errors import NoStoreError, StoreError, StoreMismatchError
from mmcache.store.segments.segment_table import check_segments, read_segments, segments_from_bytes, segments_to_bytes


def create_store(root: Path, segments: pd.DataFrame, meta: StoreMeta) -> None:
    """Create a store of segments, without tokens; it appears whole or not at all.

    Raises:
        StoreError: `root` exists, or the segments have a fault (see check_segments).
    """
    if root.exists():
        raise StoreError(f"{root} exists already")
    meta.check("the data set")
    table = check_segments(segments, meta.tasks)
    data = segments_to_bytes(table)
    remove_leftovers(root)  # of a process that was killed at this point
    temporary = temporary_beside(root)
    temporary.mkdir(parents=True)
    try:
        put_file(temporary, layout.SEGMENTS, data)
        for group in ("tokens", "present"):
            layout.write_group(temporary, group, {})
        digest = hashlib.sha256(data).hexdigest()
        layout.write_meta(temporary, dataclasses.replace(meta, sha256={layout.SEGMENTS: digest}))
        os.replace(temporary, root)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError):  # the temporary file that it names is removed
            raise OSError(error.errno, error.strerror, str(root)) from error
        raise
    fsync_folder(root.parent)


def ensure_store(root: Path, segments: pd.DataFrame, meta: StoreMeta) -> None:
    """Create the store, or check that the existing one has the same segments; leftovers of killed writers are removed.

    The caller must hold the writer lock. Raises as create_store and check_same_segments.
    """
    remove_leftovers(root)
    if root.exists():
        check_same_segments(root, segments, meta)
    else:
        create_store(root, segments, meta)


def has_tokens(root: Path) -> bool:
    """Whether any segment of the store at `root` is cached. Raises StoreError when that cannot be read."""
    return any(
        bool((read_small_array(root / "present" / modality / encoder, "present") == Presence.CACHED).any())
        for modality, encoder in layout.token_arrays(root)
    )


def replace_empty_store(root: Path, segments: pd.DataFrame, meta: StoreMeta) -> None:
    """Replace a store without tokens by one of other segments. The caller must hold the writer lock.

    Raises:
        StoreMismatchError: the store has tokens.
        StoreError: as create_store.
    """
    if has_tokens(root):
        check_same_segments(root, segments, meta)
        return
    old = temporary_beside(root)  # the next writer removes it if this one is killed here
    os.replace(root, old)
    try:
        create_store(root, segments, meta)
    except BaseException:
        os.replace(old, root)
        raise
    shutil.rmtree(old, ignore_errors=True)


def check_same_segments(root: Path, segments: pd.DataFrame, meta: StoreMeta) -> None:
    """Check that the store at `root` has exactly these segments.

    Raises:
        StoreMismatchError: it has other segments; the message says what differs.
        StoreError: `root` is not a store, or a damaged one.
    """
    try:
        saved_meta = layout.read_meta(root)
    except NoStoreError as error:
        raise StoreError(_no_store(root)) from error
    for field in ("dataset", "tasks", "splits"):
        ours, theirs = getattr(meta, field), getattr(saved_meta, field)
        if ours != theirs:
            shown = f": the store has {theirs}, the annotations give {ours}" if field != "tasks" else ""
            raise StoreMismatchError(
                f"{root} was made from other annotations ({field} differs{shown}). "
                "Write to another store with --store PATH, or remove this one."
            )
    table = segments_from_bytes(segments_to_bytes(check_segments(segments, meta.tasks)))
    if not table.equals(read_segments(root / layout.SEGMENTS)):
        raise StoreMismatchError(
            f"{root} was made from other annotations (some segments differ). "
            "Write to another store with --store PATH, or remove this one."
        )


def _no_store(root: Path) -> str:
    """The error message for a `root` that is no store and no free path: what it is, and what to do."""
    if not root.is_dir():
        return f"{root} is a file. Give --store the path of a new folder, such as {root.parent / 'mine.zarr'}"
    names = sorted(os.listdir(root))
    if layout.SEGMENTS in names or "tokens" in names:
        return f"{root} is a store that has lost its zarr.json: `mmcache store verify --repair {root}`"
    what = f"holds other files, such as {names[0]}," if names else "is an empty folder,"
    return (
        f"{root} {what} and is no store. A store is a folder of its own that mmcache makes: "
        f"--store {root / 'mine.zarr'} makes one inside it"
    )
