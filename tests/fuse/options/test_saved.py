"""The options of a run, written down and read back."""

from typing import Any

import pytest
import yaml

from mmcache.fuse.options.options import Options
from mmcache.fuse.options.recipes import RECIPES
from mmcache.fuse.options.resolve import resolve, resolve_options
from mmcache.fuse.options.saved import options_from
from mmcache.fuse.strategies import STRATEGIES
from mmcache.store import ConfigError

# Values that are no defaults and that YAML and JSON could turn into something else.
ODD = {
    "store": "cache/s.zarr", "out": "runs/3", "group": "person", "fold": 3, "train_missing": {"rgb": 0.25}, "k": 7,
    "modalities": ["rgb", "audio"], "validation": 0.2, "balance": "verb", "lr": 1e-5, "weight_decay": 0, "seed": 10**9,
    "init_from": "runs/base", "tensorboard": True, "clip": 2, "teacher": ["runs/a", "runs/b"], "calibrate": True,
    "drop": 0.125, "vicreg_terms": [1, 2, 3], "replace_shares": [0, 0.5, 1],
}  # fmt: skip


def read_back(options: Options) -> Options | None:
    return options_from(yaml.safe_load(yaml.safe_dump(options.nested())), {})


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_saved_options_are_read_back_as_they_were(strategy: str, recipe: str) -> None:
    odd = {**ODD, "teacher": "runs/a"} if strategy == "mmanet" else ODD
    for options in (
        resolve_options(strategy, {}, recipe),
        resolve(strategy, {"odd": odd}, recipe, lenient=["odd"]).options,
    ):
        back = read_back(options)
        assert back == options
        assert back.components == options.components
        assert back.identity("store") == options.identity("store")
        assert back.pack_key() == options.pack_key()
        assert back.nested() == options.nested() == options_from(options.nested(), {}).nested()


def test_every_section_has_what_the_run_reads_and_nothing_else() -> None:
    nested = resolve_options("cmpt", {}).nested()
    assert list(nested) == [
        "strategy", "recipe", "data", "network", "masks", "optimiser", "run", "own", "handler", "head", "sampler"
    ]  # fmt: skip
    assert nested["own"] == {"reconstruction": 0.2}
    assert nested["handler"] == {"proxy_encoder": "source", "proxy_dropout": 0.1}
    assert "depth" not in nested["network"]
    assert "heads" in nested["network"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda saved: saved["own"].update(breadth=3), "options that this mmcache does not know: 'own.breadth'"),
        (lambda saved: saved["network"].update(depth=3, block_norm="pre"), "does not know: 'network.block_norm'"),
        (lambda saved: saved.update(colour={}), "does not know: 'colour'"),
        (lambda saved: saved["network"].pop("width"), "network.width is missing"),
        (lambda saved: saved["own"].update(alpha=2.0), "own.alpha = 2.0: Input should be less than or equal to 1"),
        (lambda saved: saved.update(own=[1]), r"section 'own' is \[1\], not options"),
        (lambda saved: saved.update(strategy="karma"), "unknown strategy 'karma'. Did you mean 'karmma'"),
        (lambda saved: saved.update(strategy=3), "the run's strategy is 3, no name"),
        (lambda saved: saved.update(strategy="dropout"), "the handler karmma belongs to the strategy karmma"),
        (lambda saved: saved["network"].update(handler="nothing"), "unknown handler 'nothing'"),
        (lambda saved: saved["network"].update(handler=[1]), r"unknown handler '\[1\]'"),
        (lambda saved: saved["network"].update(fusion={}), "unknown fusion"),
        (lambda saved: saved["masks"].update(sampler=True), "unknown sampler 'True'"),
        (lambda saved: saved.update(recipe="published twice"), "unknown recipe 'published twice'"),
    ],
)
def test_what_is_no_options_of_a_run_is_named(change: Any, message: str) -> None:
    saved = resolve_options("karmma", {}).nested()
    change(saved)
    with pytest.raises(ConfigError, match=message):
        options_from(saved, {})
