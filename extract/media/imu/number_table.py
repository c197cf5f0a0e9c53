"""Numbers from a CSV of a sensor, fast: an hour at 200 Hz has 720,000 lines.

pandas parses the cells, after the separators of every line were counted: it would cut off, fill up or shift the cells
of lines that are longer or shorter than the header.
"""

import csv
import dataclasses
import io
import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmcache.extract.media.base.requests import MediaError
from mmcache.store.files.csv_table import read_csv_table
from mmcache.store.files.user_file import read_regular
from mmcache.store.ground.errors import ConfigError
from mmcache.store.ground.text import excerpt, printable

_MOST_BYTES = 1 << 30
_EMPTY = ("", "nan", "NaN", "NAN", "NA", "N/A", "n/a", "null", "NULL", "None")


@dataclasses.dataclass(frozen=True)
class NumberTable:
    """A CSV whose lines all have the header's number of cells; cells are parsed on demand.

    Attributes:
        name: of the file, for messages.
        header: the names of the columns.
        note: what was left out, if anything.
    """

    name: str
    header: list[str]
    note: str | None
    _body: bytes
    _separator: str
    _lines: NDArray[np.int64]
    _quoted: pd.DataFrame | None

    def line_of(self, row: int) -> int:
        """The line of the file that a row is on; the header is on line 1."""
        return int(self._lines[row])

    def numbers(self, columns: Sequence[int], infinite: bool = False) -> NDArray[np.float64]:
        """(n, len(columns)) numbers, NaN where a cell is empty.

        Args:
            infinite: whether infinity is allowed.

        Raises:
            MediaError: a cell is no number; the message has its line.
        """
        table = self._cells(columns)
        out = np.empty((len(table), len(columns)))
        for place, at in enumerate(columns):
            cells = table[at]
            numeric = pd.api.types.is_numeric_dtype(cells) and not pd.api.types.is_bool_dtype(cells)
            values = (cells if numeric else pd.to_numeric(cells, errors="coerce")).to_numpy(np.float64, na_value=np.nan)
            wrong = np.isinf(values) & (not infinite)
            if not numeric:
                wrong |= np.isnan(values) & cells.notna().to_numpy() & ~cells.isin(_EMPTY).to_numpy()
            if wrong.any():
                row = int(np.argmax(wrong))
                raise MediaError(self._no_number(row, at, cells.iloc[row]))
            out[:, place] = values
        return out

    def _cells(self, columns: Sequence[int]) -> pd.DataFrame:
        """The columns, each named by its place."""
        if self._quoted is not None:
            return self._quoted.iloc[:, list(columns)].set_axis(list(columns), axis=1)
        if not len(self._lines):
            return pd.DataFrame({at: pd.Series(dtype=float) for at in columns})
        try:
            return pd.read_csv(
                io.BytesIO(self._body),
                sep=self._separator,
                header=None,
                usecols=sorted(set(columns)),
                low_memory=False,
                quoting=csv.QUOTE_NONE,
                na_values=list(_EMPTY),
                keep_default_na=False,
                skipinitialspace=True,
                encoding_errors="replace",
            )
        except (ValueError, OSError) as error:  # ParserError is a ValueError
            raise MediaError(
                f"{self.name} is not a readable CSV: {printable(' '.join(str(error).split())[:200])}"
            ) from error

    def _no_number(self, row: int, at: int, cell: object) -> str:
        text = str(cell)
        hint = ""
        if re.fullmatch(r"[-+]?\d+,\d+", text):
            hint = "; numbers are written with a point, such as 9.81"
        elif re.search(r"\d:\d", text):
            hint = "; times are read as numbers, such as seconds: convert dates and times of day"
        elif row == 0:
            hint = ". Numbers begin on the second line; if it holds units, write them into the names of the columns"
        return (
            f"{self.name} line {self.line_of(row)}: {excerpt(text)} under {excerpt(self.header[at])} is no number{hint}"
        )


