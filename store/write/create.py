"""Make a store, or check that the one there was made of the same segments."""

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
    """Make a store of segments, without tokens yet; it appears whole or not at all.

    Raises:
        StoreError: something is already there, or the segments are not sound (see check_segments).
    """
    if root.exists():
        raise StoreError(f"{root} exists already")
    meta.check("the data set")
    table = check_segments(segments, meta.tasks)
    data = segments_to_bytes(table)
    remove_leftovers(root)  # of a process killed right here
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
        if isinstance(error, OSError):  # what it names is gone
            raise OSError(error.errno, error.strerror, str(root)) from error
        raise
    fsync_folder(root.parent)


def ensure_store(root: Path, segments: pd.DataFrame, meta: StoreMeta) -> None:
    """Make the store, or check that the one there was made of the same segments; what killed writers left goes.

    For the holder of the writer lock. Raises as create_store and check_same_segments do.
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
    """Make a store of other segments in the place of one without tokens. For the holder of the writer lock.

    Raises:
        StoreMismatchError: there are tokens after all.
        StoreError: as create_store.
    """
    if has_tokens(root):
        check_same_segments(root, segments, meta)
        return
    old = temporary_beside(root)  # which the next writer removes, should this one be killed here
    os.replace(root, old)
    try:
        create_store(root, segments, meta)
    except BaseException:
        os.replace(old, root)
        raise
    shutil.rmtree(old, ignore_errors=True)


def check_same_segments(root: Path, segments: pd.DataFrame, meta: StoreMeta) -> None:
    """Check that the store at `root` was made of these very segments.

    Raises:
        StoreMismatchError: it was made of others; the message says what differs.
        StoreError: `root` is something else than a store, or a damaged one.
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
    """What lies at `root`, where a store should be made, and what to do."""
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
