"""Repair what `verify` finds: restore metadata from spare copies, and mark damaged segments to be done again.

Sound files stay as they are. `mmcache extract` (or the import or reduce that made the tokens) does the marked segments
again, and the store then has the bytes it had before the damage.
"""

import contextlib
import dataclasses
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mmcache.store.files.atomic import atomic_write, remove_leftovers
from mmcache.store.files.document import parse_document
from mmcache.store.files.sealed import BLANK, SEAL, Seal, check_seal, put_file, remove_file, seal, spare_of
from mmcache.store.format import layout
from mmcache.store.format.array_metadata import read_array
from mmcache.store.format.layout import Presence
from mmcache.store.format.reports import REPORTS, finish_reports, read_reports
from mmcache.store.format.shard_file import CRC_BYTES, crc32c
from mmcache.store.format.small_array import write_chunk
from mmcache.store.format.token_set import check_writable, read_token_set
from mmcache.store.ground.errors import StoreError
from mmcache.store.ground.lock import writer_lock
from mmcache.store.manage.findings import Finding, RepairAction
from mmcache.store.manage.verify import refuse_foreign, verify
from mmcache.store.write.shard_commit import OldShard, ShardCommit
from mmcache.store.write.token_writer import TokenWriter

_ROUNDS = 8  # metadata first, then the findings that its damage hid


@dataclasses.dataclass(frozen=True)
class Repair:
    """The result of a repair.

    Attributes:
        found: all findings before the repair.
        left: the findings that remain.
        to_do: modality/encoder -> segments now marked to be done again.
    """

    found: list[Finding]
    left: list[Finding]
    to_do: dict[str, int]


