"""Data shared by the tests: a tiny data set in the official EPIC layout, and the store extracted from it."""

import shutil
from pathlib import Path

import pytest

from mmcache.extract.demo_data import DemoVideo, write_epic_demo

SEED = 3
VIDEOS = [
    DemoVideo("P01_101", "train", 8),
    DemoVideo("P01_102", "train", 8),
    DemoVideo("P02_01", "train", 8, imu=False),
    DemoVideo("P02_102", "train", 6, sound=False),
    DemoVideo("P03_101", "train", 6, picture=False),
    DemoVideo("P05_101", "validation", 10),
    DemoVideo("P06_01", "validation", 4, imu=False),
    DemoVideo("P08_101", "test", 2),
]


@pytest.fixture(scope="session")
def epic_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """52 segments of 8 videos with real MP4 and CSV files; read only."""
    root = tmp_path_factory.mktemp("media") / "epic"
    write_epic_demo(root, VIDEOS, seed=SEED)
    return root


@pytest.fixture
def epic_copy(epic_root: Path, tmp_path: Path) -> Path:
    """A copy of epic_root that a test may damage."""
    return Path(shutil.copytree(epic_root, tmp_path / "epic"))


@pytest.fixture(scope="session")
def epic_store(epic_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store extracted from epic_root, with shards of about 20 segments; read only."""
    from mmcache.extract.config import ExtractConfig
    from mmcache.extract.pipeline import NoProgress, run_extract
    from mmcache.extract.plan import make_plan
    from mmcache.store.settings import read_settings, resolve

    store = tmp_path_factory.mktemp("cache") / "epic.zarr"
    settings = read_settings(epic_root / "mmcache.yaml")
    flags = {"dataset": "epic", "root": epic_root, "store": store, "shard_mb": 0.16}
    config = resolve(ExtractConfig, {"mmcache.yaml": settings["extract"], "flags": flags})
    run_extract(make_plan(config, settings["fuse"]), NoProgress())
    return store


@pytest.fixture
def store_copy(epic_store: Path, tmp_path: Path) -> Path:
    """A copy of epic_store that a test may write to."""
    return Path(shutil.copytree(epic_store, tmp_path / "epic.zarr"))
