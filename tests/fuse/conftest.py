"""Small models and batches for the tests of stage two."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from mmcache.fuse.config import FuseConfig, make_config
from mmcache.fuse.masks import subsets
from mmcache.fuse.model import Model, ModelSpec
from mmcache.fuse.objective import Objective, Teaching
from mmcache.fuse.teacher import TeacherAnswers
from mmcache.store.loader import Batch

SPEC = ModelSpec(
    modalities={"audio": ("enc_a", 5, 6), "imu": ("enc_i", 4, 3), "rgb": ("enc_r", 7, 8)},
    tasks={"verb": ["a", "b", "c"], "noun": ["d", "e", "f", "g"]},
)
SMALL = {"width": 16, "depth": 2, "heads": 2, "epochs": 2}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small wait for threads longer than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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


@pytest.fixture
def teaching() -> Teaching:
    """A teacher of SPEC for rows 0 to 6 of `random_batch`: what they have, it answers; for row 4 it has nothing."""
    random = np.random.default_rng(4)
    logits = {t: random.normal(size=(7, 1, 7, len(names))).astype(np.float16) for t, names in SPEC.tasks.items()}
    has = subsets(3)
    for values in logits.values():
        for row in range(7):
            values[row, :, (has & ~has[row]).any(axis=1)] = np.nan
        values[4] = np.nan
    features = torch.randn(7, 9, generator=torch.Generator().manual_seed(4))
    return Teaching(TeacherAnswers(SPEC.names, logits), features)


@pytest.fixture
def small_objective(small_config: Callable[..., FuseConfig], teaching: Teaching) -> Callable[..., Objective]:
    """The objective of a strategy for a model, with a teacher where the strategy has one."""

    def make(strategy: str, model: Model, **options: Any) -> Objective:
        config = small_config(strategy, **{**({"alpha": 0.5} if strategy in ("karmma", "radevski") else {}), **options})
        torch.manual_seed(3)
        return Objective(config, model, teaching if config.has_teacher else None).eval()

    return make


@dataclasses.dataclass
class RandomBatch:
    """Tokens with their masks; rows 0.. go through all 7 patterns of presence."""

    tokens: dict[str, torch.Tensor]
    present: torch.Tensor
    labels: dict[str, torch.Tensor]

    def batch(self, tokens: dict[str, torch.Tensor] | None = None, present: torch.Tensor | None = None) -> Batch:
        """As the loader gives it."""
        tokens = self.tokens if tokens is None else tokens
        lengths = {name: torch.full((7,), values.shape[1]) for name, values in tokens.items()}
        present = self.present if present is None else present
        return Batch(tokens, lengths, present, self.labels, np.arange(7), np.zeros(7, np.int64), list(tokens))


@pytest.fixture
def random_batch() -> RandomBatch:
    generator = torch.Generator().manual_seed(1)
    patterns = torch.from_numpy(subsets(3))
    tokens = {n: torch.randn(7, t, d, generator=generator) for n, (_, t, d) in SPEC.modalities.items()}
    labels = {task: torch.arange(7) % len(names) for task, names in SPEC.tasks.items()}
    return RandomBatch(tokens, patterns, labels)


# Lists with one entry a modality.
_LISTS = (
    "projectors", "pools", "positions", "fill.missing", "fill.modality_token", "fill.specific_tokens",
    "fill.specific", "fusion.classes", "head.norms",
)  # fmt: skip
# Tensors with one row a modality.
_ROWS = ("modality_embedding", "fill.slots", "fill.which.weight", "fill.which.bias")


@pytest.fixture
def permuted_state() -> Callable[[Model, list[int]], dict[str, torch.Tensor]]:
    """The state of the same model whose i-th modality is the order[i]-th of the one given."""

    def permute(model: Model, order: list[int]) -> dict[str, torch.Tensor]:
        return dict(_moved(model, order, key, value) for key, value in model.state_dict().items())

    return permute


def _moved(model: Model, order: list[int], key: str, value: torch.Tensor) -> tuple[str, torch.Tensor]:
    count = len(order)
    lists = [*_LISTS, *(["head.tasks"] if model.head.each else [])]
    kind = type(model.fusion).__name__
    if kind == "SumFusion":
        lists.append("fusion.layers")
    for prefix in lists:
        if key.startswith(prefix + "."):
            key = _renumbered(key, prefix, order.index)
    if key.startswith("fusion.layers.") and kind == "BottleneckFusion":
        layer = key.split(".")[2]
        key = _renumbered(key, f"fusion.layers.{layer}", order.index)
    if key in _ROWS:
        value = value[order]
    if key in ("fusion.layer.weight", "fusion.layers.0.weight") and kind in ("ConcatFusion", "MlpFusion"):
        value = value.view(len(value), count, -1)[:, order].flatten(1)
    if key.startswith("fill.proxies."):
        key, value = _renumbered(key, "fill.proxies", order.index), value[order]
    if key.startswith("fill.layers."):
        if model.fill.per_pair:
            key = _renumbered(key, "fill.layers", lambda p: order.index(p // count) * count + order.index(p % count))
        else:
            key = _renumbered(key, "fill.layers", order.index)
    if key == "fill.prompts":
        value = value[[_pattern(new, order) for new in range(len(value))]]
    return key, value


def _renumbered(key: str, prefix: str, move: Callable[[int], int]) -> str:
    number, _, rest = key.removeprefix(prefix + ".").partition(".")
    return f"{prefix}.{move(int(number))}" + (f".{rest}" if rest else "")


def _pattern(new: int, order: list[int]) -> int:
    """The old number of a pattern of kept modalities."""
    return sum(1 << order[i] for i in range(len(order)) if (new + 1) >> i & 1) - 1