def read_number_table(path: Path) -> NumberTable:
    """Open a CSV of numbers, separated by commas, or by semicolons or tabs where the header has these alone.

    Raises:
        MediaError: it cannot be read, has no header, or a line has more or fewer cells than the header.
    """
    try:
        data = read_regular(path, _MOST_BYTES)
    except FileNotFoundError as error:
        raise MediaError(f"{path.name} is not there") from error
    except OSError as error:
        raise MediaError(f"{path.name} cannot be read: {error.strerror}") from error
    if b"\0" in data:
        kind = "it is UTF-16; save it as UTF-8" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "it holds NUL characters"
        raise MediaError(f"{path.name} is not a readable CSV: {kind}")
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    data = data.removeprefix(b"\xef\xbb\xbf")
    start = len(data) - len(data.lstrip(b"\n"))
    end = data.find(b"\n", start)
    first = data[start : end if end >= 0 else len(data)]
    body = data[end + 1 :] if end >= 0 else b""
    separator = next((each for each in (",", ";", "\t") if each.encode() in first), ",")
    if b'"' in body:
        return _quoted(path, separator)
    header = _header(path, first, separator)
    # Lines of the body count on from the header's.
    lines, body, note = _checked(path.name, body, separator, header, start + 2)
    return NumberTable(path.name, header, note, body, separator, lines, None)


def _header(path: Path, line: bytes, separator: str) -> list[str]:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        text = line.decode("latin-1")  # a degree sign of an old spreadsheet; names are compared by their letters
    names = [name.strip().lstrip("#").strip() for name in next(csv.reader([text], delimiter=separator), [])]
    if not any(names):
        raise MediaError(f"{path.name} is not a readable CSV: No columns in its first line, which must name them")
    if all(_is_number(name) for name in names):
        raise MediaError(
            f"{path.name} has no header: its first line holds numbers, {excerpt(text)}. Write the names of the columns "
            "into the first line, such as timestamp,ax,ay,az,gx,gy,gz"
        )
    for one, other in itertools.combinations(names, 2) if len(names) <= 64 else ():
        if one and one.casefold() == other.casefold():
            raise MediaError(f"{path.name} has two columns named {excerpt(one)}; rename one")
    return names


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _checked(
    name: str, body: bytes, separator: str, header: Sequence[str], first_line: int
) -> tuple[NDArray[np.int64], bytes, str | None]:
    """The line of every row, the body, and a note where its last line is cut off.

    Raises:
        MediaError: a line has more or fewer cells than the header.
    """
    note, cells = None, len(header)
    if body and not body.endswith(b"\n"):
        last = body.rfind(b"\n") + 1
        if body.count(separator.encode(), last) < cells - 1:
            note = f"the last line of {name} is cut off; left out"
            body = body[:last]
        else:
            body += b"\n"
    mark = separator.encode()
    marks = body.translate(None, bytes(set(range(256)) - {ord(separator), ord("\n")}))  # ",,,\n,,,\n": fast
    regular = mark * (cells - 1) + b"\n"
    rows = len(marks) // len(regular)
    if marks == regular * rows:
        return np.arange(rows) + first_line, body, note
    blank = np.array([not line for line in body.split(b"\n")[:-1]])
    counts = np.array([len(line) for line in marks.split(b"\n")[:-1]])
    wrong = (counts != cells - 1) & ~blank
    if wrong.any():
        at = int(np.argmax(wrong))
        more = f" ({int(wrong.sum())} such lines)" if wrong.sum() > 1 else ""
        above = (
            f". The header is the first line, {excerpt(separator.join(header))}; where the names of the columns are "
            "further down, take out the lines above them"
        )
        raise MediaError(
            f"{name} line {first_line + at} has {int(counts[at]) + 1} cells, the header has {cells}{more}: a cell too "
            f"many or too few moves the others to the wrong columns{above if wrong.sum() > len(wrong) / 2 else ''}"
        )
    return np.flatnonzero(~blank) + first_line, body, note


def _quoted(path: Path, separator: str) -> NumberTable:
    """The slow way, for cells in quotes."""
    try:
        table = read_csv_table(path)
    except ConfigError as error:
        raise MediaError(str(error).replace(str(path), path.name)) from error
    lines = table.index.to_numpy(np.int64)
    return NumberTable(path.name, [str(name) for name in table.columns], None, b"", separator, lines, table)
