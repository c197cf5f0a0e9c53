"""One run under way: from a store and resolved options to a finished run folder."""

import itertools
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mmcache.fuse.data.batches import Batches
from mmcache.fuse.data.origin import token_origins
from mmcache.fuse.data.preflight import learned_tasks, preflight
from mmcache.fuse.data.reported_split import reported_split
from mmcache.fuse.data.rows import choose_rows
from mmcache.fuse.evaluation import curves
from mmcache.fuse.evaluation.cost import costs
from mmcache.fuse.evaluation.evaluate import (
    correctness,
    natural_accuracy,
    results,
    score,
    task_names,
    write_summary,
    write_table,
)
from mmcache.fuse.network.init_from import init_from
from mmcache.fuse.network.model import Model
from mmcache.fuse.options.options import Options
from mmcache.fuse.parts.losses.cross_entropy import class_weights
from mmcache.fuse.runs.config import to_yaml
from mmcache.fuse.runs.files import CONFIG_FILE, WEIGHTS_FILE
from mmcache.fuse.runs.folder import Optimiser, RunFolder, write_model
from mmcache.fuse.runs.progress import Progress
from mmcache.fuse.runs.spec import ModelSpec
from mmcache.fuse.teachers.gather import Gather
from mmcache.fuse.teachers.known_segments import learned_from
from mmcache.fuse.training.metrics_log import CURVES_FILE, EventLog, plot_curves
from mmcache.fuse.training.trainee import Trainee
from mmcache.store.feature_store import FeatureStore
from mmcache.store.files.atomic import atomic_write
from mmcache.store.ground.errors import ConfigError
from mmcache.store.load.loader import Loader
from mmcache.store.load.streams import Stream

_LOOK_EVERY = 64  # batches after which training waits for a GPU, to see whether the loss is still a number


