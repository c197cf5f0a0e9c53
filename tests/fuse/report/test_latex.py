"""LaTeX: whatever names hold, it compiles, and nothing runs over the line."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mmcache.fuse.report import make_report, render
from mmcache.fuse.report.formats.latex import abbreviations, escape

NASTY = r"a_b & 50% #1 $x^2$ {~} \input{/etc/passwd} <|> \"`' é ñ – ± † 漢 ŋ" + "\n\n"
DOCUMENT = r"""\documentclass{article}
\usepackage{booktabs,graphicx}
\begin{document}
\input{report.tex}
\end{document}
"""


def test_special_characters_are_escaped() -> None:
    assert escape("50 % of a_b & #1") == r"50 \% of a\_b \& \#1"
    assert escape("\\input{x}\n$y$") == r"\textbackslash{}input\{x\} \$y\$"
    assert escape("é ± 漢\x07") == r"é $\pm$ ??"
    bare = re.sub(r"\\text\w+\{\}|\\[%&#_${}]|\$\\pm\$|\$\^\\dagger\$", "", escape(NASTY))
    assert not set(bare) & set("\\{}$&#_%^~<>|")


def test_modalities_are_told_by_few_letters() -> None:
    assert abbreviations(["audio", "flow", "rgb"]) == {"audio": "A", "flow": "F", "rgb": "R"}
    assert abbreviations(["depth", "dots", "rgb"]) == {"depth": "De", "dots": "Do", "rgb": "R"}


def compiled(text: str, folder: Path) -> str:
    """The log of a compiler that stops at the first error."""
    (folder / "report.tex").write_text(text)
    (folder / "document.tex").write_text(DOCUMENT)
    if shutil.which("pdflatex"):
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "document.tex"]
        found = subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True, text=True)
        if not found.stdout.strip():
            pytest.skip("this LaTeX has no booktabs (Debian: texlive-latex-recommended)")
    elif shutil.which("tectonic"):
        command = ["tectonic", "--untrusted", "--keep-logs", "document.tex"]
    else:
        pytest.skip("no LaTeX here: neither pdflatex nor tectonic (Debian: texlive-latex-recommended)")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=120)
    log = (folder / "document.log").read_text(errors="replace")
    assert done.returncode == 0, log[-3000:]
    assert (folder / "document.pdf").stat().st_size > 10_000
    return log


def test_reports_compile_and_fit_the_line(many_runs: Path, write_run: Callable[..., Path], tmp_path: Path) -> None:
    """Two, three and four modalities, names of every kind, published tables, and more methods than a page has lines."""
    write_run("nasty", "mmg", modalities=("rgb", "a_b&c"), anchor=NASTY, dataset="50% {own}", tasks={"ta_sk": 3})
    write_run("nasty-too", "mmg", modalities=("rgb", "a_b&c"), dataset="50% {own}", tasks={"ta_sk": 3})
    write_run("published", "karmma", modalities=("audio", "flow", "rgb"), tasks={"verb": 97, "noun": 300})
    for i in range(20):
        four = ("depth", "ir", "rgb", "skeleton")
        write_run(f"many-{i}", "mmt", 0, four, {"action": 9}, n=20, lacking=0, dataset="ntu60", lr=0.001 * (i + 1))
    report = make_report([many_runs, tmp_path / "runs"], title=NASTY)
    log = compiled(render(report, "latex"), tmp_path)
    assert "Overfull" not in log
    assert "multiply defined" not in log
    assert "Float too large" not in log
