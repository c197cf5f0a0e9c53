"""Folders of .npy files, as feature releases have them, and a store to be exported to one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from mmcache.store import FeatureStore, Presence
from mmcache.store.exchange.npy_import import import_npy

C, M, F, T = Presence.CACHED, Presence.MISSING, Presence.FAILED, Presence.TO_DO
N = 23  # segments of `source`
ODD_IDS = ["../x", "a/b", ".", "..", "ä ö", "%41", "A", "a", "/etc/passwd", "", " ", "a,b", 'q"r', "x\ny", "NA", "nan"]
THREE = "id,split,verb\na,train,take\nb,train,cut\nc,test,take\n"


@pytest.fixture(scope="session")
def imported() -> Callable[..., FeatureStore]:
    """The store that the import of a folder makes at `root`."""

    def run(folder: Path, root: Path, **how: Any) -> FeatureStore:
        import_npy(folder, root, **how)
        return FeatureStore.open(root)

    return run


@pytest.fixture
def user_folder(tmp_path: Path) -> Callable[..., Path]:
    """What a feature release looks like: segments.csv (default: of a, b and c) and <modality>/<id>.npy."""

    def make(table: str = THREE, **modalities: dict[str, NDArray[Any]]) -> Path:
        folder = tmp_path / "features"
        folder.mkdir()
        (folder / "segments.csv").write_text(table)
        for modality, arrays in modalities.items():
            (folder / modality).mkdir()
            for name, array in arrays.items():
                np.save(folder / modality / f"{name}.npy", array, allow_pickle=array.dtype == object)
        return folder

    return make


@pytest.fixture(scope="session")
def tokens() -> Callable[..., NDArray[np.floating]]:
    """Tokens (length, width), all of one value."""

    def make(length: int, width: int = 3, dtype: str = "float16", value: float = 1.5) -> NDArray[np.floating]:
        return np.full((length, width), value, dtype)

    return make


@pytest.fixture(scope="session")
def source(make_store: Callable[..., Path], random_tokens: Callable[..., NDArray[np.floating]]) -> FeatureStore:
    """Odd ids and an extra column of each kind; two views, lengths; some segments missing, failed or not done."""
    rng = np.random.default_rng(0)
    presence = rng.choice([C, M, T], N, p=[0.8, 0.1, 0.1])
    presence[:2], presence[-2:] = (C, M), (F, C)
    lengths = np.where(presence[:, None] == C, rng.integers(1, 5, (N, 2)), 0)
    lengths[0] = 4
    arrays = {"audio": random_tokens(N, 2, 4, 3), "rgb/swin": random_tokens(N, 2, 2, 5, dtype="float32")}
    segments = pd.DataFrame(
        {
            "id": [*ODD_IDS, *(f"P01_{row:03}" for row in range(len(ODD_IDS), N))],
            "video": [f"0{row // 4}" for row in range(N)],
            "start_s": np.cumsum(rng.random(N)),
            "stop_s": 100 + rng.random(N),
            "split": np.where(np.arange(N) % 4 == 3, "validation", "train"),
            "verb": np.arange(N) % 3,
            "noun": np.arange(N) % 5 - 1,
            "narration": [f'cut the "löök", {row}\n' for row in range(N)],
            "score": rng.random(N),
            "kitchen": np.arange(N) * 10**12,
            "sharp": np.arange(N) % 2 == 0,
        }
    )
    return FeatureStore.open(make_store(arrays, 4, {"audio": presence}, {"audio": lengths}, segments))
