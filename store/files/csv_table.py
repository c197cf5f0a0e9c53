"""Read CSV tables: each row must have as many cells as the header, else an error names the line.

pandas shifts all columns by one where every row has one cell more than the header, as tables of R with row names do,
and fills rows that are too short. Both change what a column means, so this module uses Python's csv module.
"""

import csv
import io
import re
from pathlib import Path

import pandas as pd

from mmcache.store.files.text_file import read_text
from mmcache.store.ground.errors import ConfigError
from mmcache.store.ground.text import excerpt

_LIMIT_BYTES = 2 << 30
_CELL_CHARACTERS = 1 << 20
_DELIMITERS = (",", ";", "\t", "|")  # spreadsheets in many languages write semicolons, .tsv files have tabs
_SAYS_DELIMITER = re.compile('"?sep=(.)"?[,;\t]*')  # a first line that tells Excel the delimiter


def read_csv_table(path: Path) -> pd.DataFrame:
    """A CSV as text: '' where a cell is empty, names of columns without white space around them.

    The delimiter is a comma, semicolon, tab or bar: the one in the header that gives every row as many cells as the
    header, else the first of these. Rows whose cells are all empty are left out, and so are columns
    without a name or a value, and a first column of row numbers without a name, as pandas writes it.

    Returns:
        A table whose index is the number of the line in the file on which a row starts; the header is on line 1.

    Raises:
        ConfigError: the file cannot be read, is not UTF-8, has no header, names two columns alike (apart from case), or
            a row has more or fewer cells than the header. The message has the line's number.
    """
    rows, lines = _rows(path, _text(path))
    if not rows:
        raise ConfigError(f"{path} is empty; its first line must name the columns")
    header = [name.strip() for name in rows[0]]
    body, lines = rows[1:], lines[1:]
    _check_lengths(path, header, body, lines)
    kept = [number for number, name in enumerate(header) if name or any(row[number].strip() for row in body)]
    if len(kept) < len(header):
        header, body = [header[number] for number in kept], [[row[number] for number in kept] for row in body]
    if len(header) > 1 and not header[0] and all(row[0].isdigit() for row in body):
        header, body = header[1:], [row[1:] for row in body]  # pandas writes the numbers of rows this way
    check_columns(header, str(path))
    table = pd.DataFrame(body, columns=header, index=pd.Index(lines, dtype="int64"), dtype=object)
    return table[(table != "").any(axis=1)] if len(table) else table


def check_columns(names: list[str], where: str) -> None:
    """Raise ConfigError where a column has no name, or two have one name apart from case."""
    if "" in names:
        raise ConfigError(
            f"{where}: column {names.index('') + 1} of {len(names)} has no name; the header is "
            f"{excerpt(','.join(names))}"
        )
    seen: dict[str, str] = {}
    for name in names:
        if name.casefold() in seen:
            first = seen[name.casefold()]
            twice = f"two columns named '{name}'" if first == name else f"the columns '{first}' and '{name}'"
            raise ConfigError(f"{where} has {twice}; keep one, or rename one")
        seen[name.casefold()] = name


def _text(path: Path) -> str:
    text = read_text(path, _LIMIT_BYTES, "CSV")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ConfigError(f"{path} line {line} has a NUL character: the file is damaged, or no CSV")
    return text


def _rows(path: Path, text: str) -> tuple[list[list[str]], list[int]]:
    """All rows but blank lines, and the line on which each starts."""
    said = _SAYS_DELIMITER.fullmatch(text.partition("\n")[0].strip("\r "))
    if said is not None:
        rows, lines = _split(path, text, said[1])
        return rows[1:], lines[1:]
    first_line = next((line for line in io.StringIO(text) if line.strip()), "")
    found = [delimiter for delimiter in _DELIMITERS if delimiter in first_line] or [","]
    for delimiter in found if len(found) > 1 else []:
        try:
            rows, lines = _split(path, text, delimiter)
        except ConfigError:
            continue
        if len(rows[0]) > 1 and all(len(row) == len(rows[0]) for row in rows):
            return rows, lines
    return _split(path, text, found[0])


def _split(path: Path, text: str, delimiter: str) -> tuple[list[list[str]], list[int]]:
    """All rows but blank lines, and the line on which each starts. Blanks between delimiter and quote are skipped."""
    rows, lines = _parsed(path, text, delimiter, skip_blanks=False)
    if any(cell.startswith(" ") and cell.lstrip(" ").startswith('"') for row in rows for cell in row):
        rows, lines = _parsed(path, text, delimiter, skip_blanks=True)
    return rows, lines


def _parsed(path: Path, text: str, delimiter: str, skip_blanks: bool) -> tuple[list[list[str]], list[int]]:
    before = csv.field_size_limit(_CELL_CHARACTERS)
    rows, lines = [], []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=skip_blanks)
    line = 1
    try:
        for row in reader:
            if any(row) and (len(row) > 1 or row[0].strip()):
                rows.append(row)
                lines.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        open_quote = "unexpected end of data" in str(error)
        reason = "a quote is opened there and never closed" if open_quote else str(error)
        raise ConfigError(f"{path} line {line} is no CSV: {reason}") from error
    finally:
        csv.field_size_limit(before)
    return rows, lines


def _check_lengths(path: Path, header: list[str], body: list[list[str]], lines: list[int]) -> None:
    wrong = [number for number, row in enumerate(body) if len(row) != len(header)]
    if not wrong:
        return
    row, line = body[wrong[0]], lines[wrong[0]]
    more = f" ({len(wrong)} such lines)" if len(wrong) > 1 else ""
    if len(row) < len(header):
        hint = "a cell or the end of the line is missing"
    elif all(len(body[number]) == len(header) + 1 and not body[number][-1] for number in wrong):
        hint = "it ends in a comma; remove that, or end the header in one too"
    elif len(wrong) == len(body) and all(len(row) == len(header) + 1 for row in body):
        hint = (
            "every row has one more. If the first cells are row names, as R writes them, write the table with "
            f"row.names = FALSE, or put a name for them in front of the header (row,{excerpt(','.join(header))[1:-1]})"
        )
    else:
        hint = "put cells that have a comma in them into quotes"
    raise ConfigError(
        f"{path} line {line} has {len(row)} cell{'s' * (len(row) != 1)}, the header has {len(header)}{more}: {hint}"
    )
