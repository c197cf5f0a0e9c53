from collections.abc import Callable
from pathlib import Path

import numpy as np

from mmcache.store import FeatureStore, Presence
from mmcache.store.info import describe

C, F = Presence.CACHED, Presence.FAILED


def test_the_figures_of_a_store(make_store: Callable[..., Path]) -> None:
    presence = np.array([Presence.CACHED, Presence.FAILED, Presence.MISSING, Presence.CACHED, Presence.TO_DO])
    tokens = {"rgb/swin": np.ones((5, 2, 3, 4), np.float32), "audio": np.ones((5, 1, 2, 2), np.float16)}
    root = make_store(tokens, presence={"rgb/swin": presence, "audio": np.array([F, F, C, C, C])})
    described = describe(FeatureStore.open(root))
    assert described.pop("bytes") == sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    none = {"cached": 0, "missing": 0, "failed": 0, "to_do": 0}
    common = {"weights": "random:0", "k": None}
    assert described == {
        "dataset": "toy",
        "segments": 5,
        "eval_split": "validation",
        "tasks": {"verb": 3, "noun": 4},
        "arrays": [
            {"name": "audio/enc", "views": 1, "tokens": 2, "width": 2, "dtype": "float16", **common}
            | {"coverage": {"train": {**none, "cached": 2, "failed": 2}, "validation": {**none, "cached": 1}}},
            {"name": "rgb/swin", "views": 2, "tokens": 3, "width": 4, "dtype": "float32", **common}
            | {
                "coverage": {
                    "train": {"cached": 1, "missing": 1, "failed": 1, "to_do": 1},
                    "validation": {**none, "cached": 1},
                }
            },
        ],
        "failures": {"audio: bad file": 2, "rgb: bad file": 1},
    }


def test_the_commonest_failure_comes_first(make_store: Callable[..., Path]) -> None:
    tokens = {name: np.ones((4, 1, 1, 1), np.float16) for name in ("audio", "rgb")}
    presence = {"audio": np.array([F, C, C, C]), "rgb": np.array([C, F, F, F])}
    failures = describe(FeatureStore.open(make_store(tokens, presence=presence)))["failures"]
    assert list(failures.items()) == [("rgb: bad file", 3), ("audio: bad file", 1)]


def test_the_coverage_adds_up_to_the_segments(epic_store: Path) -> None:
    store = FeatureStore.open(epic_store)
    described = describe(store)
    assert [array["name"] for array in described["arrays"]] == ["audio/ast_demo", "imu/imu_demo", "rgb/swin3d_demo"]
    for array in described["arrays"]:
        assert {split: sum(counts.values()) for split, counts in array["coverage"].items()} == store.meta.splits
        cached = {split: counts["cached"] for split, counts in array["coverage"].items()}
        modality, encoder = array["name"].split("/")
        assert cached == {split: store.meta.coverage[split][modality][encoder] for split in cached}
