from collections.abc import Callable
from pathlib import Path

import numpy as np

from mmcache.store import FeatureStore, Presence
from mmcache.store.manage.info import describe
from mmcache.store.manage.reduce import reduce_store

C, F = Presence.CACHED, Presence.FAILED


def test_the_figures_of_a_store(make_store: Callable[..., Path]) -> None:
    presence = np.array([Presence.CACHED, Presence.FAILED, Presence.MISSING, Presence.CACHED, Presence.TO_DO])
    tokens = {"rgb/swin": np.ones((5, 2, 3, 4), np.float32), "audio": np.ones((5, 1, 2, 2), np.float16)}
    root = make_store(tokens, presence={"rgb/swin": presence, "audio": np.array([F, F, C, C, C])})
    described = describe(FeatureStore.open(root))
    assert described.pop("bytes") == sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    none = {"cached": 0, "missing": 0, "failed": 0, "to_do": 0}
    common = {"weights": "random:0", "k": None, "rounding_error": None}
    sizes = {
        name: sum(path.stat().st_size for path in (root / "tokens" / name).rglob("*") if path.is_file())
        for name in ("audio/enc", "rgb/swin")
    }
    assert sizes["rgb/swin"] > 2 * 2 * 3 * 4 * 4
    assert described == {
        "dataset": "toy",
        "segments": 5,
        "eval_split": "validation",
        "tasks": {"verb": 3, "noun": 4},
        "arrays": [
            {"name": "audio/enc", "views": 1, "tokens": 2, "width": 2, "dtype": "float16", **common}
            | {"bytes": sizes["audio/enc"]}
            | {"coverage": {"train": {**none, "cached": 2, "failed": 2}, "validation": {**none, "cached": 1}}},
            {"name": "rgb/swin", "views": 2, "tokens": 3, "width": 4, "dtype": "float32", **common}
            | {
                "bytes": sizes["rgb/swin"],
                "coverage": {
                    "train": {"cached": 1, "missing": 1, "failed": 1, "to_do": 1},
                    "validation": {**none, "cached": 1},
                },
            },
        ],
        "failures": [
            {"where": "audio/enc", "reason": "bad file", "count": 2, "segments": ["P01_000", "P01_001"]},
            {"where": "rgb/swin", "reason": "bad file", "count": 1, "segments": ["P01_001"]},
        ],
    }


def test_the_commonest_failure_comes_first(make_store: Callable[..., Path]) -> None:
    tokens = {name: np.ones((4, 1, 1, 1), np.float16) for name in ("audio", "rgb")}
    presence = {"audio": np.array([F, C, C, C]), "rgb": np.array([C, F, F, F])}
    failures = describe(FeatureStore.open(make_store(tokens, presence=presence)))["failures"]
    assert [(group["where"], group["count"]) for group in failures] == [("rgb/enc", 3), ("audio/enc", 1)]


def test_failures_of_two_encoders_are_counted_apart(make_store: Callable[..., Path]) -> None:
    tokens = {name: np.ones((4, 1, 1, 1), np.float16) for name in ("rgb/a", "rgb/b")}
    presence = {"rgb/a": np.array([F, F, C, C]), "rgb/b": np.array([F, C, C, C])}
    failures = describe(FeatureStore.open(make_store(tokens, presence=presence)))["failures"]
    assert [(group["where"], group["count"]) for group in failures] == [("rgb/a", 2), ("rgb/b", 1)]


def test_of_int8_tokens_bytes_have_the_scales_in_them_and_rounding_is_told(
    make_store: Callable[..., Path], random_tokens: Callable[..., np.ndarray]
) -> None:
    tokens = random_tokens(5, 2, 3, 64)
    tokens[1] = 1  # exact: every value is the largest of its token
    root = make_store({"rgb": tokens}, presence={"rgb": np.array([C, C, F, C, C])})
    reduce_store(root, dtype="int8")
    store = FeatureStore.open(root)
    described = {array["name"]: array for array in describe(store)["arrays"]}
    files = [
        file for kind in ("tokens", "scale") for file in (root / kind / "rgb/enc-int8").rglob("*") if file.is_file()
    ]
    assert described["rgb/enc-int8"]["bytes"] == sum(file.stat().st_size for file in files)
    assert described["rgb/enc"]["rounding_error"] is None
    cached = np.array([0, 1, 3, 4])
    exact, back = (
        np.stack([store.tokens[name].read_float(cached, view) for view in (0, 1)], axis=1).astype(np.float64)
        for name in ("rgb/enc", "rgb/enc-int8")
    )
    errors = np.linalg.norm((back - exact).reshape(4, 2, -1), axis=2) / np.linalg.norm(exact.reshape(4, 2, -1), axis=2)
    said = described["rgb/enc-int8"]["rounding_error"]
    assert errors[1].max() == 0
    np.testing.assert_allclose([said["mean"], said["worst"]], [errors.mean(), errors.max()], rtol=0.05)


def test_rounding_of_no_tokens_is_not_told(make_store: Callable[..., Path]) -> None:
    root = make_store({"rgb": np.ones((3, 1, 2, 4), np.float16)}, presence={"rgb": np.array([F, F, F])})
    reduce_store(root, dtype="int8")
    described = {array["name"]: array for array in describe(FeatureStore.open(root))["arrays"]}
    assert described["rgb/enc-int8"]["rounding_error"] is None
    assert described["rgb/enc-int8"]["coverage"]["train"]["failed"] == 3


def test_the_coverage_adds_up_to_the_segments(epic_store: Path) -> None:
    store = FeatureStore.open(epic_store)
    described = describe(store)
    assert [array["name"] for array in described["arrays"]] == ["audio/ast_demo", "imu/imu_demo", "rgb/swin3d_demo"]
    for array in described["arrays"]:
        assert {split: sum(counts.values()) for split, counts in array["coverage"].items()} == store.meta.splits
        cached = {split: counts["cached"] for split, counts in array["coverage"].items()}
        modality, encoder = array["name"].split("/")
        assert cached == {split: store.meta.coverage[split][modality][encoder] for split in cached}
