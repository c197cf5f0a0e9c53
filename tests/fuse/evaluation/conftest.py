"""Small stores and runs whose segments have verb, noun and columns of groups, made in a second."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from mmcache.fuse import train
from mmcache.fuse.options.resolve import resolve
from mmcache.fuse.strategies import STRATEGIES
from mmcache.fuse.training.train import TrainedRun
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.format.layout import StoreMeta
from mmcache.store.write.add_tokens import add_tokens
from mmcache.store.write.create import create_store
from mmcache.store.write.shard_commit import ShardCommit

TASKS = {"verb": [f"v{i}" for i in range(4)], "noun": [f"n{i}" for i in range(3)]}
SHAPES = {"audio": (6, 5), "imu": (4, 3), "rgb": (8, 7)}  # modality -> tokens, width
N_TRAIN, N_VALIDATION, N_TEST = 60, 40, 6
QUICK = {"width": 16, "heads": 2, "k": 8, "epochs": 2, "warmup": 0.0, "batch_size": 16, "lr": 0.01, "device": "cpu"}


def segments(novel: bool) -> pd.DataFrame:
    """train, validation and an unlabelled test; with `novel`, validation has verbs that train has not."""
    n = N_TRAIN + N_VALIDATION + N_TEST
    rows = np.arange(n)
    split = np.repeat(["train", "validation", "test"], [N_TRAIN, N_VALIDATION, N_TEST])
    verb = np.where(split == "train", 3 * (rows % 2), 1 + rows % 2) if novel else rows % 4
    return pd.DataFrame(
        {
            "id": [f"s{row:03}" for row in rows],
            "video": [f"v{row // 5:02}" for row in rows],
            "start_s": rows * 1.0,
            "stop_s": rows + 0.5,
            "split": split,
            "verb": np.where(split == "test", -1, verb),
            "noun": np.where(split == "test", -1, rows // 4 % 3),
            "unseen": rows % 5 == 0,
            "tail_verb": rows % 4 == 3,
            "tail_noun": rows // 4 % 3 == 2,
            "noun_in_train": rows % 10 != 7,
            "split_half": np.where(rows % 2 == 0, "train", "test"),
        }
    )


def tokens_of(table: pd.DataFrame, modality: str) -> NDArray[np.float16]:
    """(N, 1, T, D): the verb and noun stand in the first numbers, under noise."""
    count, width = SHAPES[modality]
    random = np.random.default_rng(len(modality))
    out = random.standard_normal((len(table), 1, count, width))
    out[..., 0] += 2.0 * np.maximum(table["verb"], 0).to_numpy()[:, None, None]
    out[..., 1] += 2.0 * np.maximum(table["noun"], 0).to_numpy()[:, None, None]
    return out.astype(np.float16)


@pytest.fixture(scope="session")
def write_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A store of some modalities; `lacking` maps a modality to rows without it."""

    def write(
        modalities: tuple[str, ...] = tuple(SHAPES),
        lacking: dict[str, list[int]] | None = None,
        dataset: str = "epic",
        novel: bool = False,
    ) -> Path:
        table = segments(novel)
        splits = {str(split): int(n) for split, n in sorted(table["split"].value_counts().items())}
        path = tmp_path_factory.mktemp("stores") / "s.zarr"
        create_store(path, table, StoreMeta(dataset, TASKS, splits, "validation"))
        for modality in modalities:
            count, width = SHAPES[modality]
            mark = Fingerprint(f"enc_{modality}", "random:0", "0" * 64, {}, None, 1)
            writer = add_tokens(path, modality, mark, count, width)
            values = tokens_of(table, modality)
            for shard in range(writer.grid.n_shards):
                commit = ShardCommit(writer, shard)
                for row in writer.grid.rows(shard):
                    if row in (lacking or {}).get(modality, []):
                        commit.missing(row)
                    else:
                        commit.put(row, values[row])
                commit.commit()
        return path

    return write


@pytest.fixture(scope="session")
def store_path(write_store: Callable[..., Path]) -> Path:
    """Two validation segments and all of test lack imu, and the last one everything else too; read only."""
    first_test = N_TRAIN + N_VALIDATION
    last = first_test + N_TEST - 1
    gone = {"imu": [N_TRAIN, N_TRAIN + 1, *range(first_test, last + 1)], "audio": [last], "rgb": [last]}
    return write_store(lacking=gone)


@pytest.fixture(scope="session")
def make_run(store_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Train quickly on store_path, or on the store given."""

    def make(strategy: str = "skip", recipe: str = "published", **options: Any) -> Path:
        out = tmp_path_factory.mktemp("runs") / strategy
        return train(strategy, {**QUICK, "store": store_path, "out": out, **options}, recipe=recipe).path

    return make


@pytest.fixture(scope="session")
def train_quickly() -> Callable[..., TrainedRun]:
    """Train a strategy with those of some options that it has: `depth`, for example, is not read by all fusions."""

    def run(strategy: str, options: dict[str, Any]) -> TrainedRun:
        unused = resolve(strategy, {"test": options}, lenient=("test",)).unused
        return train(strategy, {name: value for name, value in options.items() if name not in unused})

    return run


@pytest.fixture(scope="session")
def base_of() -> Callable[[str], tuple[str, str] | None]:
    """What a strategy builds on, as option and strategy: trained small, not at the size it would be by itself."""

    def find(strategy: str) -> tuple[str, str] | None:
        need, first = STRATEGIES[strategy].teacher, STRATEGIES[strategy].init_from
        if need is not None and not need.each:
            return "teacher", need.strategy
        return None if first is None else ("init_from", first)

    return find


@pytest.fixture(scope="session")
def run(make_run: Callable[..., Path]) -> Path:
    """One run on store_path, which skips what is missing; read only."""
    return make_run()


@pytest.fixture(scope="session")
def oracle_run(make_run: Callable[..., Path], write_oracle_store: Callable[..., Path]) -> Path:
    """A run on a store of the oracle's tokens, with the columns that the data set gives; read only."""
    return make_run(store=write_oracle_store(train=50, test=30), epochs=1)
