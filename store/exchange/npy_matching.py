"""Match the files of a folder with segments, by id or by row number."""

import dataclasses
import difflib
import os
import re
import unicodedata
from pathlib import Path

from mmcache.store.exchange.import_summary import named
from mmcache.store.exchange.npy_form import CLASSES, file_name
from mmcache.store.ground.errors import ConfigError, Problems

_SUFFIX = ".npy"
_COMPARED = 5000  # ids that a file name is compared with for a hint
_OF_MACOS = "._"  # macOS adds a file with this prefix beside each file on foreign disks


@dataclasses.dataclass(frozen=True)
class ModalityFolder:
    """The names in the folder of one modality, sorted.

    Attributes:
        arrays: names that end in .npy.
        others: all other names.
    """

    path: Path
    arrays: list[str]
    others: list[str]


def find_modalities(folder: Path) -> dict[str, ModalityFolder]:
    """Modality -> its folder, for every folder but that of the class names."""
    found = {}
    for path in sorted(path for path in folder.iterdir() if path.is_dir()):
        if path.name != CLASSES and not path.name.startswith("."):
            names = sorted(name for name in os.listdir(path) if not name.startswith(_OF_MACOS))
            arrays = [name for name in names if name.lower().endswith(_SUFFIX)]
            found[path.name] = ModalityFolder(path, arrays, [name for name in names if name not in set(arrays)])
    return found


def match_ids(names: list[str], ids: list[str], encoded: bool) -> dict[int, str]:
    """Row -> file name. A file belongs to the row whose id is its name, plain or percent-encoded.

    Files without an exact match are compared in normalised Unicode, because macOS decomposes letters, and without the
    case of '.npy', with which an id may end.

    Args:
        encoded: an export wrote the files, so percent-encoded names have priority.
    """
    free = set(names)
    found: dict[int, str] = {}
    spellings = [file_name, lambda segment: f"{segment}{_SUFFIX}"]
    for spell in spellings if encoded else reversed(spellings):
        for row, segment in enumerate(ids):
            if row not in found and (name := spell(segment)) in free:
                found[row] = name
                free.remove(name)
    alike: dict[str, list[str]] = {}
    for name in sorted(free):
        alike.setdefault(_composed(_stem(name)), []).append(name)
    for row, segment in enumerate(ids):
        same = (
            alike.get(_composed(_stem(segment) if segment.lower().endswith(_SUFFIX) else segment), [])
            if row not in found
            else []
        )
        if len(same) == 1:
            found[row] = same.pop()
    return found


def match_numbers(folders: dict[str, ModalityFolder], n_rows: int) -> tuple[int, dict[str, dict[int, str]]]:
    """The number of the first row, 0 or 1, and for each modality row -> file name, for files named by numbers.

    Raises:
        ConfigError: no file is named by a number, two have the same one, or the numbers do not say whether rows are
            counted from 0 or from 1.
    """
    numbered: dict[str, dict[int, str]] = {}
    problems = Problems()
    for modality, folder in folders.items():
        numbers = numbered.setdefault(modality, {})
        for name in folder.arrays:
            if re.fullmatch("[0-9]{1,18}", _stem(name)):
                same = numbers.setdefault(int(_stem(name)), name)
                if same != name:
                    problems.add(f"{folder.path}: '{same}' and '{name}' have the same number")
    problems.raise_if_any()
    every = set().union(*numbered.values())
    if not every:
        examples = [name for folder in folders.values() for name in folder.arrays]
        raise ConfigError(
            "segments.csv has no column 'id', and no file is named by the number of a row; files are as "
            f"{named(examples[:1])}. Add the column 'id', with the names of the files without '{_SUFFIX}'"
        )
    if (0 in every) == (n_rows in every):
        raise ConfigError(
            f"segments.csv has no column 'id', and the files' numbers, {min(every)} to {max(every)} for {n_rows} rows, "
            "do not say whether rows are counted from 0 or from 1: add the column 'id'"
        )
    first = 0 if 0 in every else 1
    rows = {
        modality: {number - first: name for number, name in numbers.items() if 0 <= number - first < n_rows}
        for modality, numbers in numbered.items()
    }
    return first, rows


def unmatched_note(modality: str, folder: ModalityFolder, matched: set[str], ids: list[str]) -> str | None:
    """A note on files that belong to no segment; None when there are none."""
    left = [name for name in folder.arrays if name not in matched]
    if not left:
        return None
    near = nearest(_stem(left[0]), ids)
    hint = f" Did you mean segment '{near}'?" if near is not None else ""
    return (
        f"{modality}: {len(left)} of {len(folder.arrays)} files match no segment, such as '{left[0]}'; ids are such as "
        f"'{ids[0]}'.{hint} A file must be named ID{_SUFFIX}"
    )


def nearest(name: str, ids: list[str]) -> str | None:
    """The id that a file name probably means: equal but for case, contained in the other, or close by difflib."""
    plain = name.casefold()
    compared = ids[:_COMPARED]
    for segment in compared:
        if segment.casefold() == plain:
            return segment
    parts = [segment for segment in compared if segment and _is_part(segment.casefold(), plain)]
    if parts:
        return max(parts, key=len)
    return next(iter(difflib.get_close_matches(name, compared, n=1, cutoff=0.6)), None)


def _is_part(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    return re.search(rf"(?<![^\W_]){re.escape(short)}(?![^\W_])", long) is not None


def _stem(name: str) -> str:
    return name[: -len(_SUFFIX)]


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)