class Training:
    """One run under way. `run` reads from top to bottom.

    Args:
        loader: reuse this one, which holds every row of train, of the split that picks the epoch and of the one it is
            tested on; None = make one.
        notes: what a person was told of the run before: they are kept with what is seen now.

    Raises:
        ConfigError: the store does not have what the options ask for, or what is to be evaluated.
    """

    def __init__(
        self,
        options: Options,
        store: FeatureStore,
        modalities: list[str],
        folder: RunFolder,
        teachers: Gather | None,
        device: str,
        progress: Progress,
        start: Path | None = None,
        loader: Loader | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.options, self.store, self.folder = options, store, folder
        optimiser, data, run = options.optimiser, options.data, options.run
        self.device, self.progress = device, progress
        resolved = [store.resolve(name) for name in modalities]
        self.names = [modality for modality, _ in resolved]
        self.sources = [f"{modality}/{encoder}" for modality, encoder in resolved]
        self.eval_split = reported_split(data.eval_split, store)
        sources = dict(zip(self.names, self.sources, strict=True))
        self.rows = choose_rows(options, store, sources, self.eval_split)
        foreseen = preflight(options, store, sources, self.rows, self.eval_split)
        self._untold = [note for note in foreseen if note not in notes]
        self.notes = [*notes, *self._untold]
        self.loader = loader or Loader(
            store, self.sources, self.rows.every, k=data.k, resident=run.resident, device=device
        )
        self.batches = Batches(options, store, self.loader, self.rows, self.names)
        shapes = {
            modality: (encoder, self.loader.n_tokens(source), self.loader.width(source))
            for (modality, encoder), source in zip(resolved, self.sources, strict=True)
        }
        self.spec = ModelSpec(shapes, learned_tasks(store))
        # Before the seed: what teachers have to compute, or have in their cache, must not move what a run begins with.
        signals = teachers(self.rows, self.names) if teachers is not None else None
        torch.manual_seed(self.seed_of(Stream.INITIAL_WEIGHTS))
        self.model = Model(self.spec, options)
        if start is not None:
            init_from(self.model, start, options.network.freeze)
        strategy = options.components.strategy(options, self.model, signals, self._class_weights())
        self.trained = Trainee(self.model, strategy).to(device)
        self.optimiser = torch.optim.AdamW(
            self._parameters(), lr=optimiser.lr, weight_decay=optimiser.weight_decay, fused=True
        )
        self.steps_per_epoch = math.ceil(math.ceil(self.batches.drawn() / optimiser.batch_size) / optimiser.accumulate)
        on_gpu = self.loader.device.type == "cuda" and torch.cuda.is_bf16_supported()
        self.autocast = run.precision == "bf16" or (run.precision == "auto" and on_gpu)
        self._best = -1.0
        self._events: EventLog | None = None

    def run(self, cost: dict[str, Any] | None = None) -> dict[str, Any]:
        """Train what is left to train, evaluate, write the folder; the results in the form of `evaluate --json`.

        Args:
            cost: see finish.
        """
        self.progress.stage(f"{self.options.name} -> {self.folder.path}", self._details())
        for epoch in range(self.begin(self.optimiser), self.options.optimiser.epochs):
            if self._is_stale():
                break
            began = time.perf_counter()
            losses = self._train_epoch(epoch)
            self.end_epoch(epoch, losses, self.optimiser, began)
            self.progress.advance(epoch + 1, self.options.optimiser.epochs, "epochs", f"loss {losses['loss']:.3f}")
        return self.finish(cost)

    def begin(self, optimiser: Optimiser) -> int:
        """Take up what an interrupted run left in the folder; how many epochs that is."""
        self.folder.begin()
        done, self._best = self.folder.resume(self.trained, optimiser)
        self._events = EventLog(self.folder.path, done) if self.options.run.tensorboard else None
        return done

    def end_epoch(self, epoch: int, losses: dict[str, float], optimiser: Optimiser, began: float) -> None:
        """Score the epoch on the segments that pick it, and write down all that the next one starts from.

        Args:
            began: when the epoch did, by time.perf_counter.
        """
        validation = self._validation_accuracy(epoch) if self.picks else {}
        # Episodes train no classifier, so its accuracy says nothing of them: their last epoch is the one.
        if self.picks and (_figure(validation) > self._best or self.batches.phase(epoch).episodes is not None):
            self._best = _figure(validation)
            self.folder.save_best(self.model)
        seconds = round(time.perf_counter() - began, 3)
        rate = round(self.learning_rate((epoch + 1) * self.steps_per_epoch), 10)
        line = {"epoch": epoch, **losses, "lr": rate, "validation": validation, "seconds": seconds}
        self.folder.write_metrics(line)
        if self._events is not None:
            self._events.write(line)
        self.folder.save_epoch(epoch, self.trained, optimiser, self._best)

    @property
    def picks(self) -> bool:
        """Whether there are segments to pick the epoch by; else the last one is kept."""
        return len(self.rows.validation) > 0

    def _is_stale(self) -> bool:
        """Whether the last `patience` epochs brought nothing better."""
        patience = self.options.optimiser.patience
        if patience == 0:
            return False
        figures = [_figure(line["validation"]) for line in self.folder.metrics()]
        return len(figures) > patience and max(figures[-patience:]) <= max(figures[:-patience])

    def _train_epoch(self, epoch: int) -> dict[str, float]:
        """One pass over the training rows; the mean of each part of the loss."""
        self.trained.train()
        torch.manual_seed(self.seed_of(epoch))
        accumulate, sums, seen = self.options.optimiser.accumulate, dict[str, torch.Tensor](), 0
        broken = torch.full((), -1, device=self.device)  # the first batch whose loss is no number
        step = epoch * self.steps_per_epoch
        last = self.batches.count(epoch) - 1
        for number, (batch, kept) in enumerate(self.batches.draw(epoch)):
            parts = self.trained.losses(batch, kept, epoch, self.autocast)
            broken = torch.where((broken < 0) & ~parts["loss"].detach().isfinite(), number, broken)
            if number % accumulate == 0:
                self.optimiser.zero_grad(set_to_none=True)
            parts["loss"].backward()
            if (number + 1) % accumulate == 0 or number == last:
                self._step(step, number % accumulate + 1)
                step += 1
            for name, value in parts.items():  # summed on the device: no wait for it within the epoch
                sums[name] = sums.get(name, torch.zeros((), device=self.device)) + value.detach() * len(batch.rows)
            seen += len(batch.rows)
            if number == last or self.loader.device.type == "cpu" or number % _LOOK_EVERY == 0:
                self.check_finite(epoch, int(broken))
        return {name: float(value) / seen for name, value in sums.items()}

    def _step(self, step: int, batches: int) -> None:
        """One step of the optimiser, by the gradients of so many batches."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate(step)
        if batches > 1:
            torch._foreach_div_([p.grad for p in self._parameters() if p.grad is not None], batches)
        if self.options.optimiser.clip > 0:
            nn.utils.clip_grad_norm_(self._parameters(), self.options.optimiser.clip)
        self.optimiser.step()
        self.trained.strategy.after_step(self.model)

    def check_finite(self, epoch: int, number: int) -> None:
        """Raise ConfigError, naming the batch and the modality at fault, where a loss is no number; -1 = none is."""
        if number < 0:
            return
        batch, kept = next(itertools.islice(self.batches.draw(epoch), number, None))
        seen = torch.from_numpy(kept).to(self.device)
        bad = [
            name
            for m, (name, tokens) in enumerate(zip(self.names, batch.tokens.values(), strict=True))
            if not bool(tokens[seen[:, m]].isfinite().all())
        ]
        cause = (
            f"the tokens of {' and '.join(bad)} hold NaN or infinity there: `mmcache store verify {self.store.path}`"
            if bad
            else f"its tokens are sound: try a smaller --lr (it is {self.options.optimiser.lr:g})"
        )
        raise ConfigError(
            f"the loss became no number in epoch {epoch}, batch {number} (step "
            f"{epoch * self.steps_per_epoch + number // self.options.optimiser.accumulate}); {cause}. "
            f"Epochs before it are kept in {self.folder.path}."
        )

    def _validation_accuracy(self, epoch: int) -> dict[str, float]:
        """Task -> accuracy on the segments that pick the epoch, through the subsets that labels are learned from.

        Their mean, or that of the largest one (`pick_by`).
        """
        self.model.eval()
        rows, k = self.rows.validation, self.options.data.k
        table = score(self.model, self.store, rows, k, self.device, self.loader, autocast=self.autocast)
        self.trained.strategy.after_epoch(epoch, table)
        out = {}
        learned = {name for name, chosen in zip(self.names, self.rows.labels_from, strict=True) if chosen}
        for task in task_names(table):
            correct = correctness(table, task).items()
            usable = {name: values for name, values in correct if curves.parts(name) <= learned}
            if self.options.data.pick_by == "full" and usable:
                usable = {name: usable[name] for name in [curves.full_subset(usable)]}
            if usable:
                out[task] = round(float(np.mean([curves.accuracy(values) for values in usable.values()])), 4)
        # Without a complete segment, accuracy on the segments as they are picks the epoch.
        return out or {task: value for task, value in natural_accuracy(table).items() if task != "n"}

    def finish(self, cost: dict[str, Any] | None = None) -> dict[str, Any]:
        """Evaluate the best epoch on the test split and write the run's files, the summary last.

        Args:
            cost: what `costs` says of a network of this shape; None = find out.
        """
        if self.picks:
            self.folder.load_best(self.model)
        self.model.eval()
        table = score(self.model, self.store, self.rows.evaluated, self.options.data.k, self.device, self.loader)
        path = self.folder.path
        result = results(table, str(path), self.eval_split, recipe=self.options.recipe)
        write_model(path, WEIGHTS_FILE, self.model)
        origin = {
            "eval_split": self.eval_split,
            "store": str(self.store.path.absolute()),
            "dataset": self.store.meta.dataset,
            "tokens": token_origins(self.store, dict(zip(self.names, self.sources, strict=True))),
            "picked_on": self.picked_on(),
            "learned_from": learned_from(self.store, self.rows),
        }
        atomic_write(path / CONFIG_FILE, to_yaml(self.options, self.spec, origin).encode())
        write_table(path, table)
        parameters = sum(p.numel() for p in self.model.parameters())
        seconds = round(sum(line["seconds"] for line in self.folder.metrics()), 2)
        metrics = self.folder.metrics()
        extra = {
            "natural": natural_accuracy(table),
            "picked_on": self.picked_on(),
            "notes": self.notes,
            "parameters": parameters,
            "epochs": len(metrics),
            "train_seconds": seconds,
            "cost": cost or costs(self.model),
        }
        plot_curves(metrics, path / CURVES_FILE)
        write_summary(path, result, extra)
        self.folder.clean()
        return result

    def picked_on(self) -> dict[str, Any]:
        """What picks the epoch: a split, how much of it, and by which accuracy; nothing where the last one is kept."""
        if not self.picks:
            return {"split": None, "segments": 0, "by": None}
        return {"split": self.rows.picked_on, "segments": len(self.rows.validation), "by": self.options.data.pick_by}

    def learning_rate(self, step: int) -> float:
        """Linear warm-up from lr_end to lr, then a cosine back to lr_end."""
        config = self.options.optimiser
        total = config.epochs * self.steps_per_epoch
        warmup = config.warmup * total
        if step < warmup:
            return config.lr_end + (config.lr - config.lr_end) * step / warmup
        progress = min(1.0, (step - warmup) / max(1.0, total - warmup))
        return config.lr_end + (config.lr - config.lr_end) * (1 + math.cos(math.pi * progress)) / 2

    def seed_of(self, stream: int) -> int:
        """A torch seed for one purpose: a function of (seed, stream), never arithmetic on them."""
        return int(np.random.SeedSequence((self.options.run.seed, stream)).generate_state(1, np.uint64)[0] >> 1)

    def _class_weights(self) -> dict[str, torch.Tensor] | None:
        """Task -> (C,) weights of its classes in CE, or None where all count alike."""
        kind = self.options.optimiser.class_weights
        if kind == "none":
            return None
        labels = {task: torch.from_numpy(self.store.labels(task)[self.rows.train]) for task in self.store.tasks}
        return {
            t: class_weights(values, len(self.store.tasks[t]), kind).to(self.device) for t, values in labels.items()
        }

    def _parameters(self) -> list[nn.Parameter]:
        return [p for p in self.trained.parameters() if p.requires_grad]

    def _details(self) -> list[str]:
        loader, options = self.loader, self.options
        tokens = ", ".join(
            f"{name} {count}x{width} ({encoder})" for name, (encoder, count, width) in self.spec.modalities.items()
        )
        millions = sum(p.numel() for p in self.model.parameters()) / 1e6
        return [
            f"tokens: {tokens}",
            f"{len(self.rows.train)} segments to train on; test: {len(self.rows.evaluated)} of '{self.eval_split}'",
            self._picking(),
            f"{millions:.2f} M parameters on {self.device}; resident: {loader.residency}",
            f"recipe {options.recipe}: handler {options.network.handler}, sampler {options.masks.sampler} "
            f"p={options.drop:g}, {options.optimiser.epochs} epochs, seed {options.run.seed}",
            *(f"note: {note}" for note in self._untold),
        ]

    def _picking(self) -> str:
        count, split = len(self.rows.validation), self.rows.picked_on
        if not self.picks:
            return "the last epoch is kept: --validation 0"
        where = f"'{split}', {count} segments"
        if split == "train":
            where = f"{count} segments of 'train' that are held out, by {self.options.data.group or 'video'}"
        return f"epochs are picked on {where}, by the {self.options.data.pick_by} accuracy"


def _figure(validation: dict[str, float]) -> float:
    """The accuracy that picks the epoch."""
    return validation.get("action", next(iter(validation.values())))
