"""What every benchmark shares: medians of repeated runs, and rows of JSONL that say where they come from.

A figure is worth what is written beside it, so each row carries the machine, the versions and the commit, the
median, the fastest and the slowest run, and the ceiling that was measured in the same run.
"""

import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
REPEATS = 5


def timed(work: Callable[[], Any], repeats: int = REPEATS, warm_up: int = 1) -> dict[str, float]:
    """Seconds of `work`, run `repeats` times after `warm_up` runs that do not count."""
    for _ in range(warm_up):
        work()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return {"median_s": statistics.median(seconds), "min_s": min(seconds), "max_s": max(seconds), "repeats": repeats}


def machine() -> dict[str, Any]:
    """Device, versions and commit."""
    import torch

    root = Path(__file__).parent
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=root, capture_output=True, text=True)
    return {
        "date": datetime.date.today().isoformat(),
        "commit": commit.stdout.strip() or None,
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "versions": {name: importlib.metadata.version(name) for name in ("mmcache", "torch", "zarr", "ray", "av")},
    }


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def record(benchmark: str, rows: list[dict[str, Any]]) -> Path:
    """Append rows to results/<benchmark>.jsonl."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{benchmark}.jsonl"
    where = machine()
    with open(path, "a") as file:
        for row in rows:
            file.write(json.dumps({"benchmark": benchmark, **row, **where}) + "\n")
    return path
