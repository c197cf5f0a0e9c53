"""The made data set: through the whole pipeline, and what it refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcache.common.oracle_world import Oracle, class_of
from mmcache.extract.datasets.oracle_dataset import OracleDataset
from mmcache.extract.media import read_media
from mmcache.extract.media.base.source import Source
from mmcache.extract.media.oracle_reader import OracleRequest
from mmcache.extract.planning.extract_config import ExtractConfig
from mmcache.extract.planning.plan import make_plan
from mmcache.extract.run.pipeline import NoProgress, run_extract
from mmcache.store.feature_store import FeatureStore
from mmcache.store.ground.errors import ConfigError, StoreMismatchError


def config(folder: Path, **settings: Any) -> ExtractConfig:
    values = {"train": 30, "test": 12, **settings}
    return ExtractConfig(dataset="oracle", root=folder / "none", store=folder / "o.zarr", set=values, batch_size=16)


def test_segments_have_the_labels_of_their_factors() -> None:
    table = OracleDataset(Path("nowhere"), train=300, test=100, seed=4).segments
    assert table["split"].value_counts().to_dict() == {"train": 300, "test": 100}
    factors = table[["factor_a", "factor_b", "factor_p", "factor_q"]].to_numpy()
    assert (class_of(factors) == table["class"]).all()
    assert not set(table["video"][table["split"] == "train"]) & set(table["video"][table["split"] == "test"])
    fewer = OracleDataset(Path("nowhere"), train=10, test=5, seed=4).segments
    assert fewer[fewer["split"] == "train"].equals(table[:10])


def test_levels_are_priors_of_p_and_q() -> None:
    assert OracleDataset(Path()).world == Oracle(1.0, 0.3)
    assert OracleDataset(Path(), level="pure").world == Oracle(1.0, 0.5)
    assert OracleDataset(Path(), skew=0.1, noise=2).world == Oracle(2.0, 0.1)


@pytest.mark.slow
def test_tokens_come_through_the_pipeline_as_drawn(tmp_path: Path) -> None:
    summary = run_extract(make_plan(config(tmp_path, noise=1.5)), NoProgress())
    assert {m: c["cached"] for m, c in summary.counts.items()} == {"a": 42, "b": 42, "c": 42}
    assert summary.failures == []
    store = FeatureStore.open(tmp_path / "o.zarr")
    assert (store.meta.eval_split, store.tasks["class"][1]) == ("test", "a0 b0 odd")
    world = Oracle(noise=1.5)
    for modality in store.modalities:
        assert store.tokens[modality].shape == (42, 1, 8, 8)
        drawn = np.stack([world.tokens(name, 0, modality, 8) for name in store.segments["id"]])
        np.testing.assert_array_equal(store.tokens[modality].read(np.arange(42)), drawn.astype(np.float16))
    again = make_plan(config(tmp_path, noise=1.5))
    assert again.nothing_to_do
    with pytest.raises(StoreMismatchError, match="some segments differ"):
        make_plan(config(tmp_path, noise=1.0))


def test_views_are_draws_of_their_own(tmp_path: Path) -> None:
    source = OracleDataset(Path(), train=3, test=1).source("b", "train_00000")
    assert source is not None
    one = source.of_segment("train_000001")
    whole = read_media(one, 0.0, 1.0, OracleRequest(tokens=5)).array
    np.testing.assert_array_equal(whole, Oracle().tokens("train_000001", 0, "b", 5))
    part = read_media(one, 0.0, 1.0, OracleRequest(tokens=5, part=(0.1, 0.9))).array
    assert (part != whole).all()


def test_a_foreign_source_is_no_oracle() -> None:
    with pytest.raises(ConfigError, match="come from the data set oracle alone"):
        read_media(Source("oracle", ()), 0.0, 1.0, OracleRequest(tokens=5))


def test_every_wrong_setting_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        OracleDataset(Path(), level="pur", train=0, noise=0.0, skew=0.7, seed=-1)
    for part in ("Did you mean 'pure'", "train=0", "noise=0.0", "skew=0.7", "seed=-1"):
        assert part in str(caught.value)
    with pytest.raises(ConfigError, match="Did you mean 'skew'"):
        ExtractConfig(dataset="oracle", set={"skw": 0.2}).check()
