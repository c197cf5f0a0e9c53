"""Size and modification time of media, by which replaced files are detected."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mmcache.extract.media.base.source import Source

_TOLERANCE_NS = 2_000_000_000  # some file systems store times in steps of two seconds
_SAMPLE = 16  # files of a folder that are checked, evenly spaced by name


class MediaStamp(NamedTuple):
    """Size and modification time of a source.

    Attributes:
        bytes: of all its files together; of a folder, of 16 evenly spaced files, and one more byte for every file.
        mtime_ns: of the file, the folder or the checked file that changed last.
    """

    bytes: int
    mtime_ns: int

    def is_same(self, other: "MediaStamp") -> bool:
        return self.bytes == other.bytes and abs(self.mtime_ns - other.mtime_ns) < _TOLERANCE_NS


def stamp_of(source: Source) -> MediaStamp | None:
    """The present stamp of a source; None if one of its files does not exist, or it has no files."""
    try:
        parts = [part for path in source.paths for part in _parts(path)]
    except OSError:
        return None
    return MediaStamp(sum(part.bytes for part in parts), max(part.mtime_ns for part in parts)) if parts else None


def _parts(path: Path) -> Iterator[MediaStamp]:
    """A file; or a folder, and a sample of its files, because replacing all frames may leave their folder's time."""
    status = os.stat(path)
    if not path.is_dir():
        yield MediaStamp(status.st_size, status.st_mtime_ns)
        return
    names = sorted(os.listdir(path))
    yield MediaStamp(len(names), status.st_mtime_ns)
    for name in names[:: -(-len(names) // _SAMPLE) or 1]:
        inside = os.stat(path / name)
        yield MediaStamp(inside.st_size, inside.st_mtime_ns)
