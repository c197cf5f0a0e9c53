"""Damage what every reader of user files reads, and count what becomes of it: `make fuzz`.

Each reader gets its inputs in a process of its own. A fault is a traceback, a dead process, more than 10 s for one
input, more than 1 GiB over what the sound input takes, or an array of zeros that nothing is said about. Damaged inputs
that led to one are kept. The exit code is 1 where there is any fault.
"""

import argparse
import collections
import dataclasses
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from targets import MODULES, targets_of

_START_S = 120.0  # imports, and the audio input
_IN_RAM = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # readers that write wait for no disk
_FAULTS = ("traceback", "death", "hang", "memory", "zeros")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", help="readers to fuzz; all without any")
    parser.add_argument("--inputs", type=int, default=500, help="damaged inputs a reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=540, help="after this many seconds no more inputs are read")
    parser.add_argument("--patience", type=float, default=10, help="seconds that one input may take")
    parser.add_argument("--memory", type=int, default=1024, help="MiB that it may take over the sound input's")
    parser.add_argument("--modules", nargs="+", default=MODULES, help="where readers are listed")
    parser.add_argument("--keep", type=Path, default=Path(".fuzz"), help="where inputs that lead to faults are kept")
    options = parser.parse_args()
    modules = {name: module for module in options.modules for name in targets_of(module)}
    unknown = sorted(set(options.targets) - set(modules))
    if unknown:
        parser.error(f"unknown target {unknown[0]}; there are: {', '.join(modules)}")
    began = time.monotonic()
    until = began + options.seconds
    rows = [_Row(name, modules[name], options, until) for name in options.targets or modules]
    print(f"{'reader':26} {'inputs':>6} {'read':>6} {'refused':>8}  " + "  ".join(f"{f:>9}" for f in _FAULTS))
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        jobs = [pool.submit(row.fuzz) for row in rows]
        for row, job in zip(rows, jobs, strict=True):
            job.result()
            row.show()
    totals = sum((row.counts for row in rows), collections.Counter[str]())
    bad = sum(totals[fault] for fault in _FAULTS)
    print(f"{len(rows)} readers, {sum(totals.values())} inputs in {time.monotonic() - began:.0f} s:", end=" ")
    print(f"{totals['read']} read, {totals['refused']} refused, {bad} faults")
    if bad:
        print(f"inputs that lead to them are in {options.keep}")
    short = [row.name for row in rows if row.left > 0]
    if short:
        print(f"the time was up before all inputs of {', '.join(short)}")
    return 1 if bad or short else 0


@dataclasses.dataclass
class _Row:
    """One reader, and what became of its inputs."""

    name: str
    module: str
    options: argparse.Namespace
    until: float
    counts: "collections.Counter[str]" = dataclasses.field(default_factory=collections.Counter)
    faults: "collections.Counter[str]" = dataclasses.field(default_factory=collections.Counter)

    @property
    def left(self) -> int:
        return self.options.inputs - sum(self.counts.values())

    def fuzz(self) -> None:
        """Read inputs until there are enough. Another child follows one that died, hung, or ran out of ideas."""
        child = 0
        while self.left > 0 and time.monotonic() < self.until:
            before = self.left
            with tempfile.TemporaryDirectory(prefix="fuzz-", dir=_IN_RAM) as folder:
                self._one_child(Path(folder), self.options.seed * 1000 + child)
            child += 1
            if self.left == before:
                return

    def show(self) -> None:
        figures = "  ".join(f"{self.counts[fault]:9}" for fault in _FAULTS)
        total, counts = sum(self.counts.values()), self.counts
        print(f"{self.name:26} {total:6} {counts['read']:6} {counts['refused']:8}  {figures}", flush=True)
        for fault, times in self.faults.most_common(8):
            print(f"    {times:4} x {fault}", flush=True)

    def _one_child(self, folder: Path, seed: int) -> None:
        command = [sys.executable, str(Path(__file__).with_name("child.py")), self.module, self.name]
        command += ["--inputs", str(self.left), "--seed", str(seed), "--memory", str(self.options.memory)]
        command += ["--folder", str(folder), "--keep", str(self.options.keep / self.name)]
        with tempfile.TemporaryFile() as errors:
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=environment)
            try:
                damaged, hung = self._listen(process)
            finally:
                process.kill()
                code = process.wait()
            if damaged == "done" or time.monotonic() >= self.until:
                return
            if damaged is None:
                errors.seek(0)
                said = errors.read().decode(errors="replace").strip().splitlines()[-1:]
                self._fault("death", f"death before the first input: {' '.join(said)[:300]}")
                return
            fault = "hang" if hung else "death"
            detail = f"more than {self.options.patience:.0f} s" if hung else f"exit code {code}"
            self._fault(fault, f"{fault}: {detail}")
            shutil.copyfile(folder / damaged, self.options.keep / self.name / f"{fault}-{seed}-{Path(damaged).name}")

    def _listen(self, process: "subprocess.Popen[bytes]") -> tuple[str | None, bool]:
        """(the file that was damaged last, 'done', or None before the first; whether the reader took too long)."""
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        damaged, pending = None, b""
        with selectors.DefaultSelector() as watcher, process.stdout as output:
            watcher.register(output, selectors.EVENT_READ)
            while time.monotonic() < self.until:
                if not watcher.select(_START_S if damaged is None else self.options.patience):
                    return damaged, True
                piece = output.read()
                if not piece:
                    return damaged, False
                *lines, pending = (pending + piece).split(b"\n")
                for line in map(bytes.decode, lines):
                    outcome, _, detail = line.partition(" ")
                    if outcome == "done":
                        return outcome, False
                    if outcome == "begin":
                        damaged = detail
                    elif outcome in ("read", "refused"):
                        self.counts[outcome] += 1
                    else:
                        self._fault(outcome, line)
        return damaged, False

    def _fault(self, outcome: str, line: str) -> None:
        self.counts[outcome] += 1
        self.faults[line] += 1


if __name__ == "__main__":
    sys.exit(main())
