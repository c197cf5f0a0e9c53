"""sources.jsonl: size and modification time of the media of every settled segment.

It is a report like failures.jsonl (see reports.py): workers write its lines with each shard, the root has its digest,
it has a spare copy, and the line of a segment is replaced when the segment is done again. Stores of older versions
have no such file; for them, extract cannot tell which media changed.
"""

from collections import defaultdict
from pathlib import Path

from mmcache.store.format import layout
from mmcache.store.format.reports import read_reports


def read_sources(root: Path) -> dict[tuple[str, str], dict[str, tuple[int, int]]]:
    """(modality, encoder) -> segment id -> bytes and modification time in ns. Raises StoreError when damaged."""
    found: defaultdict[tuple[str, str], dict[str, tuple[int, int]]] = defaultdict(dict)
    for line in read_reports(root / layout.SOURCES):
        found[line["modality"], line["encoder"]][line["id"]] = line["bytes"], line["mtime_ns"]
    return dict(found)
