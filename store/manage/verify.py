"""Verify a store: metadata, every index, every checksum, presence against chunks, values, lengths.

A store without findings can be opened and trained on, because the checks of FeatureStore are included.
"""

from collections.abc import Callable
from pathlib import Path

from mmcache.store.files.sealed import Seal, check_seal, spare_of
from mmcache.store.format import layout
from mmcache.store.ground.errors import StoreError
from mmcache.store.manage.findings import Finding
from mmcache.store.manage.verify_metadata import verify_metadata
from mmcache.store.manage.verify_reports import verify_coverage, verify_failures, verify_logits, verify_reports
from mmcache.store.manage.verify_tokens import TokenSetCheck
from mmcache.store.read.stored_segments import check_segment_table
from mmcache.store.segments.segment_table import read_segments


def verify(path: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> list[Finding]:
    """Read the whole store at `path` and return its faults; an empty list means that it has none.

    Unfinished work of a killed run is no fault, because the next run does it again. If the root or the segments are
    damaged, the check ends there.

    Args:
        progress: called with (shards done, shards in all).

    Raises:
        StoreError: there is no store.
    """
    refuse_foreign(path)
    findings = list(verify_metadata(path))
    try:
        meta = layout.read_meta(path)
        table = read_segments(path / layout.SEGMENTS, meta.sha256.get(layout.SEGMENTS))
    except StoreError as error:
        return [*findings, Finding("store", (), f"the rest can be verified after that is repaired ({error})")]
    try:
        table = check_segment_table(table, meta, path / layout.SEGMENTS)
    except StoreError as error:
        return [*findings, Finding(layout.SEGMENTS, (), f"{error}. The rest can be verified after that is corrected")]
    ids = table["id"].tolist()
    findings += _unlisted(path)
    checks, unread = [], set()
    for folder in layout.modality_folders(path):
        try:
            checks += [TokenSetCheck(path, folder.name, encoder, ids) for encoder in layout.encoders_of(folder)]
        except StoreError as error:
            findings.append(Finding(f"{folder.relative_to(path)}/zarr.json", (), str(error)))
            unread.add(folder.name)
    for check in checks:
        findings += check.begin()
    shards = [(check, shard) for check in checks if check.tokens for shard in range(check.tokens.grid.n_shards)]
    for done, (check, shard) in enumerate(shards):
        progress(done, len(shards))
        findings += check.shard(shard)
    progress(len(shards), len(shards))
    for check in checks:
        findings += check.end()
    findings += verify_reports(path)
    findings += verify_failures(path, ids, checks, unread)
    if not unread:
        findings += verify_coverage(path, meta, table, checks)
    return [*findings, *verify_logits(path, meta, ids)]


def refuse_foreign(root: Path) -> None:
    """Raise StoreError when `root` is no store, has a newer format or contains a FIFO; a damaged store passes."""
    layout.check_files(root)
    try:
        layout.read_meta(root)
    except StoreError:
        document = root / "zarr.json"
        sound = document.exists() and check_seal(document.read_bytes()) is Seal.GOOD
        if sound or not spare_of(root, "zarr.json").exists():
            raise


def _unlisted(root: Path) -> list[Finding]:
    """Arrays that have chunks but that readers do not find, because their metadata or their list entry is missing."""
    listed = set()
    for folder in layout.modality_folders(root):
        try:
            listed |= {f"{folder.name}/{encoder}" for encoder in layout.encoders_of(folder)}
        except StoreError:
            continue  # found by the caller
    chunks = (file for kind in ("tokens", "present") for file in (root / kind).glob("*/*/c/**/*") if file.is_file())
    found = {"/".join(file.relative_to(root).parts[1:3]) for file in chunks}
    problem = "has data on disk, but its zarr.json or its entry in the modality's list of encoders is missing"
    return [Finding(name, (), problem) for name in sorted(found - listed)]
