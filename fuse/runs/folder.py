"""A run folder: where it lies, whether it is finished, and how an interrupted one goes on."""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors.torch import save

from mmcache.fuse.runs.files import IDENTITY_FILE, METRICS_FILE, SUMMARY_FILE, read_metrics
from mmcache.fuse.runs.tensors import check_same, read_tensors
from mmcache.store.feature_store import FeatureStore
from mmcache.store.files.atomic import atomic_write, with_path
from mmcache.store.ground.errors import ConfigError

BUILT_ON_FILE = "built_on.txt"  # of a sweep, beside the folder of its runs: the names of those made for others alone
_LAST_FILE = "last.safetensors"  # model, optimiser and counters after the last finished epoch
_BEST_FILE = "best.safetensors"
_ANEW = "remove the run's folder, and the same command begins it anew"


def store_identity(store: FeatureStore, modalities: list[str]) -> str:
    """A digest of what a run would train on: segments, labels, tokens' fingerprints and presence."""
    digest = hashlib.sha256()
    digest.update(json.dumps([store.meta.dataset, store.meta.tasks, modalities]).encode())
    columns = ["id", "split", *store.tasks]
    digest.update(store.segments[columns].to_csv(index=False).encode())
    for name in modalities:
        digest.update(json.dumps(store.tokens[name].attributes, sort_keys=True).encode())
        digest.update(np.ascontiguousarray(store.present[name]).data)
    return digest.hexdigest()


class Optimiser(Protocol):
    """What a run's folder keeps of an optimiser."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


class RunFolder:
    """The folder of one run.

    Args:
        identity: of the run, see Options.identity.

    Raises:
        ConfigError: `path` holds something else.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self.path, self.identity = path, identity
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise ConfigError(f"--out {self.path} is a file; name a folder")
        held = self.path / IDENTITY_FILE
        if any(self.path.iterdir()) and (not held.is_file() or held.read_bytes() != self.identity.encode()):
            raise ConfigError(
                f"{self.path} holds another run or other files. Give another --out, or leave it out: "
                "every run then gets a folder of its own under runs/."
            )

    @property
    def begun(self) -> bool:
        return (self.path / IDENTITY_FILE).exists()

    @property
    def finished(self) -> bool:
        return (self.path / SUMMARY_FILE).exists()

    def begin(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        atomic_write(self.path / IDENTITY_FILE, self.identity.encode())

    def save_epoch(self, epoch: int, model: torch.nn.Module, optimiser: Optimiser, best: float) -> None:
        """Save everything that the next epoch starts from."""
        tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
        for i, state in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{i}.{name}": torch.as_tensor(value) for name, value in state.items()}
        _write_tensors(self.path / _LAST_FILE, tensors | {"best": torch.tensor(best), "epoch": torch.tensor(epoch)})

    def resume(self, model: torch.nn.Module, optimiser: Optimiser) -> tuple[int, float]:
        """Load what save_epoch saved. Returns (epochs done, best score so far)."""
        if not (self.path / _LAST_FILE).exists():
            (self.path / METRICS_FILE).unlink(missing_ok=True)  # of a first epoch that was stopped before its end
            return 0, -1.0
        tensors = read_tensors(self.path / _LAST_FILE, _ANEW)
        _check_state(tensors, model, self.path / _LAST_FILE)
        model.load_state_dict({n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")})
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimiser."):
                _, index, field = name.split(".", 2)
                state.setdefault(int(index), {})[field] = tensor
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
        done = int(tensors["epoch"]) + 1
        self._cut_metrics(done)
        return done, float(tensors["best"])

    def save_best(self, model: torch.nn.Module) -> None:
        _write_tensors(self.path / _BEST_FILE, dict(model.state_dict()))

    def load_best(self, model: torch.nn.Module) -> None:
        tensors = read_tensors(self.path / _BEST_FILE, _ANEW)
        check_same(tensors, model.state_dict(), self.path / _BEST_FILE, _ANEW)
        model.load_state_dict(tensors)

    def write_metrics(self, line: dict[str, Any]) -> None:
        path = self.path / METRICS_FILE
        try:
            with open(path, "a") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise with_path(error, path) from error

    def metrics(self) -> list[dict[str, Any]]:
        path = self.path / METRICS_FILE
        return read_metrics(path) if path.exists() else []

    def clean(self) -> None:
        """Remove what only an unfinished run needs."""
        for name in (_LAST_FILE, _BEST_FILE):
            (self.path / name).unlink(missing_ok=True)

    def _cut_metrics(self, epochs: int) -> None:
        """Drop the lines of an epoch that was under way when the run stopped."""
        kept = read_metrics(self.path / METRICS_FILE, epochs)
        atomic_write(self.path / METRICS_FILE, "".join(json.dumps(line) + "\n" for line in kept).encode())


def _check_state(tensors: dict[str, torch.Tensor], model: torch.nn.Module, path: Path) -> None:
    """Raise ConfigError unless the tensors are a model, the counters, and an optimiser's state."""
    given = {name.removeprefix("model."): tensor for name, tensor in tensors.items() if name.startswith("model.")}
    check_same(given, model.state_dict(), path, _ANEW)
    for name in ("best", "epoch"):
        if name not in tensors or tensors[name].numel() != 1:
            raise ConfigError(f"{path} is damaged ({name} is no single number): {_ANEW}")


def _write_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    atomic_write(path, save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}))


def write_model(run: Path, name: str, model: torch.nn.Module) -> None:
    _write_tensors(run / name, dict(model.state_dict()))


@contextlib.contextmanager
def own_randomness() -> Iterator[None]:
    """Leave the caller's torch random state as it was."""
    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices=devices):
        yield
