"""Small models and batches for the tests of stage two."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from mmcache.common import oracle_world as oracle
from mmcache.fuse.data.subsets import subsets
from mmcache.fuse.network.model import Model
from mmcache.fuse.options.options import Options
from mmcache.fuse.options.resolve import resolve
from mmcache.fuse.runs.spec import ModelSpec
from mmcache.fuse.teachers.cached_logits import CachedLogits
from mmcache.fuse.teachers.signals import TeacherSignals
from mmcache.fuse.training.trainee import Trainee
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.format.layout import StoreMeta
from mmcache.store.load.loader import Batch
from mmcache.store.write.add_tokens import add_tokens
from mmcache.store.write.create import create_store
from mmcache.store.write.shard_commit import ShardCommit

SPEC = ModelSpec(
    modalities={"audio": ("enc_a", 5, 6), "imu": ("enc_i", 4, 3), "rgb": ("enc_r", 7, 8)},
    tasks={"verb": ["a", "b", "c"], "noun": ["d", "e", "f", "g"]},
)
SMALL = {"width": 16, "depth": 2, "heads": 2, "epochs": 2}


@pytest.fixture(scope="session")
def write_oracle_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A store of the oracle's tokens, with the columns that the data set gives: so many train and test segments."""

    def write(train: int, test: int) -> Path:
        world, n = oracle.Oracle(noise=2.0, skew=0.2), train + test
        ids = [f"s{row:03}" for row in range(n)]
        table = pd.DataFrame(
            {
                "id": ids,
                "video": [f"v{row // 5:02}" for row in range(n)],
                "start_s": 0.0,
                "stop_s": 1.0,
                "split": ["train" if row < train else "test" for row in range(n)],
                "class": oracle.class_of(world.factors(ids, 0)),
                "noise": world.noise,
                "skew": world.skew,
            }
        )
        path = tmp_path_factory.mktemp("oracle") / "o.zarr"
        meta = StoreMeta("oracle", {"class": oracle.CLASSES}, {"test": test, "train": train}, "test")
        create_store(path, table, meta)
        for modality in oracle.STRENGTHS:
            mark = Fingerprint("oracle", "none needed", "0" * 64, {"tokens": 8}, None, 1)
            writer = add_tokens(path, modality, mark, 8, oracle.WIDTH)
            for shard in range(writer.grid.n_shards):
                commit = ShardCommit(writer, shard)
                for row in writer.grid.rows(shard):
                    commit.put(row, world.tokens(ids[row], 0, modality, 8)[None])
                commit.commit()
        return path

    return write


@pytest.fixture(scope="session")
def write_small_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A store of audio and rgb with one task of three classes, which the tokens tell under little noise.

    Arguments: the split of every segment; modality -> rows that lack it; the label of every segment (default: in turn);
    the split results are on; the k that the tokens were averaged to, as their fingerprint has it; more columns.
    """

    def write(
        splits: list[str],
        lacking: dict[str, Any] | None = None,
        labels: Any = None,
        eval_split: str = "test",
        k: int | None = None,
        tokens: int = 4,
        **columns: Any,
    ) -> Path:
        rows = np.arange(len(splits))
        label = rows % 3 if labels is None else np.asarray(labels)
        table = pd.DataFrame(
            {
                "id": [f"s{row:03}" for row in rows],
                "video": [f"v{row // 4:02}" for row in rows],
                "start_s": rows * 1.0,
                "stop_s": rows + 0.5,
                "split": splits,
                "class": label,
                **columns,
            }
        )
        path = tmp_path_factory.mktemp("small") / "s.zarr"
        counts = {split: splits.count(split) for split in sorted(set(splits))}
        create_store(path, table, StoreMeta("small", {"class": ["a", "b", "c"]}, counts, eval_split))
        random = np.random.default_rng(0)
        for modality in ("audio", "rgb"):
            values = random.standard_normal((len(rows), 1, tokens, 5)) * 0.5
            values[rows, ..., np.maximum(label, 0)] += 1.0
            writer = add_tokens(path, modality, Fingerprint("enc", "import", "0" * 64, {}, k, 1), tokens, 5)
            for shard in range(writer.grid.n_shards):
                commit = ShardCommit(writer, shard)
                for row in writer.grid.rows(shard):
                    if row in (lacking or {}).get(modality, ()):
                        commit.missing(row)
                    else:
                        commit.put(row, values[row].astype(np.float16))
                commit.commit()
        return path

    return write


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
def small_options() -> Callable[..., Options]:
    """Options of a strategy at a size for tests, without a teacher unless one is asked for.

    `also`: options that are set where the strategy or its parts have them.
    """

    def make(strategy: str, also: dict[str, Any] | None = None, **options: Any) -> Options:
        small = {**SMALL, "alpha": 1.0}
        layers = {"small": small, "also": also or {}, "test": options}
        return resolve(strategy, layers, lenient=("small", "also")).options

    return make


@pytest.fixture
def small_model(small_options: Callable[..., Options]) -> Callable[..., Model]:
    """A model of a strategy on SPEC, in eval mode, with every parameter away from its special initial values."""

    def make(strategy: str, model_spec: ModelSpec = SPEC, **options: Any) -> Model:
        torch.manual_seed(0)
        model = Model(model_spec, small_options(strategy, **options)).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        return model

    return make


@pytest.fixture
def teachers() -> TeacherSignals:
    """A teacher of SPEC for rows 0 to 6 of `random_batch`, with logits for what they have; for row 4 it has none."""
    random = np.random.default_rng(4)
    logits = {t: random.normal(size=(7, 1, 7, len(names))).astype(np.float16) for t, names in SPEC.tasks.items()}
    has = subsets(3)
    for values in logits.values():
        for row in range(7):
            values[row, :, (has & ~has[row]).any(axis=1)] = np.nan
        values[4] = np.nan
    features = torch.randn(7, 9, generator=torch.Generator().manual_seed(4))
    return TeacherSignals(CachedLogits(SPEC.names, logits), SPEC.names, list(SPEC.tasks), features)


@pytest.fixture
def small_trainee(small_options: Callable[..., Options], teachers: TeacherSignals) -> Callable[..., Trainee]:
    """A model with its strategy, with a teacher where the strategy asks one."""

    def make(strategy: str, model: Model, **options: Any) -> Trainee:
        asks = {"alpha": 0.5} if strategy in ("karmma", "radevski") else {}
        made = small_options(strategy, **{**asks, **options})
        torch.manual_seed(3)
        return Trainee(model, made.components.strategy(made, model, teachers if made.asks_teacher else None)).eval()

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


@pytest.fixture
def check_any_order(small_model: Callable[..., Model], random_batch: RandomBatch) -> Callable[..., None]:
    """Inputs, masks and per-modality parameters permuted together leave the logits as they are."""

    def check(strategy: str, **options: Any) -> None:
        order = [1, 2, 0]
        model, permuted = small_model(strategy, **options), small_model(strategy, **options)
        permuted.permute(order)
        for task, expected in model(random_batch.tokens, random_batch.present).items():
            got = permuted(random_batch.tokens, random_batch.present[:, order])[task]
            assert expected.isfinite().all()
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)

    return check
