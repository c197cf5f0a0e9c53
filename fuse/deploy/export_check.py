"""Whether an exported file computes what the model does: all modality subsets, on random tokens."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmcache.fuse.data.subsets import subsets
from mmcache.fuse.deploy.exported import OnnxModel
from mmcache.fuse.network.model import Model

_ROWS = 16  # of a free batch
Run = Callable[[list[NDArray[Any]]], list[NDArray[Any]]]


@torch.inference_mode()
def largest_difference(model: Model, path: Path, described: Mapping[str, Any], seed: int = 0) -> float:
    """The largest absolute difference between the logits of a file and of the model; NaN where the file gives NaN.

    The file is fed NaN for what is absent, the model is not given it at all.

    Args:
        described: the file's metadata.
    """
    run = open_exported(path)
    rng, worst = np.random.default_rng(seed), 0.0
    for present in _batches(len(described["modalities"]), described["batch"]):
        rows = len(present)
        tokens, counts = {}, {}
        for name, each in described["modalities"].items():
            tokens[name] = rng.normal(size=(rows, each["tokens"], each["width"])).astype(np.float32)
            least = 1 if described["lengths"] else each["tokens"]
            counts[name] = rng.integers(least, each["tokens"], rows, endpoint=True)
        fed = [np.where(present[:, m, None, None], x, np.float32(np.nan)) for m, x in enumerate(tokens.values())]
        given = run([present, *fed, *(counts.values() if described["lengths"] else ())])
        expected = model(
            {name: torch.from_numpy(x) for name, x in tokens.items()},
            torch.from_numpy(present),
            lengths={name: torch.from_numpy(count) for name, count in counts.items()},
        )
        for got, wanted in zip(given, expected.values(), strict=True):
            worst = float(np.maximum(worst, np.abs(got - wanted.numpy()).max()))  # NaN stays NaN
    return worst


def open_exported(path: Path) -> Run:
    """The computation of an exported file: inputs in the file's order -> outputs."""
    if path.name.endswith(".onnx"):
        return OnnxModel(path).run
    with warnings.catch_warnings():  # of torch's own format
        warnings.simplefilter("ignore")
        module = torch.export.load(path).module()

    @torch.inference_mode()
    def run(inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
        return [output.numpy() for output in module(*(torch.from_numpy(values) for values in inputs))]

    return run


def _batches(modalities: int, size: int | None) -> Iterator[NDArray[np.bool_]]:
    """Every subset in batches of `size`, the last one filled up; where it is free, also the first one alone."""
    every = subsets(modalities)
    if size is None:
        yield every[:1]
    rows = size or min(_ROWS, len(every))
    for start in range(0, len(every), rows):
        yield every[np.arange(start, start + rows) % len(every)]
