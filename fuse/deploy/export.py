"""A run's fusion model as a file for other runtimes: ONNX, or a program of torch.export.

Inputs are `present` (B, M) bool and, for each modality, its tokens (B, T, D) float32, k-averaged to T beforehand;
outputs are the logits (B, C) of each task. What an absent modality's tokens hold does not matter, NaN included. The
file says which modalities, classes and encoders it is about. It is compared with the model before it gets its name.
"""

import contextlib
import dataclasses
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmcache.fuse.data.origin import origins_of
from mmcache.fuse.deploy.export_check import largest_difference
from mmcache.fuse.deploy.exportable import ONNX, TORCH_EXPORT, ExportError, export_model
from mmcache.fuse.network.model import Model
from mmcache.fuse.runs.config import options_of, read_run_config
from mmcache.store.files.atomic import atomic_file, atomic_write
from mmcache.store.ground.errors import ConfigError

SUFFIXES = {ONNX: ".onnx", TORCH_EXPORT: ".pt2"}
DYNAMIC = "dynamic"
TOLERANCE = 1e-3
_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Exported:
    """A file that was written and found to compute what the model does.

    Attributes:
        difference: the largest between its logits and the model's, over all modality subsets.
        metadata: what the file says of itself.
        beside: the file of metadata beside it, if there is one.
    """

    path: Path
    format: str
    bytes: int
    difference: float
    metadata: dict[str, Any]
    beside: Path | None = None


def export_run(
    run: str | Path,
    out: Path | None = None,
    format: str | None = None,
    batch: int | None = None,
    lengths: bool = False,
    store: str | Path | None = None,
) -> Exported:
    """Export the model of a finished run.

    Args:
        out: the file; None = RUN/model.onnx or RUN/model.pt2.
        format: onnx or torch-export; None = what `out` ends in, else onnx.
        batch: a fixed batch size; None = any.
        lengths: with inputs for true token counts too: `<modality>_length`, (B,) int64 each.
        store: where the run's store lies now, for a run that does not keep how its tokens were made.

    Raises:
        ConfigError: no finished run, a wrong format or name, or a library is missing.
        ExportError: the model cannot be exported, or the file differs by more than TOLERANCE; no file is left then.
    """
    run = Path(run)
    format = _format(format, out)
    if batch is not None and batch < 1:
        raise ConfigError(f"--batch {batch}: at least 1, or {DYNAMIC}")
    saved = read_run_config(run)
    if format == ONNX:
        _check_libraries()
    origins: Mapping[str, Any] = {}
    with contextlib.suppress(ConfigError):  # a model can be exported without a description of its encoders
        origins = origins_of(run, store)
    model = Model.load(run)
    described = describe(model, saved, origins, batch, lengths)
    data = export_model(model, described, format)
    path = out or run / f"model{SUFFIXES[format]}"
    with atomic_file(path) as file:
        file.write(data)
        file.flush()
        difference = largest_difference(model, Path(file.name), described)
        if not difference <= TOLERANCE:  # NaN is none either
            raise ExportError(
                f"{path} was not kept: its logits differ from the model's by {difference:.2g}, and {TOLERANCE:g} is "
                "allowed. Try the other --format; the run is as it was."
            )
    beside = None
    if format == TORCH_EXPORT:
        beside = path.with_suffix(".json")
        atomic_write(beside, (json.dumps(described, indent=1) + "\n").encode())
    return Exported(path, format, len(data), difference, described, beside)


def describe(
    model: Model, saved: Mapping[str, Any], origins: Mapping[str, Any], batch: int | None, lengths: bool
) -> dict[str, Any]:
    """What the file says of itself."""
    options, spec = options_of(saved), model.spec
    inputs = ["present", *spec.names, *([f"{name}_length" for name in spec.names] if lengths else [])]
    return {
        "mmcache_version": _VERSION,
        "strategy": options.name,
        "handler": options.network.handler,
        "fusion": options.network.fusion,
        "head": options.network.head,
        "dataset": saved.get("dataset", ""),
        "modalities": {
            name: {"encoder": encoder, "tokens": tokens, "width": width, "origin": origins.get(name)}
            for name, (encoder, tokens, width) in spec.modalities.items()
        },
        "k": options.data.k,
        "tasks": spec.tasks,
        "batch": batch,
        "lengths": lengths,
        "inputs": inputs,
        # ONNX names inputs and outputs in one space.
        "outputs": [f"{task}_logits" if task in inputs else task for task in spec.tasks],
    }


def _format(given: str | None, out: Path | None) -> str:
    if given is None:
        given = next((name for name, suffix in SUFFIXES.items() if out is not None and out.suffix == suffix), ONNX)
    if given not in SUFFIXES:
        raise ConfigError(f"--format {given}: allowed are {', '.join(SUFFIXES)}")
    if out is not None and out.suffix != SUFFIXES[given]:
        others = ", ".join(f"of {name} in {suffix}" for name, suffix in SUFFIXES.items() if name != given)
        raise ConfigError(f"--out {out}: a file of {given} ends in {SUFFIXES[given]}, {others}")
    return given


def _check_libraries() -> None:
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"ONNX files need {' and '.join(missing)}, not installed here: pip install 'mmcache[export]'. "
            f"--format {TORCH_EXPORT} needs neither."
        )
