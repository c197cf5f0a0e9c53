"""What it costs to train from the store: a step that reads its batch, over the same step on ready tensors in RAM.

Both take the step of `mmcache fuse --strategy karmma` (its model, losses, clipping and optimiser, from the run's own
training loop) on a store of 2,000 segments, 3 modalities, 100 tokens of 384 numbers. From the store a step begins with
row numbers: its tokens are gathered and made float32, its keep masks drawn, its teacher's logits looked up. The
ceiling begins with all of that done, its float32 tensors in RAM.

Short blocks of the one and of the other kind alternate, so that what else the machine does falls on both, and the
figure is the median of their ratios. The ratio of processor time stands beside it: steadier on a busy machine.
The teacher's logits are random numbers, which cost as much to look up.

    make bench-step
"""

import argparse
import copy
import dataclasses
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from harness import record
from synthetic import MODALITIES, Shape, random_teacher, write_store

from mmcache.fuse.network.passes import Sample
from mmcache.fuse.options.resolve import resolve_options
from mmcache.fuse.runs.folder import RunFolder
from mmcache.fuse.runs.progress import Silent
from mmcache.fuse.training.loop import Training
from mmcache.store import FeatureStore

SEGMENTS, TOKENS, WIDTH = 2000, 100, 384
BLOCKS, STEPS = 9, 3
AIM = 1.05


class Cost(NamedTuple):
    """Of one step: seconds on the clock, and of processor time in all threads, which other programs hardly change."""

    seconds: float
    cpu_seconds: float


def begin(store: FeatureStore, folder: Path, resident: str, precision: str, device: str) -> Training:
    options = {"store": store.path, "k": TOKENS, "resident": resident, "precision": precision, "device": device}
    resolved = resolve_options("karmma", {"bench": {**options, "out": folder}})
    run_folder = RunFolder(folder, "random teacher")
    return Training(resolved, store, list(MODALITIES), run_folder, lambda *_: random_teacher(store), device, Silent())


def endless(training: Training) -> Iterator[Sample]:
    """The samples of one epoch after another, as a run gets them from the store."""
    for epoch in itertools.count():
        for batch, kept in training.batches.draw(epoch):
            if len(batch.rows) == training.options.optimiser.batch_size:  # the last one of an epoch is a smaller step
                yield training.trained.sample(batch, kept, epoch)


def step(training: Training, sample: Sample) -> None:
    """One step of the optimiser, of an epoch well past the first."""
    training.optimiser.zero_grad(set_to_none=True)
    parts = training.trained.parts(sample, 50, training.autocast)
    weights = {term.name: term.weight for term in training.trained.terms}
    training.trained.weigh(parts, weights)["loss"].backward()
    training._step(2000, 1)


def in_ram(sample: Sample) -> Sample:
    """A copy with memory of its own, its tokens made float32, which a step from the store does on the way."""
    copied = copy.deepcopy(sample)
    return dataclasses.replace(copied, tokens={name: tokens.float() for name, tokens in copied.tokens.items()})


def measure(training: Training, blocks: int, steps: int) -> list[tuple[Cost, Cost]]:
    """What a step costs from the store, and on ready samples, a pair for each two blocks, the order alternating."""
    training.trained.train()
    stream = endless(training)
    ready = [in_ram(sample) for sample in itertools.islice(stream, steps)]

    def from_store() -> None:
        for sample in itertools.islice(stream, steps):
            step(training, sample)

    def from_ram() -> None:
        for sample in ready:
            step(training, sample)

    from_store(), from_ram()  # what is done but once: threads, buffers, the optimiser's state
    pairs = []
    for block in range(blocks):
        if block % 2:
            ram, store = cost(from_ram, steps), cost(from_store, steps)
        else:
            store, ram = cost(from_store, steps), cost(from_ram, steps)
        pairs.append((store, ram))
    stream.close()
    return pairs


def preparing(training: Training, count: int) -> float:
    """Median seconds of processor time for one sample, from row numbers to what the losses read."""
    stream, out = endless(training), []
    next(stream)
    for _ in range(count):
        began = time.process_time()
        next(stream)
        out.append(time.process_time() - began)
    stream.close()
    return statistics.median(out)


def cost(work: Callable[[], Any], steps: int) -> Cost:
    wait: Callable[[], Any] = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()
    began, cpu = time.perf_counter(), time.process_time()
    work()
    wait()
    return Cost((time.perf_counter() - began) / steps, (time.process_time() - cpu) / steps)


def row(resident: str, training: Training, pairs: list[tuple[Cost, Cost]], steps: int) -> dict[str, Any]:
    options, cpu_step = training.options, statistics.median(ram.cpu_seconds for _, ram in pairs)
    prepared = preparing(training, 20)
    ratios = [store.seconds / ram.seconds for store, ram in pairs]
    return {
        "name": f"karmma step, store in {resident}",
        "segments": SEGMENTS,
        "modalities": len(MODALITIES),
        "k": TOKENS,
        "d": WIDTH,
        "batch": options.optimiser.batch_size,
        "device": str(training.loader.device),
        "precision": "bf16" if training.autocast else "fp32",
        "threads": torch.get_num_threads(),
        "steps_a_block": steps,
        "repeats": len(pairs),
        "median_s": statistics.median(store.seconds for store, _ in pairs),
        "min_s": min(store.seconds for store, _ in pairs),
        "max_s": max(store.seconds for store, _ in pairs),
        "ceiling_s": statistics.median(ram.seconds for _, ram in pairs),
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "cpu_ratio": statistics.median(store.cpu_seconds / ram.cpu_seconds for store, ram in pairs),
        "prepare_cpu_s": prepared,
        "prepare_share": prepared / cpu_step,
        "aim": AIM,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--blocks", type=int, default=BLOCKS, help="pairs of blocks; at least 5 to be worth a row")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps a block")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--dry-run", action="store_true", help="print, and keep no row")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        write_store(Path(folder) / "bench.zarr", Shape(SEGMENTS, TOKENS, WIDTH))
        store = FeatureStore.open(Path(folder) / "bench.zarr")
        for resident in ("gpu", "ram", "disk") if arguments.device.startswith("cuda") else ("ram", "disk"):
            training = begin(store, Path(folder) / resident, resident, arguments.precision, arguments.device)
            pairs = measure(training, arguments.blocks, arguments.steps)
            rows.append(row(resident, training, pairs, arguments.steps))
    for one in rows:
        print(f"{one['name']}: {1e3 * one['median_s']:.2f} ms, on ready tensors {1e3 * one['ceiling_s']:.2f} ms")
        spread = f"{one['ratio_min']:.3f} to {one['ratio_max']:.3f}"
        print(f"    {one['ratio']:.3f} times ({spread}); of processor time {one['cpu_ratio']:.3f} times; aim {AIM}")
        alone = f"{1e3 * one['prepare_cpu_s']:.1f} ms, {100 * one['prepare_share']:.1f} % of a step"
        print(f"    processor time of making a batch ready: {alone}")
    if not arguments.dry_run:
        print(f"Rows: {record('step', rows)}")


if __name__ == "__main__":
    main()
