"""Find the place of each video in a JSON file of gigabytes, without parsing the file.

The files are an object {video: [...], ...} or a list [{"id": video, ...}, ...] (see media/else_boxes.py). One pass over
the bytes finds strings, escapes and nesting with numpy, some two hundred megabytes a second, and remembers the first
and last byte of every video. The result is kept in $XDG_CACHE_HOME/mmcache (~/.cache/mmcache), one file for each JSON,
good for as long as its size and time stay the same.
"""

import bisect
import hashlib
import io
import json
import mmap
import os
import re
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmcache.store.files.atomic import atomic_write
from mmcache.store.files.user_file import open_regular

Extents = dict[str, tuple[int, int]]

_FORM = 1  # of the kept file
_CHUNK = 8 << 20
_QUOTE, _BACKSLASH = ord('"'), ord("\\")
_DELTA = np.zeros(256, np.int64)
_DELTA[[ord("{"), ord("[")]], _DELTA[[ord("}"), ord("]")]] = 1, -1
_STRUCTURE = _DELTA != 0
_STRUCTURE[_QUOTE] = True
_ID = re.compile(rb'\s*:\s*(?:"([\w-]+)"|(\d+))')


def find_extents(path: Path, problems: list[str]) -> Extents:
    """Video -> first and last byte (exclusive) of its part of `path`; from the kept index where there is one.

    Args:
        problems: where it is said that the file is no such JSON, or that the index could not be kept.
    """
    try:
        stat = path.stat()
        kept = _kept_file(path)
        stamp = [_FORM, stat.st_size, stat.st_mtime_ns]
        found = _load(kept, stamp) if kept is not None else None
        if found is not None:
            return found
        found, complete = scan(path)
    except OSError as error:
        problems.append(f"{path} cannot be read: {error.strerror}")
        return {}
    if not found:
        problems.append(f"{path} holds no boxes of videos; it should be {{video: [...]}} or [{{'id': video, ...}}]")
    elif not complete:
        problems.append(f"{path} is cut off or no JSON: the {len(found)} videos before that are used")
    try:
        if kept is None:
            raise OSError("there is no home folder")
        _keep(kept, stamp, found)
    except OSError as error:
        reason = error.strerror or error
        problems.append(
            f"where videos lie in {path.name} could not be kept ({reason}); each run looks it through again"
        )
    return found


def scan(path: Path) -> tuple[Extents, bool]:
    """Look through a file: the extents found, and whether its brackets and strings all closed. Raises OSError."""
    if path.stat().st_size == 0:
        return {}, False
    with open_regular(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        pass_ = _Pass(data)
        starts, stops, outer, inner = (np.concatenate(parts).tolist() for parts in pass_.parts)
        values = list(zip(starts, stops, strict=False))  # the last of a file cut off has no stop
        listed = data[:64].lstrip()[:1] == b"["
        videos = _ids_within(data, values, inner) if listed else _keys_before(data, values, outer)
        found: Extents = {}
        for video, extent in zip(videos, values, strict=True):
            if video:
                found.setdefault(video, extent)
        return found, pass_.depth == 0 and not pass_.inside


class _Pass:
    """One pass over the bytes.

    Attributes:
        parts: arrays of places, chunk by chunk: where values of the outermost container start, where they stop
            (exclusive), quotes directly in that container, and quotes directly in its values.
        depth, inside: of the last byte: how many brackets are open, and whether a string is.
    """

    def __init__(self, data: mmap.mmap) -> None:
        self.parts: tuple[list[NDArray[np.int64]], ...] = ([], [], [], [])
        self.depth, self.inside = 0, 0
        for begin in range(0, len(data), _CHUNK):
            self._look_through(data, begin)

    def _look_through(self, data: mmap.mmap, begin: int) -> None:
        chunk = np.frombuffer(data[begin : begin + _CHUNK], np.uint8)
        local = np.flatnonzero(_STRUCTURE[chunk])
        characters, places = chunk[local], local + begin
        quotes = characters == _QUOTE
        doubtful = quotes & ((local == 0) | (chunk[local - 1] == _BACKSLASH))
        for index in np.flatnonzero(doubtful):
            quotes[index] = not _is_escaped(data, int(places[index]))
        within = (self.inside + np.cumsum(quotes)) & 1  # after each character: in a string?
        delta = np.where(within == 0, _DELTA[characters], 0)
        depths = self.depth + np.cumsum(delta)
        chosen = (
            places[(delta == 1) & (depths == 2)],
            places[(delta == -1) & (depths == 1)] + 1,
            places[quotes & (depths == 1)],
            places[quotes & (depths == 2)],
        )
        for part, found in zip(self.parts, chosen, strict=True):
            part.append(found)
        if len(local):
            self.depth, self.inside = int(depths[-1]), int(within[-1])


def _is_escaped(data: mmap.mmap, place: int) -> bool:
    """Whether an odd number of backslashes stands before a quote."""
    first = place
    while first and data[first - 1] == _BACKSLASH:
        first -= 1
    return (place - first) % 2 == 1


def _keys_before(data: mmap.mmap, values: list[tuple[int, int]], quotes: list[int]) -> list[str]:
    """The key of each value of the outermost object: the last string that ends before it."""
    ends = quotes[1::2]
    keys = []
    for start, _ in values:
        last = bisect.bisect_left(ends, start) - 1
        keys.append(_text(data, quotes[2 * last], quotes[2 * last + 1]) if last >= 0 else "")
    return keys


def _ids_within(data: mmap.mmap, values: list[tuple[int, int]], quotes: list[int]) -> list[str]:
    """What each value of the outermost list has as its "id"; '' where it has none."""
    ids = []
    for start, stop in values:
        found = ""
        first, last = bisect.bisect_left(quotes, start), bisect.bisect_left(quotes, stop)
        for opening in range(first, last - 1, 2):
            if data[quotes[opening] : quotes[opening + 1] + 1] == b'"id"':
                match = _ID.match(data, quotes[opening + 1] + 1, stop)
                found = (match[1] or match[2]).decode() if match else ""
                if match:
                    break
        ids.append(found)
    return ids


def _text(data: mmap.mmap, opening: int, closing: int) -> str:
    """The string between two quotes, or '' if it is invalid."""
    try:
        return str(json.loads(data[opening : closing + 1]))
    except ValueError:
        return ""


def _kept_file(path: Path) -> Path | None:
    """The path of the saved index of a JSON file; None if the cache folder cannot be used."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    try:
        folder = Path(given) if Path(given).is_absolute() else Path.home() / ".cache"
    except RuntimeError:  # no home folder
        return None
    return folder / "mmcache" / f"boxes-{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]}.npz"


def _load(kept: Path, stamp: list[int]) -> Extents | None:
    """A saved index, or None if it is missing, outdated or damaged."""
    try:
        with np.load(io.BytesIO(kept.read_bytes()), allow_pickle=False) as arrays:
            if arrays["stamp"].tolist() != stamp:
                return None
            videos, extents = arrays["videos"].tolist(), arrays["extents"].tolist()
            return {video: (start, stop) for video, (start, stop) in zip(videos, extents, strict=True)}
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def _keep(kept: Path, stamp: list[int], found: Extents) -> None:
    """Raises OSError."""
    buffer = io.BytesIO()
    extents = np.array(list(found.values()), np.int64).reshape(-1, 2)
    np.savez(buffer, stamp=np.array(stamp, np.int64), videos=np.array(list(found), np.str_), extents=extents)
    atomic_write(kept, buffer.getvalue())
