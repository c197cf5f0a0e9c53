r"""A report as LaTeX: a file of booktabs tables to \input, which needs \usepackage{booktabs,graphicx} and no more."""

import re
import unicodedata
from collections.abc import Sequence

from mmcache.fuse.report.blocks import Report, SectionPart
from mmcache.fuse.report.tables import Cell, Kind, Row, Table
from mmcache.store.ground.text import printable

AT_ONCE = 8  # columns of figures side by side; more go below
_LINES = 42  # of a table that fits a page

_HEAD = r"""% Needs \usepackage{booktabs,graphicx}. \input this file, or copy the tables from it.
"""
_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "'": "'", "`": r"\textasciigrave{}", "–": "--", "±": r"$\pm$", "†": r"$^\dagger$",
}  # fmt: skip
# Grave, acute, circumflex, tilde, diaeresis, ring and caron, which every font encoding has.
_ACCENTS = "\u0300\u0301\u0302\u0303\u0308\u030a\u030c"


def to_latex(report: Report) -> str:
    """All tables of figures, each in a table environment with caption and label."""
    out = [_HEAD + f"% {printable(' '.join(report.title.split()))}"]
    for i, part in enumerate(report.parts, 1):
        letters = abbreviations(part.section.modalities)
        for task in part.tasks:
            for j, block in enumerate(task.blocks, 1):
                for k, table in enumerate(block.tables, 1):
                    title = " ".join(filter(None, (f"{block.title}.", f"{table.title}." if table.title else "")))
                    label = f"tab:report-{i}-{re.sub('[^A-Za-z0-9]+', '-', task.task)}-{j}-{k}"
                    out += _floats(table, f"{task.task}: {title}", label, part, letters)
            out.append(r"\clearpage")  # LaTeX holds back a limited number of tables
    return "\n\n".join(out) + "\n"


def escape(text: str) -> str:
    """Text that LaTeX sets as it is; what its usual fonts have not is set as a question mark."""
    return "".join(_set(character) for character in " ".join(text.split()))


def _set(character: str) -> str:
    if character in _SPECIAL:
        return _SPECIAL[character]
    base, *marks = list(unicodedata.normalize("NFD", character))
    known = base.isascii() and base.isprintable() and (not marks or (base.isalpha() and marks[0] in _ACCENTS))
    return character if known and len(marks) < 2 else "?"


def abbreviations(modalities: Sequence[str]) -> dict[str, str]:
    """Modality -> the fewest first letters that no other one shares, the first one large."""
    out = {}
    for name in modalities:
        length = 1
        while length < len(name) and any(o != name and o[:length].lower() == name[:length].lower() for o in modalities):
            length += 1
        out[name] = name[:length][:1].upper() + name[:length][1:]
    return out


def _floats(table: Table, title: str, label: str, part: SectionPart, letters: dict[str, str]) -> list[str]:
    """A table environment, or several where the table is cut into pieces that together are too high for a page."""
    section = part.section
    subsets = {"+".join(sorted(n)): n for n in _subsets_in(table.columns, section.modalities)}
    words = [f"{part.title}; {section.n} segments."]
    if table.spreads:
        words.append("Mean ± standard deviation over seeds.")
    if subsets:
        words.append(", ".join(f"{short}: {name}" for name, short in letters.items()) + ".")
    words += table.notes
    columns = [_column(column, subsets, letters) for column in table.columns]
    pieces = _pieces(table, columns)
    if len(pieces) * (len(table.rows) + 3) <= _LINES:
        return [_float(" ".join([title, *words]), label, "\n\\\\[1ex]\n".join(pieces))]
    out = [_float(" ".join([title, *words]), label, pieces[0])]
    more = [f"{title} Continued ({i} of {len(pieces)})." for i in range(2, len(pieces) + 1)]
    return out + [
        _float(m, f"{label}-{i}", piece) for i, (m, piece) in enumerate(zip(more, pieces[1:], strict=True), 2)
    ]


def _float(caption: str, label: str, body: str) -> str:
    head = (r"\begin{table}[htbp]", r"\centering\small", rf"\caption{{{escape(caption)}}}", rf"\label{{{label}}}")
    return "\n".join((*head, r"\smallskip", body, r"\end{table}"))


def _subsets_in(columns: Sequence[str], modalities: Sequence[str]) -> list[frozenset[str]]:
    return [frozenset(c.split("+")) for c in columns if set(c.split("+")) <= set(modalities)]


def _column(column: str, subsets: dict[str, frozenset[str]], letters: dict[str, str]) -> str:
    if column not in subsets:
        return escape(column)
    short = [letters[name] for name in sorted(subsets[column])]
    return escape(("" if all(len(part) == 1 for part in short) else "+").join(short))


def _pieces(table: Table, columns: Sequence[str]) -> list[str]:
    """The table cut into tabulars of at most AT_ONCE columns of figures, none wider than the line."""
    if table.text_columns:
        return [_words(table, columns)]
    count = len(columns) - 1
    pieces = -(-count // AT_ONCE)
    size = -(-count // pieces)
    out = []
    for start in range(0, count, size):
        which = range(start, min(start + size, count))
        tabular = _tabular(table, columns, which, "@{}l" + "r" * len(which) + "@{}")
        out.append(rf"\resizebox{{\ifdim\width>\linewidth\linewidth\else\width\fi}}{{!}}{{{tabular}}}")
    return out


def _words(table: Table, columns: Sequence[str]) -> str:
    """A table of words, whose lines are broken within its columns, as wide as the line."""
    share = f"{1 / len(columns):.3f}"
    preamble = "@{}" + rf"p{{\dimexpr{share}\linewidth-2\tabcolsep}}" * len(columns)
    lines = [rf"\begin{{tabular}}{{{preamble}}}", r"\toprule", " & ".join(columns) + r" \\", r"\midrule"]
    for row in table.rows:
        cells = (_label(row), *(escape(cell.text) for cell in row.cells))
        lines.append(" & ".join(rf"{{\raggedright {cell}\par}}" for cell in cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _tabular(table: Table, columns: Sequence[str], which: range, preamble: str) -> str:
    lines = [rf"\begin{{tabular}}{{{preamble}}}", r"\toprule"]
    lines += [" & ".join([columns[0], *(columns[i + 1] for i in which)]) + r" \\", r"\midrule"]
    kinds = [row.kind for row in table.rows]
    for i, row in enumerate(table.rows):
        if i and kinds[i] != kinds[i - 1]:
            lines.append(r"\midrule")
        lines.append(" & ".join([_label(row), *(_cell(row.cells[j]) for j in which)]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _label(row: Row) -> str:
    return escape(row.label) if row.kind == Kind.OURS else rf"\textit{{{escape(row.label)}}}"


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    if cell.best:
        text = rf"\textbf{{{text}}}"
    spread = rf"\,{{\scriptsize$\pm$\,{escape(cell.spread)}}}" if cell.spread else ""
    return text + spread + (r"$^\dagger$" if cell.beyond else "")
