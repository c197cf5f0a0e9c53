"""How large media were and when they were last changed: what shows that files were replaced after they were cached."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mmcache.extract.media.base.source import Source

_TOLERANCE_NS = 2_000_000_000  # some file systems keep times in steps of two seconds
_SAMPLE = 16  # files of a folder that are looked at, evenly spaced by name


class Seen(NamedTuple):
    """Size and modification time of a source.

    Attributes:
        bytes: of all its files together; of a folder, of 16 evenly spaced files, and one more byte for every file.
        mtime_ns: of the file, the folder or the looked-at file that was changed last.
    """

    bytes: int
    mtime_ns: int

    def is_same(self, other: "Seen") -> bool:
        return self.bytes == other.bytes and abs(self.mtime_ns - other.mtime_ns) < _TOLERANCE_NS


def seen(source: Source) -> Seen | None:
    """What there is on disk of a source now; None where a file of it is gone, or where it has none."""
    try:
        parts = [part for path in source.paths for part in _parts(path)]
    except OSError:
        return None
    return Seen(sum(part.bytes for part in parts), max(part.mtime_ns for part in parts)) if parts else None


def _parts(path: Path) -> Iterator[Seen]:
    """A file; or a folder, and a sample of its files, because replacing all frames may leave their folder's time."""
    status = os.stat(path)
    if not path.is_dir():
        yield Seen(status.st_size, status.st_mtime_ns)
        return
    names = sorted(os.listdir(path))
    yield Seen(len(names), status.st_mtime_ns)
    for name in names[:: -(-len(names) // _SAMPLE) or 1]:
        inside = os.stat(path / name)
        yield Seen(inside.st_size, inside.st_mtime_ns)
