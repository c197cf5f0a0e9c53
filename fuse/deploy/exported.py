"""Run an exported file as if it were the model it was made of."""

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmcache.fuse.runs.spec import ModelSpec
from mmcache.store.format.kaverage import k_average
from mmcache.store.ground.errors import ConfigError

_PREFIX = "mmcache."


class OnnxModel:
    """An exported ONNX file, called as a Model is. Runs in ONNX Runtime where that is installed, else in onnx's own
    reference implementation, which is slow and needs nothing else.

    Attributes:
        spec: modalities and classes, as the file says.
        metadata: all that it says.

    Raises:
        ConfigError: it is no file of `mmcache export`, or neither library is installed.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise ConfigError(f"there is no file {path}; `mmcache export RUN` makes one")
        self._session, props = _open(path)
        self.metadata = {key.removeprefix(_PREFIX): json.loads(props[key]) for key in props if key.startswith(_PREFIX)}
        if not {"modalities", "tasks", "inputs"} <= set(self.metadata):
            raise ConfigError(f"{path} is an ONNX file, but none of `mmcache export`: it does not name its modalities")
        modalities = self.metadata["modalities"]
        shapes = {name: (each["encoder"], each["tokens"], each["width"]) for name, each in modalities.items()}
        self.spec = ModelSpec(shapes, self.metadata["tasks"])

    def run(self, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """The outputs for inputs in the file's order."""
        return self._session.run(None, dict(zip(self.metadata["inputs"], inputs, strict=True)))

    def __call__(self, tokens: Mapping[str, torch.Tensor], present: torch.Tensor) -> dict[str, torch.Tensor]:
        """As Model.forward, on the CPU."""
        inputs: list[NDArray[Any]] = [present.cpu().numpy()]
        counts = []
        for name, (_, length, width) in self.spec.modalities.items():
            if name in tokens:
                values, _ = k_average(tokens[name].cpu().numpy(), length)
            else:
                values = np.zeros((len(present), length, width), np.float32)
            inputs.append(values.astype(np.float32))
            counts.append(np.full(len(present), length, np.int64))
        outputs = self.run([*inputs, *(counts if self.metadata["lengths"] else [])])
        return {task: torch.from_numpy(values) for task, values in zip(self.spec.tasks, outputs, strict=True)}


def _open(path: Path) -> tuple[Any, Mapping[str, str]]:
    """A session, and the metadata of the file."""
    try:
        if importlib.util.find_spec("onnxruntime") is not None:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3  # errors alone
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            return session, session.get_modelmeta().custom_metadata_map
        if importlib.util.find_spec("onnx") is not None:
            import onnx
            from onnx.reference import ReferenceEvaluator

            proto = onnx.load(path, load_external_data=False)
            return ReferenceEvaluator(proto), {each.key: each.value for each in proto.metadata_props}
    except Exception as error:  # both raise kinds of their own
        raise ConfigError(f"{path} cannot be read as ONNX: {' '.join(str(error).split())[:300]}") from error
    raise ConfigError("to run ONNX files: pip install onnxruntime")
