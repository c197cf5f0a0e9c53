"""What a step of training costs, how much of the machine it uses, and what packing variants gains.

Two networks of the KARMMA paper on random tokens: the student (d = 384, 1 layer) and the teacher (d = 768, 2 layers),
3 modalities of k = 300 tokens, on a GPU; smaller ones on a CPU. For each, the step of a run alone (through the loop of
`mmcache fuse`, tokens resident), its share of the matrix products that the device does per second (measured in the same
run, square matrices, in the step's own precision), and the step of 4, 16 and 64 variants trained as one.

    make bench-fuse
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from harness import record
from synthetic import MODALITIES, Shape, random_teacher, write_store
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mmcache.fuse.options.resolve import resolve_options
from mmcache.fuse.packing.training import PackedTraining
from mmcache.fuse.runs.folder import RunFolder
from mmcache.fuse.runs.progress import Silent
from mmcache.fuse.training.loop import Training
from mmcache.store import FeatureStore
from mmcache.store.load.loader import Loader

REPEATS, VARIANTS = 5, (1, 4, 16, 64)


class Network(NamedTuple):
    """A network and what it is fed."""

    name: str
    strategy: str
    tokens: int
    width: int
    depth: int
    heads: int
    batch: int
    variants: int  # as many as are packed at most


PAPER = (
    Network("student", "karmma", 300, 384, 1, 8, 32, 64),
    Network("teacher", "karmma-teacher", 300, 768, 2, 8, 32, 4),
)
SMALL = (
    Network("small student", "karmma", 24, 96, 1, 4, 32, 16),
    Network("tiny student", "karmma", 8, 32, 1, 4, 16, 64),
)
ENCODER_WIDTH, SEGMENTS = 384, 600


def seconds_of(work: Callable[[], Any], repeats: int = REPEATS) -> float:
    """The median, each waiting for the device."""
    wait: Callable[[], Any] = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    work()
    taken = []
    for _ in range(repeats):
        wait()
        began = time.perf_counter()
        work()
        wait()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def matmul_rate(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of one large square product."""
    size = 8192 if device.startswith("cuda") else 2048
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / seconds_of(lambda: a @ b, 2 * REPEATS)


def trainings(network: Network, store: FeatureStore, folder: Path, device: str, count: int) -> list[Training]:
    """So many runs of one shape that differ in seed and learning rate, on one set of resident tokens."""
    loader, made = None, []
    for i in range(count):
        out = folder / f"{network.name}-{count}-{i}"
        options = {
            "store": store.path, "out": out, "seed": i, "lr": 1e-4 * (1 + i),
            "k": network.tokens, "width": network.width, "depth": network.depth, "heads": network.heads,
            "batch_size": network.batch, "device": device, "epochs": 10,
            "resident": "gpu" if device.startswith("cuda") else "ram",
        }  # fmt: skip
        resolved = resolve_options(network.strategy, {"bench": options})
        if loader is None:
            sources = [f"{m}/{e}" for m, e in map(store.resolve, MODALITIES)]
            loader = Loader(
                store, sources, store.rows(), k=network.tokens, resident=resolved.run.resident, device=device
            )
        folder_of_run = RunFolder(out, "random teacher")
        signals = random_teacher(store) if resolved.asks_teacher else None
        gather = (lambda *_, signals=signals: signals) if signals is not None else None
        names = list(MODALITIES)
        made.append(Training(resolved, store, names, folder_of_run, gather, device, Silent(), None, loader))
    return made


def flops_of_a_step(training: Training) -> int:
    """Of the matrix products, forwards and backwards, of one full batch."""
    batch, kept = next(iter(training.batches.draw(0)))
    training.trained.train()
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH):  # the fused attention of CPUs is not in its tables
        training.trained.losses(batch, kept, 0)["loss"].backward()
    training.optimiser.zero_grad(set_to_none=True)
    return int(counter.get_total_flops())


def an_epoch_of(members: list[Training]) -> Callable[[], Any]:
    if len(members) == 1:
        return lambda: members[0]._train_epoch(0)
    pack, everyone = PackedTraining(members), list(range(len(members)))
    return lambda: pack._train_epoch(0, everyone)


def measure(network: Network, store: FeatureStore, folder: Path, device: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    alone = None
    for count in [n for n in VARIANTS if n <= network.variants]:
        members = trainings(network, store, folder, device, count)
        first = members[0]
        if count == 1:
            flops, bf16 = flops_of_a_step(first), first.autocast
            rate = matmul_rate(device, torch.bfloat16 if bf16 else torch.float32)
        seconds = seconds_of(an_epoch_of(members))
        segments = count * len(first.rows.train)
        step = seconds / first.steps_per_epoch
        alone = alone or step
        rows.append(
            {
                "name": f"{network.name}, {count} as one" if count > 1 else f"{network.name} alone",
                **{k: v for k, v in network._asdict().items() if k not in ("name", "variants")},
                "variants": count,
                "device": device,
                "precision": "bf16" if bf16 else "fp32",
                "threads": torch.get_num_threads(),
                "repeats": REPEATS,
                "step_s": step,
                "segments_s": segments / seconds,
                "epoch_of_10000_s": 10_000 * seconds / segments * count,
                "flops_a_variant": flops,
                "matmul_flops_s": rate,
                "utilisation": count * flops / step / rate,
                "gain": count * alone / step,
            }
        )
        print(
            f"{rows[-1]['name']:<26} step {1e3 * step:8.2f} ms  {rows[-1]['segments_s']:9.0f} segments/s  "
            f"{100 * rows[-1]['utilisation']:5.1f} % of {rate / 1e12:.2f} TFLOP/s  {rows[-1]['gain']:5.2f} x alone",
            flush=True,
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--dry-run", action="store_true", help="print, and keep no row")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = []
    for network in PAPER if arguments.device.startswith("cuda") else SMALL:
        with tempfile.TemporaryDirectory() as folder:
            write_store(Path(folder) / "bench.zarr", Shape(SEGMENTS, network.tokens, ENCODER_WIDTH))
            store = FeatureStore.open(Path(folder) / "bench.zarr")
            rows += measure(network, store, Path(folder), arguments.device)
    if not arguments.dry_run:
        print(f"Rows: {record('fuse', rows)}")


if __name__ == "__main__":
    main()
