"""Small models and batches for the tests of stage two."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from mmcache.fuse.config import FuseConfig, make_config
from mmcache.fuse.model import Model, ModelSpec

SPEC = ModelSpec(
    modalities={"audio": ("enc_a", 5, 6), "imu": ("enc_i", 4, 3), "rgb": ("enc_r", 7, 8)},
    tasks={"verb": ["a", "b", "c"], "noun": ["d", "e", "f", "g"]},
)
SMALL = {"width": 16, "depth": 2, "heads": 2, "epochs": 2}


@pytest.fixture
def spec() -> ModelSpec:
    """Three modalities with 5, 4 and 7 tokens, two tasks with 3 and 4 classes."""
    return SPEC


@pytest.fixture
def small_config() -> Callable[..., FuseConfig]:
    """Options of a strategy at a size for tests."""

    def make(strategy: str, **options: Any) -> FuseConfig:
        return make_config(strategy, {"test": {**SMALL, "alpha": 1.0, **options}})

    return make


@pytest.fixture
def small_model(small_config: Callable[..., FuseConfig]) -> Callable[..., Model]:
    """A model of a strategy on SPEC, in eval mode, with every parameter away from its special initial values."""

    def make(strategy: str, model_spec: ModelSpec = SPEC, **options: Any) -> Model:
        torch.manual_seed(0)
        model = Model(model_spec, small_config(strategy, **options)).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        return model

    return make


@dataclasses.dataclass
class RandomBatch:
    """Tokens with their masks; rows 0.. go through all 7 patterns of presence."""

    tokens: dict[str, torch.Tensor]
    present: torch.Tensor
    labels: dict[str, torch.Tensor]


@pytest.fixture
def random_batch() -> RandomBatch:
    generator = torch.Generator().manual_seed(1)
    patterns = torch.tensor([[bool(p >> j & 1) for j in range(3)] for p in range(1, 8)])
    tokens = {n: torch.randn(7, t, d, generator=generator) for n, (_, t, d) in SPEC.modalities.items()}
    labels = {task: torch.arange(7) % len(names) for task, names in SPEC.tasks.items()}
    return RandomBatch(tokens, patterns, labels)
