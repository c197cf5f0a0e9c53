"""The model: projectors, fill, fusion, heads. Tokens and masks in, logits out."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import ValidationError
from torch import nn

from mmcache.common.yaml_file import read_yaml
from mmcache.fuse.checks import add_network_misfits
from mmcache.fuse.config import FuseConfig
from mmcache.fuse.network.pooling import MeanPool, TransformerPool, masked_mean
from mmcache.fuse.network.weights import check_depth, check_same, read_tensors
from mmcache.fuse.parts.fusions import FUSIONS, Fused
from mmcache.fuse.parts.handlers import FILLS, Targets
from mmcache.fuse.parts.heads.heads import HEADS, Outputs
from mmcache.fuse.training.run_files import SEAL, SUMMARY_FILE, check_config, check_seals, seals
from mmcache.store.format.kaverage import k_average
from mmcache.store.ground.errors import ConfigError, Problems
from mmcache.store.ground.lock import holder_of
from mmcache.store.ground.text import excerpt

CONFIG_FILE, WEIGHTS_FILE = "config.yaml", "model.safetensors"
IDENTITY_FILE = "identity"  # the first file of a run
_TRAIN_AGAIN = "train again"
_SHOWN = 3  # faults that a message names


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """The shapes a model is built for.

    Attributes:
        modalities: name -> (encoder, tokens after k-Average, encoder width).
        tasks: task -> class names.
    """

    modalities: dict[str, tuple[str, int, int]]
    tasks: dict[str, list[str]]

    @property
    def names(self) -> list[str]:
        return list(self.modalities)


@dataclasses.dataclass(frozen=True)
class Trace:
    """One pass through a model, with what losses look at on the way.

    Attributes:
        outputs: what the head gave.
        fused: what the fusion gave.
        losses: of the fill, in training.
        real: (B, M, d), the mean token of every modality that is present, kept or not, where asked for.
    """

    outputs: Outputs
    fused: Fused
    losses: dict[str, torch.Tensor]
    real: torch.Tensor | None


class Model(nn.Module):
    """A fusion model over cached tokens.

    Absent modalities, whether they were never there or are dropped, are blanked before the projector: their tokens
    may hold anything, NaN included, without changing a bit of the output or of any gradient.
    """

    def __init__(self, spec: ModelSpec, config: FuseConfig) -> None:
        super().__init__()
        self.spec, self.target_grad = spec, config.rec_target == "standardised"
        self.average, self.average_missing = config.average, config.average_missing
        lengths = [tokens for _, tokens, _ in spec.modalities.values()]
        width = config.width
        self.projectors = nn.ModuleList([nn.Linear(d, width) for _, _, d in spec.modalities.values()])
        self.pools = _pools(lengths, config)
        if self.pools is not None:
            lengths = [1] * len(lengths)
        self.fill = FILLS[config.fill](lengths, config)
        self.positions = nn.ParameterList([torch.randn(n, width) * 0.02 for n in lengths]) if config.positions else None
        self.modality_embedding = (
            nn.Parameter(torch.randn(len(lengths), width) * 0.02) if config.modality_embedding else None
        )
        self.fusion = FUSIONS[config.fusion](len(lengths), config)
        classes = {task: len(names) for task, names in spec.tasks.items()}
        self.head = HEADS[config.head](len(lengths), classes, config)

    def forward(
        self,
        tokens: Mapping[str, torch.Tensor],
        present: torch.Tensor,
        keep: torch.Tensor | None = None,
        lengths: Mapping[str, torch.Tensor] | None = None,
    ) -> dict[str, torch.Tensor]:
        """Predict.

        Args:
            tokens: modality -> (B, T, D), k-averaged here if longer than the model was trained on; a modality that no
                segment has may be left out.
            present: (B, M) bool, columns in the order of `spec.names`.
            keep: (B, M) bool, which of the present ones to look at; None = all.
            lengths: modality -> (B,) true token counts; None = all.

        Returns:
            Task -> (B, C) logits.

        Raises:
            ValueError: a segment has no modality to look at, or `present` has the wrong shape.
        """
        kept = present.bool() if keep is None else present.bool() & keep.bool()
        if kept.ndim != 2 or kept.shape[1] != len(self.spec.names):
            raise ValueError(f"present must be (B, {len(self.spec.names)}), got {tuple(present.shape)}")
        if not bool(kept.any(dim=1).all()):
            raise ValueError("every segment needs at least one modality that is present and kept")
        return self.outputs(*self._shortened(tokens, lengths), kept).mean()

    def outputs(
        self,
        tokens: Mapping[str, torch.Tensor],
        lengths: Mapping[str, torch.Tensor] | None,
        kept: torch.Tensor,
    ) -> Outputs:
        """As forward, for tokens and masks known to be sound; logits of every vector, for the losses."""
        return self.trace(tokens, lengths, kept).outputs

    def trace(
        self,
        tokens: Mapping[str, torch.Tensor],
        lengths: Mapping[str, torch.Tensor] | None,
        kept: torch.Tensor,
        present: torch.Tensor | None = None,
        real: bool = False,
    ) -> "Trace":
        """As outputs, with what the losses look at on the way.

        Args:
            present: (B, M) bool, given in training alone: fills then learn from what is present but not kept.
            real: also give the vectors of all that is present, with gradient.
        """
        parts, masks, kept = self._embed(tokens, lengths, kept)
        targets, vectors = None, None
        if present is not None:
            if self.fill.wants_targets or real:
                with torch.set_grad_enabled(torch.is_grad_enabled() and (real or self.target_grad)):
                    there, there_masks, present = self._embed(tokens, lengths, present)
                vectors = torch.stack([masked_mean(x, mask) for x, mask in zip(there, there_masks, strict=True)], dim=1)
            else:
                there, there_masks = parts, masks
            known = present & ~kept
            targets = Targets([x if self.target_grad else x.detach() for x in there], there_masks, known)
        filled = self.fill(parts, masks, kept, targets)
        embedded = []
        for m, x in enumerate(filled.tokens):
            if self.positions is not None:
                x = x + self.positions[m][: x.shape[1]]
            if self.modality_embedding is not None:
                x = x + self.modality_embedding[m]
            embedded.append(x)
        fused = self.fusion(embedded, filled.masks, filled.prompts)
        return Trace(self._counted(self.head(fused), kept), fused, filled.losses, vectors)

    def _counted(self, outputs: Outputs, kept: torch.Tensor) -> Outputs:
        """The head's outputs with the vectors that count, and what is averaged over them."""
        valid, modalities = outputs.valid, kept.shape[1]
        if not self.average_missing and valid.shape[1] >= modalities:  # the last are one a modality
            whole = valid.shape[1] - modalities
            valid = torch.cat([valid[:, :whole], valid[:, whole:] & kept], dim=1)
        return dataclasses.replace(outputs, valid=valid, average=self.average)

    def _embed(
        self, tokens: Mapping[str, torch.Tensor], lengths: Mapping[str, torch.Tensor] | None, kept: torch.Tensor
    ) -> tuple[list[torch.Tensor], list[torch.Tensor], torch.Tensor]:
        """Project, and pool where asked for: (B, n_m, d) and its mask a modality, and which were there to be kept."""
        parts, masks, here = [], [], []
        dtype = next(self.parameters()).dtype
        for m, (name, (_, full, width)) in enumerate(self.spec.modalities.items()):
            raw = tokens.get(name)
            here.append(torch.zeros_like(kept[:, m]) if raw is None else kept[:, m])
            if raw is None:
                count = 0 if self.fill.leaves_out else full
                raw = torch.zeros(len(kept), count, width, dtype=dtype, device=kept.device)
            blank = torch.zeros((), dtype=raw.dtype, device=raw.device)
            x = self.projectors[m](torch.where(here[m][:, None, None], raw, blank).to(dtype))
            mask = here[m][:, None].expand(-1, x.shape[1])
            if lengths is not None and name in lengths:
                mask = mask & (torch.arange(x.shape[1], device=kept.device) < lengths[name][:, None])
            if self.pools is not None:
                x, mask = self.pools[m](x, mask), here[m][:, None]
            parts.append(x)
            masks.append(mask)
        return parts, masks, torch.stack(here, dim=1)

    def _shortened(
        self, tokens: Mapping[str, torch.Tensor], lengths: Mapping[str, torch.Tensor] | None
    ) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor] | None]:
        """Tokens and lengths as in training, where the loader has k-averaged them already."""
        short, short_lengths = dict(tokens), dict(lengths or {})
        for name, (_, k, _) in self.spec.modalities.items():
            values = tokens.get(name)
            if values is not None and values.shape[1] > k:
                given = short_lengths.get(name)
                averaged, counts = k_average(values.cpu().numpy(), k, None if given is None else given.cpu().numpy())
                short[name] = torch.from_numpy(averaged).to(values.device)
                if given is not None:
                    short_lengths[name] = torch.from_numpy(counts).to(values.device)
        return short, short_lengths or None

    @classmethod
    def load(cls, run: str | Path, device: str = "cpu") -> "Model":
        """The trained model of a run folder, in eval mode. Raises ConfigError when there is none, or a damaged one."""
        run = Path(run)
        saved = read_run_config(run)
        spec, config, path = spec_of(saved), config_of(saved), run / WEIGHTS_FILE
        tensors = read_tensors(path, _TRAIN_AGAIN)
        check_depth(config, tensors, path)
        try:
            with torch.device("meta"):  # takes no memory, whatever the sizes in config.yaml
                wanted = cls(spec, config).state_dict()
        except (RuntimeError, ValueError, AssertionError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(f"{run / CONFIG_FILE} describes no network ({reason}): {_TRAIN_AGAIN}") from None
        check_same(tensors, wanted, path, _TRAIN_AGAIN)
        model = cls(spec, config)
        model.load_state_dict(tensors)
        return model.to(device).eval()


def _pools(lengths: list[int], config: FuseConfig) -> nn.ModuleList | None:
    """One pool a modality, or None where tokens go on as they are."""
    if config.pool == "none":
        return None
    if config.pool == "mean":
        return nn.ModuleList([MeanPool() for _ in lengths])
    hidden = int(config.width * config.ffn_ratio)
    shape = (config.width, config.pool_depth, config.heads, hidden, config.dropout, config.block_norm)
    return nn.ModuleList([TransformerPool(n, *shape) for n in lengths])


def read_run_config(run: Path) -> dict[str, Any]:
    """config.yaml of a finished run. Raises ConfigError when `run` is none."""
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (run / name).is_file():
            raise ConfigError(f"{run} is not a finished run {_unfinished(run, name)}")
    return check_run_config(run)


def check_run_config(run: Path) -> dict[str, Any]:
    """config.yaml of a run, its options and shapes checked. Raises ConfigError naming what is wrong."""
    path = run / CONFIG_FILE
    return check_content(read_yaml(path), path)


def check_content(content: Any, path: Path) -> dict[str, Any]:
    """What `path`, a config.yaml, holds, if it is what `mmcache fuse` writes. Raises ConfigError naming what is not."""
    saved = check_config(content, path)
    try:
        known = {field.name for field in dataclasses.fields(FuseConfig)}
        config_of({"options": {name: value for name, value in saved["options"].items() if name in known}})
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    check_seals(saved, path)  # last: what has a wrong type is named by its field
    return saved


def _unfinished(run: Path, lacks: str) -> str:
    """Why a folder is no finished run, and what to do."""
    makes = "`mmcache fuse` makes one, under runs/ by default."
    if not (run / IDENTITY_FILE).is_file():
        return f"({'no such folder' if not run.is_dir() else f'{lacks} is not in it'}). {makes}"
    holder = holder_of(run)
    if holder is not None:
        return f"(another process, pid {holder}, is training it). Wait for it to finish."
    if (run / SUMMARY_FILE).is_file():
        return f"({lacks} is gone). Restore it, or remove the run's folder, and the same command begins it anew."
    return "(it was begun and not finished). The same `mmcache fuse` command goes on with it."


def config_of(saved: Mapping[str, Any]) -> FuseConfig:
    """The options of a run. Raises ConfigError where they are not of this version of mmcache."""
    unknown = sorted(map(str, set(saved["options"]) - {field.name for field in dataclasses.fields(FuseConfig)}))
    if unknown:
        raise ConfigError(
            f"the run's {CONFIG_FILE} has options that this mmcache does not know: {excerpt(', '.join(unknown))}. "
            "Another version made it: use that one, or train again"
        )
    try:
        config = FuseConfig(**saved["options"])
    except ValidationError as error:
        faults = error.errors(include_url=False)[:_SHOWN]
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))} = {excerpt(e['input'], 40)}: {e['msg']}" for e in faults)
        raise ConfigError(f"the run's {CONFIG_FILE} has values that this mmcache does not take: {wrong}") from None
    problems = Problems()
    config.add_unknown_names(problems)
    add_network_misfits(config, problems)
    if problems.messages:
        raise ConfigError(f"the run's {CONFIG_FILE} has values that this mmcache does not take: {problems.messages[0]}")
    return config


def spec_of(saved: Mapping[str, Any]) -> ModelSpec:
    return ModelSpec(
        modalities={name: tuple(shape) for name, shape in saved["model"]["modalities"].items()},
        tasks=saved["model"]["tasks"],
    )


def to_yaml(config: FuseConfig, spec: ModelSpec, extra: Mapping[str, Any]) -> str:
    """What `read_run_config` reads back: the resolved options, the model's shapes, and where it comes from."""
    plain = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    model = {
        "modalities": {name: list(shape) for name, shape in spec.modalities.items()},
        "tasks": spec.tasks,
    }
    content = json.loads(json.dumps({**extra, "options": plain, "model": model}, default=str))
    return yaml.safe_dump({SEAL: seals(content), **content}, sort_keys=False, width=120)
