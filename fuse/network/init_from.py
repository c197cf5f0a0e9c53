"""Start a network from the weights of another run, and freeze them if asked."""

from pathlib import Path

from mmcache.fuse.network.model import Model
from mmcache.fuse.runs.config import read_run_config, spec_of
from mmcache.fuse.runs.files import WEIGHTS_FILE
from mmcache.fuse.runs.tensors import read_tensors
from mmcache.store.ground.errors import Problems

_BACKBONE = ("projectors", "pools", "positions", "modality_embedding", "fusion")


def init_from(model: Model, run: Path, freeze: bool) -> None:
    """Copy the weights of `run` that the model has too: all of its backbone, and what fits of handler and head.

    Args:
        freeze: leave the backbone out of training.

    Raises:
        ConfigError: `run` is not a finished run, or its backbone differs; everything that differs is named.
    """
    saved = spec_of(read_run_config(run))
    problems = Problems()
    for name, shape in model.spec.modalities.items():
        if saved.modalities.get(name) != shape:
            problems.add(f"init_from {run} has {name} as {saved.modalities.get(name)}; this run has {shape}")
    if saved.names != model.spec.names and not problems.messages:
        problems.add(f"init_from {run} has {', '.join(saved.names)}; this run has {', '.join(model.spec.names)}")
    problems.raise_if_any()
    given, own = read_tensors(run / WEIGHTS_FILE, "train it again"), model.state_dict()
    fitting = {name: value for name, value in given.items() if name in own and own[name].shape == value.shape}
    missing = [name for name in own if name.partition(".")[0] in _BACKBONE and name not in fitting]
    if missing:
        problems.add(
            f"init_from {run} has another network: {missing[0]} and {len(missing) - 1} more tensors do not fit. "
            "Give this run the same fusion, width, depth, pool and positions."
        )
    problems.raise_if_any()
    model.load_state_dict(fitting, strict=False)
    if freeze:
        for name, parameter in model.named_parameters():
            if name.partition(".")[0] in _BACKBONE:
                parameter.requires_grad_(False)
