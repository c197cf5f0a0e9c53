"""Augmented views: what they are drawn from, and whole extracts with several of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcache.extract.datasets import DATASETS
from mmcache.extract.encoders.base.views import part_of_view, view_of
from mmcache.extract.planning.extract_config import ExtractConfig
from mmcache.extract.planning.plan import Plan, make_plan
from mmcache.extract.run.pipeline import NoProgress, run_extract
from mmcache.store.feature_store import FeatureStore
from mmcache.store.format.layout import Presence
from mmcache.store.ground.errors import StoreError

ENCODERS = {"rgb": "swin3d_demo", "audio": "ast_demo", "imu": "imu_demo"}
IDS = [f"P01_101_{i}" for i in range(300)]


def plan_of(root: Path, store: Path, **options: Any) -> Plan:
    given = {"encoder": ENCODERS, "weights": "random", "batch_size": 16, "shard_mb": 0.16, "limit": 6, **options}
    return make_plan(ExtractConfig("epic", root, store=store, **given))


def test_the_centre_view_is_the_whole_segment_unchanged() -> None:
    assert part_of_view("a", 0) == (0.0, 1.0)
    assert view_of("a", 0, mirrors=True) is None


def test_parts_lie_inside_and_leave_most_of_the_segment() -> None:
    parts = np.array([part_of_view(name, view) for name in IDS for view in (1, 2, 3)])
    assert (parts[:, 0] >= 0).all()
    assert (parts[:, 1] <= 1).all()
    assert (parts[:, 1] - parts[:, 0] >= 0.6).all()
    assert len(np.unique(parts)) == parts.size


def test_a_view_is_a_function_of_segment_and_number_alone() -> None:
    def draws(name: str, number: int) -> tuple[float, bool]:
        view = view_of(name, number, mirrors=True)
        assert view is not None
        return float(view.rng.random()), view.mirrored

    first = [draws(name, number) for name in IDS for number in (1, 2)]
    assert first == [draws(name, number) for name in IDS for number in (1, 2)]
    assert len(set(first)) == len(first)
    assert 0.4 < np.mean([mirrored for _, mirrored in first]) < 0.6


def test_where_classes_know_left_from_right_nothing_is_mirrored() -> None:
    for name in IDS:
        plain, may = view_of(name, 1, mirrors=False), view_of(name, 1, mirrors=True)
        assert plain is not None and may is not None  # noqa: PT018
        assert not plain.mirrored
        assert plain.rng.random() == may.rng.random()
    assert not DATASETS["ssv2"][0].mirrors
    assert DATASETS["epic"][0].mirrors


@pytest.fixture(scope="module")
def seen_thrice(epic_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("views") / "epic.zarr"
    run_extract(plan_of(epic_root, store, views=3), NoProgress())
    return store


@pytest.mark.slow
def test_views_are_cached_beside_the_centre_one_which_is_that_of_a_run_without_views(
    seen_thrice: Path, epic_root: Path, tmp_path: Path
) -> None:
    run_extract(plan_of(epic_root, tmp_path / "plain.zarr"), NoProgress())
    three, plain = FeatureStore.open(seen_thrice), FeatureStore.open(tmp_path / "plain.zarr")
    for modality in ENCODERS:
        rows = np.flatnonzero(three.present[modality] == Presence.CACHED)
        assert len(rows) >= 6
        np.testing.assert_array_equal(three.present[modality], plain.present[modality])
        assert three.tokens[modality].shape[1] == 3
        views = [three.tokens[modality].read(rows, view).astype(np.float32) for view in range(3)]
        np.testing.assert_allclose(views[0], plain.tokens[modality].read(rows), rtol=1e-3, atol=2e-3)
        for one, other in ((0, 1), (0, 2), (1, 2)):
            assert (np.abs(views[one] - views[other]).max(axis=(1, 2)) > 0.01).all()
    assert three.tokens["rgb"].fingerprint.preprocessing["views"] == 3


@pytest.mark.slow
def test_the_same_views_every_time_and_others_are_refused(
    seen_thrice: Path, epic_root: Path, tmp_path: Path, same_files: Callable[[Path, Path], None]
) -> None:
    run_extract(plan_of(epic_root, tmp_path / "epic.zarr", views=3), NoProgress())
    same_files(tmp_path / "epic.zarr", seen_thrice)
    assert run_extract(plan_of(epic_root, tmp_path / "epic.zarr", views=3), NoProgress()).settled == 0
    with pytest.raises(StoreError, match="views"):
        run_extract(plan_of(epic_root, tmp_path / "epic.zarr", views=2), NoProgress())
    same_files(tmp_path / "epic.zarr", seen_thrice)
