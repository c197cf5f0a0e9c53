"""Folders that are imported into a store that is there already."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmcache.store import FingerprintError, Presence
from mmcache.store.exchange.npy_import import import_npy
from mmcache.store.ground.errors import StoreMismatchError
from mmcache.store.manage.verify import verify

Tree = Callable[[Path], dict[str, bytes]]
C, M = Presence.CACHED, Presence.MISSING


def test_importing_again_changes_nothing(
    user_folder: Callable[..., Path], tmp_path: Path, tree: Tree, imported: Callable, tokens: Callable
) -> None:
    folder = user_folder(m={"a": tokens(2), "b": tokens(3), "c": tokens(1, value=np.nan)})
    store = imported(folder, tmp_path / "new.zarr")
    before = tree(store.path)
    import_npy(folder, store.path)
    assert tree(store.path) == before


def test_a_modality_that_came_later_is_added(
    user_folder: Callable[..., Path], tmp_path: Path, imported: Callable, tokens: Callable
) -> None:
    folder = user_folder(rgb={"a": tokens(2)})
    store = imported(folder, tmp_path / "new.zarr")
    (folder / "audio").mkdir()
    np.save(folder / "audio" / "b.npy", tokens(4))
    both = imported(folder, store.path)
    assert both.modalities == ["audio", "rgb"]
    assert (both.present["audio"].tolist(), both.present["rgb"].tolist()) == ([M, C, M], [C, M, M])
    assert verify(both.path) == []


def test_other_tokens_are_refused(
    user_folder: Callable[..., Path], tmp_path: Path, tree: Tree, imported: Callable, tokens: Callable
) -> None:
    folder = user_folder(m={"a": tokens(2)})
    store = imported(folder, tmp_path / "new.zarr")
    before = tree(store.path)
    np.save(folder / "m" / "a.npy", tokens(2, value=2))
    with pytest.raises(FingerprintError, match="weights_sha256: the store has"):
        import_npy(folder, store.path)
    assert tree(store.path) == before


@pytest.mark.parametrize(("old", "new"), [("c,", "d,"), ("cut", "wash"), ("b,train", "b,test"), ("c,test,take\n", "")])
def test_other_segments_are_refused(
    old: str,
    new: str,
    user_folder: Callable[..., Path],
    tmp_path: Path,
    tree: Tree,
    imported: Callable,
    tokens: Callable,
) -> None:
    folder = user_folder(m={"a": tokens(2)})
    store = imported(folder, tmp_path / "new.zarr")
    before = tree(store.path)
    table = folder / "segments.csv"
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(StoreMismatchError, match="was made from other annotations"):
        import_npy(folder, store.path)
    assert tree(store.path) == before
