"""The figures that a method is published with are those of its preset (methods.md section 3)."""

import pytest

from mmcache.fuse.config import make_config
from mmcache.fuse.strategies import STRATEGIES

# What the papers state and a run over frozen tokens can keep. What differs is said in the strategy's docstring.
PUBLISHED = {
    "zeros": {"law": "none", "train_on": "complete", "fill": "zeros"},
    "skip": {"law": "none", "train_on": "complete", "fill": "skip"},
    "dropout": {"law": "bernoulli_keep_one", "drop": 0.5, "fill": "zeros", "train_on": "all"},
    "moddrop": {"law": "bernoulli_keep_one", "drop": 0.5, "fill": "skip"},
    "mmt": {"drop": 0.25, "label_smoothing": 0.3, "token_dropout": 0.3, "head": "per_modality", "positions": True},
    "actionmae": {
        "law": "uniform_count_a_batch", "reconstruction": 1.0, "label_smoothing": 0.1, "memory": 1, "fill_depth": 2,
        "pool_depth": 2, "heads": 8, "ffn_ratio": 4.0, "lr": 1e-4, "weight_decay": 1e-4, "batch_size": 32,
    },
    "map": {
        "law": "pattern_table", "drop": 0.7, "prompt_length": 16, "prompt_layers": 6, "depth": 6, "freeze": True,
        "weight_decay": 0.02, "epochs": 20, "warmup": 0.1, "prompt_kind": "input",
    },
    "map-attention": {"law": "pattern_table", "drop": 0.7, "prompt_length": 16, "prompt_kind": "attention"},
    "shaspec": {"law": "uniform_set_a_batch", "shared": 0.1, "specific": 0.02, "stand_in": "mean"},
    "compass": {
        "law": "complete_else_count", "drop": 0.7, "reconstruction": 0.2, "vicreg": 0.3, "label_smoothing": 0.1,
        "vicreg_terms": (25.0, 25.0, 1.0), "heads": 4, "fill_dropout": 0.1, "head_norm": True, "head_dropout": 0.3,
        "fusion": "sum", "lr": 1e-4, "weight_decay": 5e-4, "epochs": 20, "batch_size": 32,
    },
    "cmpt": {"reconstruction": 0.2, "fusion": "sum", "law": "bernoulli_keep_one"},
    "macjepa": {
        "drop": 0.7, "depth": 6, "heads": 8, "ffn_ratio": 2.0, "label_smoothing": 0.1, "lr": 3e-4,
        "weight_decay": 1e-4, "epochs": 50, "warmup": 0.04, "cls_is_query": True,
    },
    "karmma-teacher": {
        "law": "bernoulli_keep_one", "drop": 0.5, "width": 768, "depth": 2, "heads": 8, "attention_dropout": 0.3,
        "ffn_ratio": 1.0, "weight_decay": 0.05, "clip": 1.0, "epochs": 100, "warmup": 0.1, "batch_size": 32, "k": 300,
    },
    "karmma": {
        "law": "bernoulli_keep_one", "drop": 0.5, "width": 384, "depth": 1, "attention_dropout": 0.0, "alpha": 0.7,
        "temperature": 1.0, "teacher_mask": "same", "s_mode": "always", "weight_decay": 0.01, "clip": 2.0,
        "epochs": 100, "warmup": 0.1,
    },
    "radevski": {
        "alpha": 0.0, "temperature": 1.0, "ensemble": "uniform", "ensemble_temperature": 1.0, "kd_tasks": "mean",
        "lr": 1e-4, "weight_decay": 0.02, "epochs": 30, "warmup": 0.1, "clip": 5.0,
    },
    "mmanet": {"law": "uniform_subset", "mad": 30.0, "mar": 0.5, "margin_share": 0.05, "mad_by": "rows", "epochs": 100},
    "mmg": {"align": 1.0, "align_temperature": 0.07, "ways": 5, "shots": 5, "law": "bernoulli_keep_one", "drop": 0.5},
    "midl": {"adapt_lr": 2.5e-4, "midl_information": 3.0, "midl_distance": 3.0, "adapt_mode": "stream"},
}  # fmt: skip


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_preset_has_the_published_figures(strategy: str) -> None:
    config = make_config(strategy, {})
    assert {option: getattr(config, option) for option in PUBLISHED[strategy]} == PUBLISHED[strategy]
