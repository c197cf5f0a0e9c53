"""One run under way: from a store and resolved options to a finished run folder."""

import math
import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mmcache.fuse import protocols
from mmcache.fuse.config import FuseConfig
from mmcache.fuse.evaluation import (
    SUBSETS_FILE,
    correctness,
    evaluated_rows,
    natural_accuracy,
    results,
    score,
    task_names,
    write_summary,
)
from mmcache.fuse.holdout import split_holdout
from mmcache.fuse.losses import cross_entropy, distillation
from mmcache.fuse.masks import LAWS
from mmcache.fuse.model import CONFIG_FILE, WEIGHTS_FILE, Model, ModelSpec, to_yaml
from mmcache.fuse.progress import Progress
from mmcache.fuse.run import RunFolder, write_model
from mmcache.fuse.teacher import TeacherAnswers
from mmcache.store.atomic import atomic_write
from mmcache.store.errors import ConfigError
from mmcache.store.feature_store import FeatureStore
from mmcache.store.loader import Batch, Loader
from mmcache.store.order import id_keys

_INIT_STREAM = 1 << 40  # apart from epochs, which count from 0


class Training:
    """One run under way. `run` reads from top to bottom."""

    def __init__(
        self,
        config: FuseConfig,
        store: FeatureStore,
        modalities: list[str],
        folder: RunFolder,
        answers: TeacherAnswers | None,
        device: str,
        progress: Progress,
    ) -> None:
        self.config, self.store, self.folder = config, store, folder
        self.answers, self.device, self.progress = answers, device, progress
        resolved = [store.resolve(name) for name in modalities]
        self.names = [modality for modality, _ in resolved]
        self.sources = [f"{modality}/{encoder}" for modality, encoder in resolved]
        self.eval_split = config.eval_split or store.meta.eval_split
        rows = self._labelled(store.rows("train", self.sources))
        self.train_rows, self.holdout_rows = split_holdout(store, rows, config.holdout, config.seed)
        if config.train_on == "complete":
            self.train_rows = self._complete(self.train_rows)
        self.eval_rows = evaluated_rows(store, self.eval_split, self.sources)
        every = np.concatenate([self.train_rows, self.holdout_rows, self.eval_rows])
        self.loader = Loader(store, self.sources, every, k=config.k, resident=config.resident, device=device)
        shapes = {
            modality: (encoder, self.loader.n_tokens(source), self.loader.width(source))
            for (modality, encoder), source in zip(resolved, self.sources, strict=True)
        }
        self.spec = ModelSpec(shapes, store.tasks)
        torch.manual_seed(self._seed(_INIT_STREAM))
        self.model = Model(self.spec, config).to(device)
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(),
            lr=config.lr,
            weight_decay=config.weight_decay,
            fused=self.loader.device.type == "cuda",
        )
        self.keys = id_keys(store.segments["id"])
        self.presence = store.presence_matrix(self.sources)
        self.steps_per_epoch = math.ceil(self._drawn() / config.batch_size)
        self.autocast = self.loader.device.type == "cuda" and torch.cuda.is_bf16_supported()

    def run(self) -> dict[str, Any]:
        """Train what is left to train, evaluate, write the folder; the results in the form of `evaluate --json`."""
        self.folder.begin()
        self.progress.stage(f"{self.config.strategy} -> {self.folder.path}", self._details())
        done, best = self.folder.resume(self.model, self.optimiser)
        for epoch in range(done, self.config.epochs):
            began = time.perf_counter()
            losses = self._train_epoch(epoch)
            holdout = self._holdout_accuracy()
            chosen = holdout.get("action", next(iter(holdout.values())))
            if chosen > best:
                best = chosen
                self.folder.save_best(self.model)
            seconds = round(time.perf_counter() - began, 3)
            rate = round(self._learning_rate((epoch + 1) * self.steps_per_epoch), 10)
            self.folder.write_metrics({"epoch": epoch, **losses, "lr": rate, "holdout": holdout, "seconds": seconds})
            self.folder.save_epoch(epoch, self.model, self.optimiser, best)
            self.progress.advance(epoch + 1, self.config.epochs, "epochs", f"loss {losses['loss']:.3f}")
        return self._finish()

    def _drawn(self) -> int:
        """How many segments an epoch draws: those it trains on, or as many as have a label of the balanced task."""
        task = self.config.balance
        if task is None:
            return len(self.train_rows)
        return int((self.store.labels(task)[self.train_rows] >= 0).sum())  # ConfigError where there is no such task

    def _train_epoch(self, epoch: int) -> dict[str, float]:
        """One pass over the training rows; the mean of each part of the loss."""
        self.model.train()
        torch.manual_seed(self._seed(epoch))
        keep = np.zeros_like(self.presence)
        target = self.names.index(self.config.target) if self.config.target is not None else None
        law = LAWS[self.config.law]
        rows = self.train_rows
        keep[rows] = law(self.presence[rows], self.keys[rows], self.config.seed, epoch, self.config.drop, target)
        sums: dict[str, torch.Tensor] = {}
        step = epoch * self.steps_per_epoch
        batches = self.loader.epoch(
            batch_size=self.config.batch_size,
            seed=self.config.seed,
            epoch=epoch,
            rows=rows,
            balance=self.config.balance,
        )
        for batch in batches:
            for group in self.optimiser.param_groups:
                group["lr"] = self._learning_rate(step)
            parts = self._loss(batch, keep[batch.rows])
            self.optimiser.zero_grad(set_to_none=True)
            parts["loss"].backward()
            if self.config.clip > 0:
                nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
            self.optimiser.step()
            for name, value in parts.items():  # summed on the device: no wait for it within the epoch
                sums[name] = sums.get(name, torch.zeros((), device=self.device)) + value.detach() * len(batch.rows)
            step += 1
        losses = {name: float(value) / self._drawn() for name, value in sums.items()}
        if not math.isfinite(losses["loss"]):
            raise ConfigError(
                f"the loss became {losses['loss']} in epoch {epoch}: try a smaller --lr (it is {self.config.lr:g}). "
                f"The run stopped in {self.folder.path}."
            )
        return losses

    def _loss(self, batch: Batch, kept: NDArray[np.bool_]) -> dict[str, torch.Tensor]:
        """The parts of the loss of one batch: {'loss', and 'ce' and 'kd' where a teacher takes part}."""
        mask = torch.from_numpy(kept).to(self.device)
        tokens = dict(zip(self.names, batch.tokens.values(), strict=True))
        lengths = dict(zip(self.names, batch.lengths.values(), strict=True))
        with torch.autocast("cuda", torch.bfloat16, enabled=self.autocast):
            outputs = self.model.outputs(tokens, lengths, mask)
        ce = cross_entropy(outputs, batch.labels, self.config.label_smoothing, self.model.head.each)
        if self.answers is None:
            return {"loss": ce}
        seen = kept if self.config.teacher_mask == "same" else self.presence[batch.rows]
        teacher, known = self.answers.look_up(batch.rows, seen, self.names)
        teacher = {task: values.to(self.device) for task, values in teacher.items()}
        kd = distillation(outputs.mean(), teacher, known.to(self.device))
        return {"loss": self.config.alpha * ce + (1 - self.config.alpha) * kd, "ce": ce, "kd": kd}

    def _holdout_accuracy(self) -> dict[str, float]:
        """Task -> accuracy on the held-out part of train, averaged over all modality subsets."""
        self.model.eval()
        table = score(self.model, self.store, self.holdout_rows, self.config.k, self.device, self.loader)
        out = {}
        for task in task_names(table):
            correct = correctness(table, task)
            if correct:
                out[task] = round(float(np.mean([protocols.accuracy(values) for values in correct.values()])), 4)
        # With no complete segment held out, what there is must do.
        return out or {task: value for task, value in natural_accuracy(table).items() if task != "n"}

    def _finish(self) -> dict[str, Any]:
        """Evaluate the best epoch on the test split and write the run's files, the summary last."""
        self.folder.load_best(self.model)
        self.model.eval()
        table = score(self.model, self.store, self.eval_rows, self.config.k, self.device, self.loader)
        path = self.folder.path
        result = results(table, run=str(path), split=self.eval_split)
        write_model(path, WEIGHTS_FILE, self.model)
        origin = {
            "eval_split": self.eval_split,
            "store": str(self.store.path.absolute()),
            "dataset": self.store.meta.dataset,
        }
        atomic_write(path / CONFIG_FILE, to_yaml(self.config, self.spec, origin).encode())
        table.to_parquet(path / SUBSETS_FILE, index=False)
        parameters = sum(p.numel() for p in self.model.parameters())
        seconds = round(sum(line["seconds"] for line in self.folder.metrics()), 2)
        extra = {"natural": natural_accuracy(table), "parameters": parameters, "train_seconds": seconds}
        write_summary(path, result, extra)
        self.folder.clean()
        return result

    def _learning_rate(self, step: int) -> float:
        """Linear warm-up from lr_end to lr, then a cosine back to lr_end."""
        config = self.config
        total = config.epochs * self.steps_per_epoch
        warmup = config.warmup * total
        if step < warmup:
            return config.lr_end + (config.lr - config.lr_end) * step / warmup
        progress = min(1.0, (step - warmup) / max(1.0, total - warmup))
        return config.lr_end + (config.lr - config.lr_end) * (1 + math.cos(math.pi * progress)) / 2

    def _seed(self, stream: int) -> int:
        """A torch seed for one purpose: a function of (seed, stream), never arithmetic on them."""
        return int(np.random.SeedSequence((self.config.seed, stream)).generate_state(1, np.uint64)[0] >> 1)

    def _labelled(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        labelled = rows[np.any([self.store.labels(task)[rows] >= 0 for task in self.store.tasks], axis=0)]
        if len(labelled) < 2:
            raise ConfigError(
                f"split 'train' of {self.store.path} has {len(labelled)} labelled segments with tokens; "
                "at least 2 are needed"
            )
        return labelled

    def _complete(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows that lack no modality by nature."""
        complete = rows[self.store.presence_matrix(self.sources)[rows].all(axis=1)]
        if not len(complete):
            raise ConfigError(
                f"no training segment of {self.store.path} has all of {', '.join(self.names)}, and this strategy "
                "trains on complete ones: choose fewer --modalities, or --train-on all"
            )
        return complete

    def _details(self) -> list[str]:
        loader, config = self.loader, self.config
        tokens = ", ".join(
            f"{name} {count}x{width} ({encoder})" for name, (encoder, count, width) in self.spec.modalities.items()
        )
        millions = sum(p.numel() for p in self.model.parameters()) / 1e6
        return [
            f"tokens: {tokens}",
            f"{len(self.train_rows)} segments to train on, {len(self.holdout_rows)} to pick the epoch by, "
            f"{len(self.eval_rows)} in '{self.eval_split}'",
            f"{millions:.2f} M parameters on {self.device}; resident: {loader.residency}",
            f"fill {config.fill}, law {config.law} p={config.drop:g}, {config.epochs} epochs, seed {config.seed}",
        ]
