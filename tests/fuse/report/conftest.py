"""Run folders as `fuse` leaves them, with predictions drawn at random; and real ones on the oracle."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmcache.fuse import train
from mmcache.fuse.data.subsets import subset_name, subsets
from mmcache.fuse.options.resolve import resolve_options
from mmcache.fuse.runs.config import to_yaml
from mmcache.fuse.runs.spec import ModelSpec

QUICK = {"width": 8, "heads": 2, "epochs": 1, "batch_size": 16, "device": "cpu"}


def drawn_table(modalities: list[str], tasks: dict[str, int], n: int, lacking: int, seed: int) -> pd.DataFrame:
    """A subsets table: labels by the segment, what is right by chance, the more modalities the likelier."""
    random = np.random.default_rng((seed, n, len(modalities)))
    rows = []
    masks = [
        (subset_name(mask, modalities), mask.sum() / len(modalities), range(n)) for mask in subsets(len(modalities))
    ]
    for name, share, which in [*masks, ("natural", 0.5, range(n, n + lacking))]:
        for i in which:
            row: dict[str, Any] = {"id": f"s{i:04}", "subset": name}
            for task, classes in tasks.items():
                right = random.random() < 0.2 + 0.6 * share
                row |= {f"{task}_label": i % classes, f"{task}_pred": i % classes if right else (i + 1) % classes}
                row |= {f"{task}_top1": right, f"{task}_top5": right or i % 2 == 0, f"{task}_confidence": 0.5}
            if {"verb", "noun"} <= set(tasks):
                row["action_top1"] = row["verb_top1"] and row["noun_top1"]
                row["action_top5"] = row["verb_top5"] and row["noun_top5"]
            rows.append(row)
    return pd.DataFrame(rows).assign(noun_in_train=lambda t: t["id"] != "s0001")


def write_run_folder(
    folder: Path,
    strategy: str = "skip",
    seed: int = 0,
    modalities: tuple[str, ...] = ("audio", "imu", "rgb"),
    tasks: dict[str, int] | None = None,
    n: int = 60,
    lacking: int = 6,
    dataset: str = "epic",
    split: str = "validation",
    recipe: str = "published",
    **options: Any,
) -> Path:
    """A run folder with the files that a report reads; only its predictions are drawn, not learned."""
    tasks = tasks or {"verb": 4, "noun": 3}
    folder.mkdir(parents=True)
    (folder / "identity").write_text(folder.name)
    layer = {"seed": seed, "store": Path("gone.zarr"), "out": folder, **options}
    spec = ModelSpec(
        {modality: (f"enc_{modality}", 4, 8) for modality in modalities},
        {task: [f"{task}{i}" for i in range(count)] for task, count in tasks.items()},
    )
    origin = {"eval_split": split, "store": "gone.zarr", "dataset": dataset}
    resolved = resolve_options(strategy, {"test": layer}, recipe)
    (folder / "config.yaml").write_text(to_yaml(resolved, spec, origin))
    draw = sum(map(ord, strategy)) + 1000 * seed + len(options)
    drawn_table(list(modalities), tasks, n, lacking, draw).to_parquet(folder / "subsets.parquet", index=False)
    figures = {"flops": 1000 * (1 + draw % 7), "latency_ms": 0.5, "peak_memory_bytes": 4_000_000}
    names = [subset_name(mask, list(modalities)) for mask in subsets(len(modalities))]
    cost = {"parameters": 10_000 * len(strategy), "device": "cpu", "subsets": dict.fromkeys(names, figures)}
    (folder / "summary.json").write_text(json.dumps({"cost": cost}))
    return folder


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    """`write_run(name, strategy, seed, ...)` under tmp_path/runs, see write_run_folder."""
    return lambda name, *arguments, **options: write_run_folder(tmp_path / "runs" / name, *arguments, **options)


@pytest.fixture(scope="session")
def write_runs_in() -> Callable[..., Path]:
    """As `write_run`, for the path given."""
    return write_run_folder


@pytest.fixture(scope="session")
def many_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 27 runs: 8 strategies with 3 seeds each on verb and noun, and one strategy on four modalities."""
    folder = tmp_path_factory.mktemp("many") / "runs"
    for strategy in ("zeros", "skip", "dropout", "mmt", "karmma", "actionmae", "shaspec", "compass"):
        for seed in range(3):
            write_run_folder(folder / f"{strategy}-{seed}", strategy, seed)
    for seed in range(3):
        four = ("depth", "ir", "rgb", "skeleton")
        write_run_folder(folder / f"four-{seed}", "zeros", seed, four, {"action": 60}, dataset="ntu60", split="test")
    return folder


@pytest.fixture(scope="session")
def oracle_runs(tmp_path_factory: pytest.TempPathFactory, write_oracle_store: Callable[..., Path]) -> Path:
    """A folder of two really trained runs, of two seeds, on a store of the oracle's tokens; read only."""
    store = write_oracle_store(train=60, test=60)
    folder = tmp_path_factory.mktemp("oracle")
    for seed in range(2):
        train("skip", {**QUICK, "store": store, "seed": seed, "out": folder / f"skip-{seed}"})
    return folder
