"""The fuzzer counts every kind of fault. The readers themselves are fuzzed by `make fuzz`."""

import re
import subprocess
import sys
from pathlib import Path

RUN = Path(__file__).with_name("run.py")


def test_every_kind_of_fault_is_found_counted_and_kept(tmp_path: Path) -> None:
    command = [sys.executable, RUN, "--modules", "targets.broken", "--inputs", "2", "--patience", "3", "--memory", "64"]
    ended = subprocess.run([*command, "--keep", tmp_path], capture_output=True, text=True, check=False)
    found = re.findall(r"^(.{26})((?: +\d+){8})$", ended.stdout, re.MULTILINE)
    rows = {name.strip(): [int(figure) for figure in figures.split()] for name, figures in found}
    #                           inputs read refused traceback death hang memory zeros
    assert rows["reads"] == [2, 2, 0, 0, 0, 0, 0, 0]
    assert rows["refuses"] == [2, 0, 2, 0, 0, 0, 0, 0]
    assert rows["says nothing"] == [2, 0, 0, 2, 0, 0, 0, 0], "a refusal without words is none"
    assert rows["raises"] == [2, 0, 0, 2, 0, 0, 0, 0]
    assert rows["dies"] == [2, 0, 0, 0, 2, 0, 0, 0]
    assert rows["hangs"] == [2, 0, 0, 0, 0, 2, 0, 0]
    assert rows["fills memory"] == [2, 0, 0, 0, 0, 0, 2, 0]
    assert rows["gives zeros"] == [2, 0, 0, 0, 0, 0, 0, 2]
    assert "2 x traceback KeyError at broken.py" in ended.stdout
    assert "2 read, 2 refused, 12 faults" in ended.stdout
    assert {path.parent.name for path in tmp_path.rglob("*.bin")} == rows.keys() - {"reads", "refuses"}
    assert ended.returncode == 1


def test_without_faults_the_exit_code_is_0(tmp_path: Path) -> None:
    command = [sys.executable, RUN, "reads", "refuses", "--modules", "targets.broken", "--inputs", "20"]
    ended = subprocess.run([*command, "--keep", tmp_path], capture_output=True, text=True, check=False)
    assert "2 readers, 40 inputs" in ended.stdout
    assert ended.returncode == 0