def repair(path: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> Repair:
    """Repair the store at `path` as far as possible. After an interruption at any moment, the same call continues.

    Raises:
        StoreError: there is no store, or another process writes it.
    """
    refuse_foreign(path)
    found: dict[str, Finding] = {}
    to_do: dict[str, set[int]] = defaultdict(set)
    tried: set[str] = set()
    with writer_lock(path):
        remove_leftovers(path)
        findings = verify(path, progress)
        for _ in range(_ROUNDS):
            found.update({str(finding): finding for finding in findings})
            repairable = [finding for finding in findings if finding.action is not RepairAction.NOTHING]
            if not repairable:
                break
            # Files first: the other findings depend on their contents.
            names = {finding.file for finding in repairable if finding.action is RepairAction.COPY} - tried
            if names:
                _repair_files(path, names)
                tried |= names
            else:
                _repair_chunks(path, repairable)
                _repair_rows(path, repairable, to_do)
                for finding in repairable:
                    if finding.action is RepairAction.REMOVE:
                        (path / finding.file).unlink(missing_ok=True)
                with contextlib.suppress(StoreError):  # a file that could not be repaired: verify lists it again below
                    finish_reports(path)
            findings = verify(path, progress)
    found.update({str(finding): finding for finding in findings})
    said = [finding for finding in found.values() if finding.where != "store"]
    return Repair(said, findings, {name: len(rows) for name, rows in to_do.items()})


def _repair_files(root: Path, names: set[str]) -> None:
    """Restore each damaged file from its spare copy, and each damaged spare copy from its file."""
    # The root first: it holds the digests that say which copy of the others is sound.
    for name in sorted(names, key=lambda name: (name != "zarr.json", name)):
        copies = [file.read_bytes() if file.exists() else None for file in (root / name, spare_of(root, name))]
        main, spare = copies
        sound = [data is not None and _is_sound(root, name, data) for data in copies]
        if main is not None and sound[0]:
            atomic_write(spare_of(root, name), main)
        elif spare is not None and sound[1] and not _is_foreign(name, main, spare):
            atomic_write(root / name, spare)
        elif name in REPORTS:
            remove_file(root, name)  # verify then finds its segments failed without a reason, and they are done again
        elif main is not None and name.endswith("zarr.json") and check_seal(main) is Seal.NONE:
            _seal_foreign(root, name, main)


def _is_sound(root: Path, name: str, data: bytes) -> bool:
    if name.endswith("zarr.json"):
        return check_seal(data) is Seal.GOOD
    try:
        return layout.read_meta(root).sha256.get(name) == hashlib.sha256(data).hexdigest()
    except StoreError:
        return False


def _is_foreign(name: str, main: bytes | None, spare: bytes) -> bool:
    """Whether another program rewrote this zarr.json: it is valid JSON of another length than the spare copy."""
    if main is None or not name.endswith("zarr.json") or check_seal(main) is not Seal.NONE:
        return False
    try:
        return isinstance(parse_document(main), dict) and len(main) != len(spare)
    except ValueError:
        return False


def _seal_foreign(root: Path, name: str, main: bytes) -> None:
    try:
        document = parse_document(main)
        document["attributes"] = {**document.get("attributes", {}), SEAL: BLANK}
    except (ValueError, TypeError, AttributeError):
        return  # cannot be repaired: the finding stays
    put_file(root, name, seal(json.dumps(document, indent=2).encode()))


def _repair_chunks(root: Path, findings: list[Finding]) -> None:
    """Rebuild damaged presence from the chunks. Lengths and errors are lost: their segments become TO_DO."""
    for finding in findings:
        if finding.action is not RepairAction.CHUNK:
            continue
        file = root / finding.file
        kind, modality, encoder = Path(finding.file).parts[:3]
        if not _can_open(root, modality, encoder):
            continue
        array = read_array(root / kind / modality / encoder, kind)
        block = np.full(array.grid, array.fill_value, array.dtype)
        if kind == "present":
            block[: len(finding.rows)] = _rebuilt_presence(root, modality, encoder, finding)
        write_chunk(file, block)


def _rebuilt_presence(root: Path, modality: str, encoder: str, finding: Finding) -> list[int]:
    """CACHED when all chunks pass their checksum, FAILED when failures.jsonl lists the segment, else TO_DO."""
    writer = TokenWriter(root, modality, encoder)
    failed = {
        line["id"]
        for line in read_reports(root / layout.FAILURES)
        if (line["modality"], line["encoder"]) == (modality, encoder)
    }
    shards = {int(shard) for shard in np.array(finding.rows) // writer.grid.rows_per_shard}
    old: dict[tuple[str, int], OldShard] = {}
    for kind in writer.sharded:
        for shard in shards:
            try:
                old[kind, shard] = OldShard(writer.shard_path(kind, shard), writer.grid.slots_per_shard)
            except StoreError:
                writer.shard_path(kind, shard).unlink()
                old[kind, shard] = OldShard(writer.shard_path(kind, shard), writer.grid.slots_per_shard)
    status = []
    for row, segment in zip(finding.rows, finding.segments, strict=True):
        shard, first = divmod(row, writer.grid.rows_per_shard)
        slots = range(first * writer.grid.n_views, (first + 1) * writer.grid.n_views)
        raws = [old[kind, shard].raw(slot) for kind in writer.sharded for slot in slots]
        if all(raw is not None and crc32c(raw[:-CRC_BYTES]) == raw[-CRC_BYTES:] for raw in raws):
            status.append(int(Presence.CACHED))
        else:
            status.append(int(Presence.FAILED if segment in failed else Presence.TO_DO))
    for shard_file in old.values():
        shard_file.close()
    return status


def _repair_rows(root: Path, findings: list[Finding], to_do: dict[str, set[int]]) -> None:
    rows: dict[str, set[int]] = defaultdict(set)
    for finding in findings:
        if finding.action is RepairAction.ROWS:
            name = finding.file if finding.where == layout.FAILURES else finding.where
            rows[name].update(finding.rows)
            if finding.file and finding.where != layout.FAILURES:
                (root / finding.file).unlink(missing_ok=True)  # without its index, no chunk of a shard can be found
        elif finding.action is RepairAction.CHUNK and not finding.file.startswith("present/"):
            rows[finding.where].update(finding.rows)
    for name, marked in rows.items():
        modality, encoder = name.split("/")
        if _can_open(root, modality, encoder):
            _mark(TokenWriter(root, modality, encoder), marked)
            to_do[name] |= marked


def _can_open(root: Path, modality: str, encoder: str) -> bool:
    """Whether a token set can be written. Not so: damage without a sound copy, and layouts of other programs."""
    try:
        check_writable(read_token_set(root, modality, encoder))
    except StoreError:
        return False
    return True


def _mark(writer: TokenWriter, rows: set[int]) -> None:
    """Set rows to TO_DO and drop their chunks, shard by shard."""
    for shard in sorted({row // writer.grid.rows_per_shard for row in rows}):
        with ShardCommit(writer, shard) as commit:
            for row in commit.rows:
                if row in rows:
                    commit.to_do(row)
