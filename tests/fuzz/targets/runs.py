"""What a run's folder holds: read by evaluate, report, predict and by runs that learn from it."""

from pathlib import Path

import numpy as np
import torch
from edits import Edit, raw, tree
from hypothesis import strategies as st
from target import Arrays, Target

from mmcache.fuse import Model, evaluate, train
from mmcache.fuse.report import make_report
from mmcache.store.exchange.hdf5_import import import_hdf5
from mmcache.store.ground.errors import MmcacheError
from targets.store import write_hdf5


def _run(folder: Path) -> Path:
    torch.set_num_threads(1)
    import_hdf5(write_hdf5(folder)[0], folder / "s.zarr")
    options = {"store": folder / "s.zarr", "out": folder / "run", "epochs": 1, "width": 16, "depth": 1, "heads": 2}
    train("dropout", {**options, "batch_size": 4})
    return folder / "run"


def _read_run(folder: Path) -> Arrays:
    run = folder / "run"
    result = evaluate(run)
    model = Model.load(run)
    with torch.inference_mode():
        for one in model.parameters():
            assert one.isfinite().all()
    make_report([run])
    return [np.array([result["n"]])]


def _target(name: str, edits: st.SearchStrategy[Edit]) -> Target:
    return Target(f"run:{name}", lambda folder: [_run(folder) / name], _read_run, edits, (MmcacheError,))


TARGETS = (
    _target("config.yaml", tree(yaml_text=True)),
    _target("summary.json", tree()),
    _target("subsets.parquet", raw()),
    _target("model.safetensors", raw()),
    _target("metrics.jsonl", raw()),
)
