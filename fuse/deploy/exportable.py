"""From a model to the bytes of an exported file, by torch's exporters."""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from mmcache.fuse.network.model import Model
from mmcache.store.ground.errors import MmcacheError

ONNX, TORCH_EXPORT = "onnx", "torch-export"
METADATA_FILE = "mmcache.json"  # inside a .pt2
_ONNX_BYTES = 2**31 - 2**24  # what fits one protobuf, less the graph


class ExportError(MmcacheError):
    """A model cannot be exported, or what was exported computes something else."""


def export_model(model: Model, described: Mapping[str, Any], format: str) -> bytes:
    """The bytes of the file.

    Args:
        described: its metadata, as export.describe gives it.

    Raises:
        ExportError: torch has no way to export this model, or it is too large for the format.
    """
    wrapped = _Exportable(model, described["lengths"]).eval()
    try:
        with _quietly():
            program = torch.export.export(
                wrapped, _example(described), dynamic_shapes=_dynamic(described), strict=False
            )
            return _onnx_bytes(program, described) if format == ONNX else _torch_bytes(program, described)
    except MmcacheError:
        raise
    except Exception as error:  # torch's exporters raise without a common base
        reason = " ".join(str(error).split())[:300]
        raise ExportError(
            f"a model of strategy {described['strategy']} (handler {described['handler']}, fusion "
            f"{described['fusion']}, "
            f"head {described['head']}) cannot be exported as {format}: {type(error).__name__}: {reason}"
        ) from error


class _Exportable(nn.Module):
    """The model's own computation, without the checks that look at values."""

    def __init__(self, model: Model, lengths: bool) -> None:
        super().__init__()
        self.model, self.lengths = model, lengths

    def forward(self, present: torch.Tensor, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(B, M) bool, then (B, T, D) a modality, then (B,) true counts a modality where these are inputs."""
        names = self.model.spec.names
        tokens = dict(zip(names, inputs, strict=False))
        counts = dict(zip(names, inputs[len(names) :], strict=True)) if self.lengths else None
        return tuple(self.model.outputs(tokens, counts, present).mean().values())


def _example(described: Mapping[str, Any]) -> tuple[torch.Tensor, ...]:
    """Inputs to trace with; two rows where the batch is to be free, since one would be taken for a constant."""
    rows, modalities = described["batch"] or 2, described["modalities"].values()
    present = torch.ones(rows, len(modalities), dtype=torch.bool)
    tokens = [torch.zeros(rows, each["tokens"], each["width"]) for each in modalities]
    counts = [torch.full((rows,), each["tokens"]) for each in modalities] if described["lengths"] else []
    return (present, *tokens, *counts)


def _dynamic(described: Mapping[str, Any]) -> Any:
    if described["batch"] is not None:
        return None
    batch = torch.export.Dim("batch", min=1)
    return {"present": {0: batch}, "inputs": tuple({0: batch} for _ in described["inputs"][1:])}


def _onnx_bytes(program: torch.export.ExportedProgram, described: Mapping[str, Any]) -> bytes:
    weights = sum(value.numel() * value.element_size() for value in program.state_dict.values())
    if weights > _ONNX_BYTES:
        raise ExportError(f"{weights / 1e9:.1f} GB of weights do not fit one ONNX file: use --format {TORCH_EXPORT}")
    converted = torch.onnx.export(
        program,
        dynamo=True,
        verbose=False,
        input_names=described["inputs"],
        output_names=described["outputs"],
        external_data=False,
    )
    assert converted is not None
    converted.model.metadata_props.update({f"mmcache.{key}": json.dumps(value) for key, value in described.items()})
    return converted.model_proto.SerializeToString()


def _torch_bytes(program: torch.export.ExportedProgram, described: Mapping[str, Any]) -> bytes:
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={METADATA_FILE: json.dumps(described)})
    return file.getvalue()


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without torch's fused encoder layers, which no exporter knows, and without what exporters say of themselves."""
    fused = torch.backends.mha.get_fastpath_enabled()
    loggers = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    torch.backends.mha.set_fastpath_enabled(False)
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
