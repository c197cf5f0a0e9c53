"""Check a store against itself: metadata, every index, every checksum, presence against chunks, values, lengths."""

import dataclasses
import enum
import hashlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmcache.store import layout
from mmcache.store.atomic import TEMPORARY_PREFIX
from mmcache.store.errors import StoreError
from mmcache.store.feature_store import FeatureStore
from mmcache.store.layout import Presence
from mmcache.store.location import open_zarr
from mmcache.store.reports import REPORTS, read_reports, report_parts
from mmcache.store.sealed import Seal, check_seal, spare_names, spare_of
from mmcache.store.shard_commit import OldShard
from mmcache.store.shard_file import CRC_BYTES, crc32c
from mmcache.store.small_array import chunk_is_sound
from mmcache.store.token_array import TokenArray

_PRESENCE_VALUES = [int(value) for value in Presence]
_WHAT = {"present": "presence", "length": "token counts", "error": "rounding errors"}
_UNKNOWN = 255  # a presence that could not be read


class Mend(enum.Enum):
    """What `repair` does about a finding."""

    NOTHING = "nothing can be done"
    COPY = "the file is restored from its spare copy, or the spare copy from the file"
    CHUNK = "the chunk of a small array is made anew"
    ROWS = "the segments are marked to be done again"
    REMOVE = "the chunk is removed and computed again by the next fuse"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing wrong with a store.

    Attributes:
        where: modality/encoder, or a file's name.
        segments: the ids of the segments concerned; none where it is not about segments.
        file: the damaged file, as a path in the store, where one is known.
        rows: the rows of `segments`.
    """

    where: str
    segments: tuple[str, ...]
    problem: str
    mend: Mend = Mend.NOTHING
    file: str = ""
    rows: tuple[int, ...] = ()

    def __str__(self) -> str:
        shown = ""
        if len(self.segments) == 1:
            shown = f" segment {self.segments[0]}"
        elif self.segments:
            shown = f" segments {self.segments[0]} to {self.segments[-1]} ({len(self.segments)})"
        return f"{self.where}{shown}: {self.problem}"

    def to_json(self) -> dict[str, object]:
        return {"where": self.where, "segments": list(self.segments), "problem": self.problem, "mend": self.mend.value}


def verify(path: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> list[Finding]:
    """Read all of the store at `path` and return what is wrong with it; an empty list means it is sound.

    What a killed run leaves half done is no fault: the next run does it again. A store whose root or segments are
    damaged is checked no further than that.

    Args:
        progress: called with (shards done, shards in all).

    Raises:
        StoreError: there is no store.
    """
    refuse_foreign(path)
    findings = list(_verify_metadata(path))
    try:
        store = FeatureStore.open(path)
        len(store)
    except StoreError as error:
        if not findings:
            raise
        return [*findings, Finding("store", (), f"the rest can be checked once that is repaired ({error})")]
    counted = store.segments["split"].value_counts().to_dict()
    if counted != store.meta.splits:
        findings.append(Finding(layout.SEGMENTS, (), f"has splits {counted}, the root says {store.meta.splits}"))
    findings.extend(_unlisted(store))
    checks = [_ArrayCheck(store, modality, encoder) for modality, encoder in store.arrays]
    for check in checks:
        findings.extend(check.begin())
    shards = [(check, shard) for check in checks if check.array for shard in range(check.array.grid.n_shards)]
    for done, (check, shard) in enumerate(shards):
        progress(done, len(shards))
        findings.extend(check.shard(shard))
    progress(len(shards), len(shards))
    return [*findings, *_verify_failures(store, checks), *_verify_logits(store)]


def refuse_foreign(root: Path) -> None:
    """Raise StoreError for what is no store, or one of a newer format; a damaged store passes."""
    try:
        layout.read_meta(root)
    except StoreError:
        document = root / "zarr.json"
        sound = document.exists() and check_seal(document.read_bytes()) is Seal.GOOD
        if sound or not spare_of(root, "zarr.json").exists():
            raise


def _verify_metadata(root: Path) -> Iterator[Finding]:
    """Every zarr.json, the segments and the reports: each against its checksum, and its spare copy as well."""
    names = {str(file.relative_to(root)) for file in root.rglob("zarr.json")}
    spares = spare_names(root)
    try:
        digests = layout.read_meta(root).sha256
    except StoreError:
        digests = {}  # the root is damaged, and found so below
    under_way = (root / layout.WORK).exists()  # reports are being merged, and digests come after them
    for name in sorted(names | spares | set(digests)):
        if name in REPORTS and under_way:
            continue
        main, spare = (_file_state(file, digests.get(name)) for file in (root / name, spare_of(root, name)))
        if main == "is missing" and not _has_files((root / name).parent):
            continue  # a run was killed right here, or an array was removed by hand
        if main is not None:
            yield Finding(name, (), main, Mend.COPY, name)
        elif spare is not None:
            yield Finding(str(spare_of(root, name).relative_to(root)), (), spare, Mend.COPY, name)
    yield from _verify_groups(root, names)


def _verify_groups(root: Path, names: set[str]) -> Iterator[Finding]:
    """Folders with something in them whose zarr.json is gone, and its spare copy as well."""
    # A teacher's group comes after its arrays, and its first chunk after that.
    inner = [Path(name) for name in names if not name.startswith("logits/")]
    inner += [file.relative_to(root).parent for file in root.glob("logits/*/*/c/*")]
    folders = {parent for path in inner for parent in path.parents}
    for folder in sorted(folders):
        name = str(folder / "zarr.json")
        if not (root / name).exists() and not spare_of(root, name).exists():
            yield Finding(name, (), "is missing, and there is no spare copy of it")


def _has_files(folder: Path) -> bool:
    return any(file.is_file() and not file.name.startswith(TEMPORARY_PREFIX) for file in folder.rglob("*"))


def _file_state(file: Path, digest: str | None) -> str | None:
    """What is wrong with a metadata file, or None."""
    if not file.exists():
        return "is missing"
    data = file.read_bytes()
    if not file.name.startswith("zarr.json"):
        wrong = digest is not None and hashlib.sha256(data).hexdigest() != digest
        return "fails its checksum" if wrong else None
    return {
        Seal.GOOD: None,
        Seal.BROKEN: "fails its checksum",
        Seal.NONE: "carries no checksum: it is damaged, or another program wrote it",
    }[check_seal(data)]


def _unlisted(store: FeatureStore) -> list[Finding]:
    """Arrays whose chunks are there, but which no reader sees, because their metadata or their entry is gone."""
    listed = {f"{modality}/{encoder}" for modality, encoder in store.arrays}
    chunks = (
        file for kind in ("tokens", "present") for file in (store.path / kind).glob("*/*/c/**/*") if file.is_file()
    )
    found = {"/".join(file.relative_to(store.path).parts[1:3]) for file in chunks}
    problem = "has data on disk, but its zarr.json or its entry in the modality's list of encoders is missing"
    return [Finding(name, (), problem) for name in sorted(found - listed)]


class _ArrayCheck:
    """One token array, with its scales, presence, lengths and errors."""

    def __init__(self, store: FeatureStore, modality: str, encoder: str) -> None:
        self.store, self.modality, self.encoder = store, modality, encoder
        self.name = f"{modality}/{encoder}"
        self.array: TokenArray | None = None  # None where the shards cannot be checked
        self.status = np.full(len(store), _UNKNOWN, np.uint8)
        self.beside: dict[str, NDArray] = {}
        self._ids = store.segments["id"].tolist()

    def begin(self) -> Iterator[Finding]:
        """Open everything; check the small arrays."""
        n = len(self.store)
        try:
            array = self.store.tokens[self.name]
            if array.shape[0] != n:
                yield Finding(self.name, (), f"has {array.shape[0]} rows, the store {n} segments")
                return
            if array.fingerprint.encoder != self.encoder:
                yield Finding(self.name, (), f"its fingerprint is of encoder {array.fingerprint.encoder}")
            self.status = yield from self._small_array("present")
            for kind in layout.BESIDE:
                if (self.store.path / kind / self.name).exists():
                    self.beside[kind] = yield from self._small_array(kind)
        except StoreError as error:
            yield Finding(self.name, (), str(error))
            return
        self.array = array

    def _small_array(self, kind: str) -> Generator[Finding, None, NDArray]:
        """Returns the values; a finding for each damaged chunk, whose values are then unknown."""
        path = self.store.path / kind / self.name
        layout.read_attributes(path)
        array = open_zarr(path)
        values = np.full(array.shape, array.fill_value, array.dtype)
        for chunk, start in enumerate(range(0, array.shape[0], array.chunks[0])):
            file = path / "c" / "/".join([str(chunk), *["0"] * (array.ndim - 1)])
            rows = range(start, min(start + array.chunks[0], array.shape[0]))
            if not file.exists():
                cached = [row for row in rows if kind in layout.BESIDE and self.status[row] == Presence.CACHED]
                if cached:
                    yield self._rows(cached, f"{_WHAT[kind]}: the chunk is missing", Mend.CHUNK, file)
                    values[rows.start : rows.stop] = 1
                continue
            raw = file.read_bytes()
            size = int(np.prod(array.chunks)) * array.dtype.itemsize
            if len(raw) == size + CRC_BYTES and crc32c(raw[:-CRC_BYTES]) == raw[-CRC_BYTES:]:
                block = np.frombuffer(raw, array.dtype, count=int(np.prod(array.chunks))).reshape(array.chunks)
                values[rows.start : rows.stop] = block[: len(rows)]
                continue
            concerned = [row for row in rows if kind == "present" or self.status[row] in (Presence.CACHED, _UNKNOWN)]
            yield self._rows(concerned, f"{_WHAT[kind]}: the chunk fails its checksum", Mend.CHUNK, file)
            values[rows.start : rows.stop] = _UNKNOWN if kind == "present" else 1
        return values

    def shard(self, shard: int) -> Iterator[Finding]:
        """Check one shard's chunks."""
        assert self.array is not None
        if not self.array.is_direct:
            yield from self._foreign_rows(self.array.grid.rows(shard))
            return
        rows, slots = self.array.grid.rows(shard), self.array.grid.slots_per_shard
        for array in (self.array, self.array.scale):
            if array is None:
                continue
            what = "tokens" if array is self.array else "scale"
            try:
                old = OldShard(array.shard_path(shard), slots)
            except StoreError as error:
                lost = [row for row in rows if self.status[row] in (Presence.CACHED, _UNKNOWN)]
                yield self._rows(lost, str(error), Mend.ROWS, array.shard_path(shard))
                continue
            try:
                for row in rows:
                    for view in range(array.shape[1]):
                        raw = old.raw((row - rows.start) * array.shape[1] + view)
                        problem = self._chunk(row, view, raw, array.chunk_bytes, array.dtype, what)
                        if problem:
                            yield self._rows([row], problem, Mend.ROWS)
            finally:
                old.close()

    def _chunk(self, row: int, view: int, raw: bytes | None, size: int, dtype: np.dtype, what: str) -> str | None:
        """What is wrong with one view of one segment, whose chunk and checksum are `raw` (None = there is none)."""
        status = int(self.status[row])
        said = f"{'no ' if raw is None else ''}{what}"
        if status != _UNKNOWN:
            if status not in _PRESENCE_VALUES:
                return f"presence says {status}, but view {view} has {said}"
            if (raw is not None) != (status == Presence.CACHED):
                if status == Presence.TO_DO:
                    return None  # a run was killed after the shard and before its presence; it will be done again
                return f"presence says {Presence(status).name.lower()}, but view {view} has {said}"
        if raw is None:
            return None
        if len(raw) != size + CRC_BYTES:
            return f"chunk has {len(raw)} bytes, expected {size + CRC_BYTES}"
        if crc32c(memoryview(raw)[:-CRC_BYTES]) != raw[-CRC_BYTES:]:
            return f"{what} fail their checksum"
        if not _all_finite(np.frombuffer(raw, dtype, count=size // dtype.itemsize)):
            return f"{what} hold NaN or infinity"
        lengths = self.beside.get("length")
        assert self.array is not None
        if lengths is not None and what == "tokens" and not 0 < lengths[row, view] <= self.array.shape[2]:
            return f"length {lengths[row, view]} is outside 1..{self.array.shape[2]}"
        return None

    def _foreign_rows(self, rows: range) -> Iterator[Finding]:
        """An array of another layout, which zarr reads; it does not tell an absent chunk from zeros."""
        assert self.array is not None
        for row in rows:
            for view in range(self.array.shape[1]):
                try:
                    if not np.isfinite(self.array.read(np.array([row]), view)).all():
                        yield self._rows([row], "tokens hold NaN or infinity")
                except StoreError as error:
                    yield self._rows([row], str(error))

    def _rows(
        self, rows: "range | list[int]", problem: str, mend: Mend = Mend.NOTHING, file: Path | None = None
    ) -> Finding:
        name = "" if file is None else str(file.relative_to(self.store.path))
        return Finding(self.name, tuple(self._ids[row] for row in rows), problem, mend, name, tuple(rows))


def _all_finite(values: NDArray) -> bool:
    if values.dtype == np.float16:  # by its exponent bits: NumPy's own test is several times slower on halves
        return bool(((values.view(np.uint16) & 0x7C00) != 0x7C00).all())
    return bool(np.isfinite(values).all())


def _verify_failures(store: FeatureStore, checks: list[_ArrayCheck]) -> list[Finding]:
    """failures.jsonl must have one line for every FAILED segment, and no other, save what a run has under way."""
    try:
        said = {(line["modality"], line["encoder"], line["id"]) for line in store.failures}
        parts = [line for part in report_parts(store.path, layout.FAILURES) for line in read_reports(part)]
    except StoreError as error:
        return [Finding(layout.FAILURES, (), str(error), Mend.COPY, layout.FAILURES)]
    under_way = {(line["modality"], line["encoder"], line["id"]) for line in parts}
    row_of = {segment: row for row, segment in enumerate(store.segments["id"])}
    ids = store.segments["id"].tolist()
    known = [check for check in checks if check.array is not None]
    found = {
        (check.modality, check.encoder, ids[row])
        for check in known
        for row in np.flatnonzero(check.status == Presence.FAILED)
    }
    unknown = {
        (check.modality, check.encoder, ids[row])
        for check in checks
        for row in np.flatnonzero(check.status == _UNKNOWN)
    }
    # While reports wait to be finished, the file may still list what has since been done otherwise.
    outdated = set() if (store.path / layout.WORK).exists() else said - found - unknown
    findings = []
    for lacking, keys in ((True, found - said - under_way), (False, outdated)):
        for modality, encoder, segment in sorted(keys):
            problem = f"{modality}/{encoder} {'is not' if lacking else 'is'} listed as failed"
            rows = (row_of[segment],) if segment in row_of else ()
            mend = Mend.ROWS if lacking else Mend.COPY
            findings.append(Finding(layout.FAILURES, (segment,), problem, mend, f"{modality}/{encoder}", rows))
    return findings


def _verify_logits(store: FeatureStore) -> list[Finding]:
    """A teacher's answers: every chunk against its checksum."""
    findings = []
    ids = store.segments["id"].tolist()
    for document in sorted((store.path / "logits").glob("*/*/zarr.json")):
        path = document.parent
        where = str(path.relative_to(store.path))
        try:
            layout.read_attributes(path)
            block = open_zarr(path).chunks[0]
        except Exception as error:  # zarr raises many kinds here; all mean the same to a user
            findings.append(Finding(where, (), f"cannot be opened: {error}"))
            continue
        for file in sorted(file for file in (path / "c").rglob("*") if file.is_file()):
            if not chunk_is_sound(file):
                first = int(file.relative_to(path / "c").parts[0]) * block
                segments = tuple(ids[first : first + block])
                name = str(file.relative_to(store.path))
                findings.append(Finding(where, segments, "answers fail their checksum", Mend.REMOVE, name))
    return findings
