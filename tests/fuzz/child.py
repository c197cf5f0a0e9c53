"""Feed one reader its damaged inputs, in a process of its own, which a reader may kill or hang.

What becomes of each input is a line on standard output, flushed at once: `begin`, then `read`, `refused`, or a fault.
"""

import argparse
import gc
import itertools
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from target import Target
from targets import targets_of

READ, REFUSED = "read", "refused"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("module", help="one of targets.MODULES")
    parser.add_argument("target", help="the name of a target there")
    parser.add_argument("--inputs", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--memory", type=int, required=True, help="MiB over what the sound input takes")
    parser.add_argument("--folder", type=Path, required=True, help="an empty one to work in")
    parser.add_argument("--keep", type=Path, required=True, help="where inputs that lead to faults are kept")
    options = parser.parse_args()
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a reader prints is not ours
    warnings.simplefilter("ignore")
    options.keep.mkdir(parents=True, exist_ok=True)
    target = targets_of(options.module)[options.target]
    fuzz(target, options, lambda line: print(line, file=out))


def fuzz(target: Target, options: argparse.Namespace, say: Callable[[str], None]) -> None:
    """Read the sound input, then the damaged ones. The damaged file stays in place while it is read."""
    folder = options.folder
    files = target.write(folder)
    sound = {path: path.read_bytes() for path in files}
    _reset_peak()
    before = _peak()
    if any(_zero(array) for array in target.read(folder)):
        raise AssertionError(f"the sound input of {target.name} is read as zeros")
    allowed = _peak() - before + (options.memory << 20)
    seen: set[str] = set()
    clock = itertools.count(time.time_ns(), 1_000_000)  # readers tell by its time that a file has changed

    @seed(options.seed)
    @settings(
        max_examples=options.inputs,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(files), target.edits)
    def one(path: Path, edit: Callable[[bytes], bytes]) -> None:
        damaged = edit(sound[path])
        path.write_bytes(damaged)
        stamp = next(clock)
        os.utime(path, ns=(stamp, stamp))
        say(f"begin {path.relative_to(folder)}")
        outcome = _outcome(target, folder, allowed)
        if outcome not in (READ, REFUSED) and outcome not in seen:
            seen.add(outcome)
            (options.keep / f"{outcome.split()[0]}-{options.seed}-{len(seen)}-{path.name}").write_bytes(damaged)
        say(outcome)
        path.write_bytes(sound[path])

    one()
    say("done")


def _outcome(target: Target, folder: Path, allowed: int) -> str:
    gc.collect(0)
    _reset_peak()
    before = _peak()
    try:
        zeros = [_zero(array) for array in target.read(folder)]
    except target.refusals as error:
        outcome = REFUSED if str(error).strip() else "traceback an empty message"
    except Exception as error:
        frame = traceback.extract_tb(sys.exc_info()[2])[-1]
        where = f"{Path(frame.filename).name}:{frame.lineno}"
        outcome = f"traceback {type(error).__name__} at {where}: {' '.join(str(error).split())[:200]}"
    else:
        outcome = "zeros" if any(zeros) else READ
    taken = _peak() - before
    if taken > allowed:
        return f"memory {taken / 2**30:.1f} GiB ({outcome})"
    return outcome


def _zero(array: np.ndarray) -> bool:
    return array.size > 0 and array.dtype.kind in "iuf" and not array.any()


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """The most memory that this process has held since the last reset."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


if __name__ == "__main__":
    main()
