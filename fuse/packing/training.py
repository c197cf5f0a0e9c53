"""Runs of one shape trained as one: stacked parameters, one pass over the data, batched matrix products."""

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmcache.fuse.evaluation.cost import costs
from mmcache.fuse.network.passes import Sample
from mmcache.fuse.packing.adamw import StackedAdamW
from mmcache.fuse.packing.folding import folded
from mmcache.fuse.packing.stack import Stack
from mmcache.fuse.training.loop import Training
from mmcache.store.ground.errors import MmcacheError
from mmcache.store.load.loader import Batch

_TRIES = 4  # of which the first warms up
_Drawn = tuple[Batch, NDArray[np.bool_]]


class PackedTraining:
    """Several runs under way as one. Each keeps its own folder, and ends as it would have ended alone.

    Variants may differ in their seeds, and then in the order and number of their batches: in each step, those whose
    batches are of one size are run together. A variant whose loss becomes no number is given up, the others go on.

    Args:
        members: of one `groups.pack_key`, on one device.
    """

    def __init__(self, members: Sequence[Training]) -> None:
        self.members = list(members)
        self.epochs, self.device = members[0].options.optimiser.epochs, members[0].device
        self.stack = Stack([member.trained for member in members])
        self.optimiser = StackedAdamW(
            self.stack.trained,
            [member.options.optimiser.weight_decay for member in members],
            [member.options.optimiser.clip for member in members],
        )
        weights = [{term.name: term.weight for term in member.trained.terms} for member in members]
        self.weights = {name: torch.tensor([each[name] for each in weights], device=self.device) for name in weights[0]}
        self.failures: dict[int, MmcacheError] = {}

    def run(self) -> list[dict[str, Any] | MmcacheError]:
        """Train, evaluate, and write all folders; for each run its results, or why it has none."""
        for member in self.members:
            member.progress.stage(
                f"{member.options.name} -> {member.folder.path}", [f"one of {len(self.members)} trained as one"]
            )
        done = [member.begin(self.optimiser.of(i)) for i, member in enumerate(self.members)]
        while (
            epoch := min((d for i, d in enumerate(done) if i not in self.failures), default=self.epochs)
        ) < self.epochs:
            # All of them, but where an interruption left some an epoch behind.
            active = [i for i, d in enumerate(done) if d == epoch and i not in self.failures]
            began = time.perf_counter()
            losses = self._train_epoch(epoch, active)
            for i in active:
                done[i] += 1
                if i not in self.failures:
                    self.members[i].end_epoch(epoch, losses[i], self.optimiser.of(i), began)
                    self.members[i].progress.advance(done[i], self.epochs, "epochs", f"loss {losses[i]['loss']:.3f}")
        cost = costs(self.members[0].model)  # they have one shape
        return [self.failures.get(i) or member.finish(cost) for i, member in enumerate(self.members)]

    def gain(self) -> float:
        """How many times faster a step of all is than that of one after another, measured; nothing is learned."""
        for member in self.members:
            member.trained.train()
        everyone = list(range(len(self.members)))
        drawn = next(iter(self._steps(0, everyone)))
        generators = {i: self._generator(i, 0) for i in everyone}

        def alone() -> None:
            first, (batch, kept) = self.members[0], drawn[0]
            first.trained.losses(batch, kept, 0, first.autocast)["loss"].backward()
            first.optimiser.zero_grad(set_to_none=True)

        def together() -> None:
            for group in _of_one_size(drawn):
                parts = self._parts(0, [(i, *drawn[i]) for i in group], [generators[i] for i in group])
                parts["loss"].sum().backward()
            self.optimiser.zero_grad()

        return len(self.members) * self._fastest(alone) / self._fastest(together)

    def _fastest(self, work: Callable[[], None]) -> float:
        """Seconds of the fastest of a few."""
        seconds = []
        for _ in range(_TRIES):
            began = time.perf_counter()
            work()
            if torch.device(self.device).type == "cuda":
                torch.cuda.synchronize(self.device)
            seconds.append(time.perf_counter() - began)
        return min(seconds[1:])

    def _train_epoch(self, epoch: int, active: list[int]) -> dict[int, dict[str, float]]:
        """One pass over the training rows of the active variants; the mean of each part of their losses."""
        for i in active:
            self.members[i].trained.train()
        generators = {i: self._generator(i, epoch) for i in active}
        sums = _Sums(len(self.members), self.device)
        for number, drawn in enumerate(self._steps(epoch, active)):
            self.optimiser.zero_grad()
            for group in _of_one_size(drawn):
                parts = self._parts(epoch, [(i, *drawn[i]) for i in group], [generators[i] for i in group])
                parts["loss"].sum().backward()
                sums.add(group, parts, len(drawn[group[0]][0].rows), number)
            stepping = list(drawn)
            rates = [self._rate(i, epoch, number) for i in stepping]
            self.optimiser.step(stepping, rates)
            for i in stepping:
                self.members[i].trained.strategy.after_step(self.members[i].model)
        self._give_up_broken(epoch, active, sums.broken)
        return {i: sums.means(i) for i in active}

    def _steps(self, epoch: int, active: list[int]) -> Iterator[dict[int, _Drawn]]:
        """For each step, what the variants that have so many batches draw. Tokens that several read are read once."""
        readers: dict[tuple[Any, ...], list[int]] = {}
        for i in active:
            readers.setdefault(self.members[i].batches.order_key, []).append(i)
        streams: dict[int, Iterator[_Drawn]] = {}
        for alike in readers.values():
            copies = itertools.tee(self.members[alike[0]].batches.tokens(epoch), len(alike))
            streams |= {i: self.members[i].batches.draw(epoch, copy) for i, copy in zip(alike, copies, strict=True)}
        with contextlib.ExitStack() as closing:
            for stream in streams.values():
                closing.callback(stream.close)  # type: ignore[attr-defined]
            for each in itertools.zip_longest(*(streams[i] for i in active)):
                yield {i: drawn for i, drawn in zip(active, each, strict=True) if drawn is not None}

    def _parts(
        self, epoch: int, drawn: list[tuple[int, Batch, NDArray[np.bool_]]], generators: list[torch.Generator]
    ) -> dict[str, torch.Tensor]:
        """Part of the loss -> (V,), of these variants."""
        trainee, members = self.members[0].trained, [i for i, _, _ in drawn]
        samples = [self.members[i].trained.sample(batch, kept, epoch) for i, batch, kept in drawn]
        fields, dims = _stacked(samples)

        def one(tensors: dict[str, torch.Tensor], sample: dict[str, Any]) -> dict[str, torch.Tensor]:
            parts: dict[str, torch.Tensor] = torch.func.functional_call(
                trainee, tensors, (sample, epoch, self.members[0].autocast)
            )
            return parts

        with folded(generators):
            parts = torch.func.vmap(one, in_dims=(0, dims), randomness="error")(self.stack.take(members), fields)
        index = torch.tensor(members, device=self.device)
        weights = {name: values[index] for name, values in self.weights.items()}
        return trainee.weigh(parts, weights)

    def _rate(self, member: int, epoch: int, number: int) -> float:
        training = self.members[member]
        return training.learning_rate(epoch * training.steps_per_epoch + number)

    def _generator(self, member: int, epoch: int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(self.members[member].seed_of(epoch))

    def _give_up_broken(self, epoch: int, active: list[int], broken: torch.Tensor) -> None:
        for i, number in enumerate(broken.tolist()):
            if i in active:
                try:
                    self.members[i].check_finite(epoch, number)
                except MmcacheError as error:
                    self.failures[i] = error


class _Sums:
    """Sums over an epoch of each variant's parts, kept on the device: the host does not wait for it within the epoch.

    Attributes:
        broken: (V,) the first step in which a variant's loss was no number, -1 for none.
    """

    def __init__(self, variants: int, device: str) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._seen = np.zeros(variants, np.int64)
        self._device = device
        self.broken = torch.full((variants,), -1, device=device)

    def add(self, members: list[int], parts: dict[str, torch.Tensor], size: int, number: int) -> None:
        index = torch.tensor(members, device=self._device)
        for name, values in parts.items():
            total = self._sums.setdefault(name, torch.zeros(len(self._seen), device=self._device))
            total.index_add_(0, index, values.detach().float(), alpha=size)
        first = self.broken[index]
        self.broken[index] = torch.where((first < 0) & ~parts["loss"].detach().isfinite(), number, first)
        self._seen[members] += size

    def means(self, member: int) -> dict[str, float]:
        return {name: float(values[member]) / int(self._seen[member]) for name, values in self._sums.items()}


def _of_one_size(drawn: dict[int, _Drawn]) -> list[list[int]]:
    """The variants of a step, together where their batches are of one size."""
    groups: dict[int, list[int]] = {}
    for i, (batch, _) in drawn.items():
        groups.setdefault(len(batch.rows), []).append(i)
    return list(groups.values())


def _stacked(samples: list[Sample]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of several samples stacked, and for vmap where: None for a tensor that is the same one in all."""
    fields: dict[str, Any] = {}
    dims: dict[str, Any] = {}
    for field in dataclasses.fields(Sample):
        values = [getattr(sample, field.name) for sample in samples]
        if isinstance(values[0], dict):
            pairs = {name: _stack([value[name] for value in values]) for name in values[0]}
            fields[field.name] = {name: tensor for name, (tensor, _) in pairs.items()}
            dims[field.name] = {name: dim for name, (_, dim) in pairs.items()}
        else:
            fields[field.name], dims[field.name] = _stack(values)
    # What is drawn for each place of a mask is each variant's own, even if their masks are one.
    fields["kept"], dims["kept"] = torch.stack([sample.kept for sample in samples]), 0
    return fields, dims


def _stack(tensors: list[torch.Tensor]) -> tuple[torch.Tensor, int | None]:
    if all(tensor is tensors[0] for tensor in tensors):
        return tensors[0], None
    return torch.stack(tensors), 0
