"""The model: encode, handle missing modalities, fuse, classify. Tokens and masks in, logits out."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from mmcache.fuse.network.passes import Encoded, Pass, Sample
from mmcache.fuse.options.options import Options
from mmcache.fuse.parts.fusions import Fused
from mmcache.fuse.parts.handlers import Handled
from mmcache.fuse.parts.heads import Outputs
from mmcache.fuse.parts.part import Part, Shape
from mmcache.fuse.runs.config import options_of, read_run_config, spec_of
from mmcache.fuse.runs.files import CONFIG_FILE, WEIGHTS_FILE
from mmcache.fuse.runs.spec import ModelSpec
from mmcache.fuse.runs.tensors import check_layers, check_same, read_tensors
from mmcache.store.format.kaverage import k_average
from mmcache.store.ground.errors import ConfigError

_TRAIN_AGAIN = "train again"


class Model(nn.Module):
    """A fusion model over cached tokens.

    Absent modalities, whether a segment never had them or they are dropped, are blanked before the projector: their
    tokens may hold anything, NaN included, without changing a bit of the output or of any gradient.

    Args:
        options: of the run; its network, handler, fusion, head and pool shape the model.
    """

    def __init__(self, spec: ModelSpec, options: Options) -> None:
        super().__init__()
        self.spec = spec
        network, parts = options.network, options.components
        self.average, self.average_missing = network.average, network.average_missing
        lengths, width = [tokens for _, tokens, _ in spec.modalities.values()], network.width

        def shape(part: type[Part]) -> Shape:
            return Shape.of(network, lengths, part.reads)

        self.projectors = nn.ModuleList([nn.Linear(d, width) for _, _, d in spec.modalities.values()])
        self.pools: nn.ModuleList | None = None
        if parts.pool is not None:
            pool = parts.pool
            self.pools = nn.ModuleList([pool(count, shape(pool), options.pool) for count in lengths])
            lengths = [1] * len(lengths)
        self.handler = parts.handler(shape(parts.handler), options.handler)
        self.positions = (
            nn.ParameterList([torch.randn(n, width) * 0.02 for n in lengths]) if network.positions else None
        )
        self.modality_embedding = (
            nn.Parameter(torch.randn(len(lengths), width) * 0.02) if network.modality_embedding else None
        )
        self.fusion = parts.fusion(shape(parts.fusion), options.fusion)
        self.head = parts.head(shape(parts.head), spec.classes, options.head)

    @property
    def skips_missing(self) -> bool:
        """Whether a missing modality gets no tokens, so that giving none of it saves its cost."""
        return self.handler.leaves_out

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
        return self.classify(self.fuse(self.handle(self.encode(tokens, lengths, kept))), kept)

    def training_pass(self, sample: Sample, reads: str = "nothing", autocast: bool = False) -> Pass:
        """One pass with everything that loss terms read.

        Args:
            reads: of the encoding of all that is present: nothing, its values (targets), or itself with gradient
                (complete).
        """
        with torch.autocast(sample.present.device.type, torch.bfloat16, enabled=autocast):
            encoded = self.encode(sample.tokens, sample.lengths, sample.kept)
            complete = None
            if reads != "nothing":
                with torch.set_grad_enabled(torch.is_grad_enabled() and reads == "complete"):
                    complete = self.encode(sample.tokens, sample.lengths, sample.present)
            handled = self.handle(encoded)
            fused = self.fuse(handled)
            outputs = self.classify(fused, sample.kept)
        return Pass(self, sample, handled, fused, outputs, complete, autocast)

    def encode(
        self, tokens: Mapping[str, torch.Tensor], lengths: Mapping[str, torch.Tensor] | None, seen: torch.Tensor
    ) -> Encoded:
        """Project, and pool where the model pools, what is seen of each modality."""
        parts, masks, here = [], [], []
        dtype = next(self.parameters()).dtype
        for m, (name, (_, full, width)) in enumerate(self.spec.modalities.items()):
            raw = tokens.get(name)
            here.append(torch.zeros_like(seen[:, m]) if raw is None else seen[:, m])
            if raw is None:
                count = 0 if self.skips_missing else full
                raw = torch.zeros(len(seen), count, width, dtype=dtype, device=seen.device)
            blank = torch.zeros((), dtype=raw.dtype, device=raw.device)
            x = self.projectors[m](torch.where(here[m][:, None, None], raw, blank).to(dtype))
            mask = here[m][:, None].expand(-1, x.shape[1])
            if lengths is not None and name in lengths:
                mask = mask & (torch.arange(x.shape[1], device=seen.device) < lengths[name][:, None])
            if self.pools is not None:
                x, mask = self.pools[m](x, mask), here[m][:, None]
            parts.append(x)
            masks.append(mask)
        return Encoded(parts, masks, torch.stack(here, dim=1))

    def handle(self, encoded: Encoded) -> Handled:
        """Handle the modalities that are not seen."""
        handled: Handled = self.handler(encoded.tokens, encoded.masks, encoded.seen)
        return handled

    def fuse(self, handled: Handled) -> Fused:
        """Add positions and modality embeddings, and mix the tokens of all modalities."""
        embedded = []
        for m, x in enumerate(handled.tokens):
            if self.positions is not None:
                x = x + self.positions[m][: x.shape[1]]
            if self.modality_embedding is not None:
                x = x + self.modality_embedding[m]
            embedded.append(x)
        fused: Fused = self.fusion(embedded, handled.masks, handled.prompts)
        return fused

    def classify(self, fused: Fused, kept: torch.Tensor) -> Outputs:
        """The head's logits, with the vectors that count and what is averaged over them."""
        outputs: Outputs = self.head(fused)
        valid, modalities = outputs.valid, kept.shape[1]
        if not self.average_missing and valid.shape[1] >= modalities:  # the last are one a modality
            whole = valid.shape[1] - modalities
            valid = torch.cat([valid[:, :whole], valid[:, whole:] & kept], dim=1)
        return dataclasses.replace(outputs, valid=valid, average=self.average)

    def permute(self, order: list[int]) -> None:
        """Bring the modalities' parameters into another order: modality i becomes what order[i] was."""
        names = [self.spec.names[i] for i in order]
        self.spec = ModelSpec({name: self.spec.modalities[name] for name in names}, self.spec.tasks)
        for name in ("projectors", "pools", "positions"):
            each = getattr(self, name)
            if each is not None:
                setattr(self, name, type(each)([each[i] for i in order]))
        if self.modality_embedding is not None:
            self.modality_embedding = nn.Parameter(self.modality_embedding.detach()[order])
        for part in (self.handler, self.fusion, self.head):
            part.permute(order)

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
        """The trained model of a run folder, in eval mode.

        Raises:
            ConfigError: there is none, or it is damaged, or it uses a plugin that the command line does not name.
        """
        run = Path(run)
        saved = read_run_config(run)
        spec, options, path = spec_of(saved), options_of(saved), run / WEIGHTS_FILE
        tensors = read_tensors(path, _TRAIN_AGAIN)
        check_layers(options.flat(), tensors, path)
        try:
            with torch.device("meta"):  # takes no memory, whatever the sizes in config.yaml
                wanted = cls(spec, options).state_dict()
        except (RuntimeError, ValueError, AssertionError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(f"{run / CONFIG_FILE} describes no network ({reason}): {_TRAIN_AGAIN}") from None
        check_same(tensors, wanted, path, _TRAIN_AGAIN)
        model = cls(spec, options)
        model.load_state_dict(tensors)
        return model.to(device).eval()
