"""Verify the metadata files of a store: each against its checksum and its spare copy."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from mmcache.store.files.atomic import TEMPORARY_PREFIX
from mmcache.store.files.sealed import Seal, check_seal, spare_names, spare_of
from mmcache.store.format import layout
from mmcache.store.format.reports import REPORTS
from mmcache.store.ground.errors import StoreError
from mmcache.store.manage.findings import Finding, RepairAction


def verify_metadata(root: Path) -> Iterator[Finding]:
    """Verify every zarr.json, the segments and the reports, and the spare copies of all of them."""
    names = {str(file.relative_to(root)) for file in root.rglob("zarr.json")}
    spares = spare_names(root)
    try:
        digests = layout.read_meta(root).sha256
    except StoreError:
        digests = {}  # the root is damaged; the loop below reports it
    under_way = (root / layout.WORK).exists()  # reports are being merged, and their digests are written afterwards
    for name in sorted(names | spares | set(digests)):
        if name in REPORTS and under_way:
            continue
        main, spare = (_file_state(file, digests.get(name)) for file in (root / name, spare_of(root, name)))
        if main == "is missing" and not _has_files((root / name).parent):
            continue  # a run was killed at this point, or an array was removed by hand
        if main is not None:
            yield Finding(name, (), main, RepairAction.COPY, name)
        elif spare is not None:
            yield Finding(str(spare_of(root, name).relative_to(root)), (), spare, RepairAction.COPY, name)
    yield from _verify_groups(root, names)


def _verify_groups(root: Path, names: set[str]) -> Iterator[Finding]:
    """Verify groups: a zarr.json that is not a group's; a folder with contents but no zarr.json and no spare copy."""
    # The group of a teacher is written after its arrays, and before its first chunk.
    inner = [Path(name) for name in names if not name.startswith("logits/")]
    inner += [file.relative_to(root).parent for file in root.glob("logits/*/*/c/*")]
    folders = {parent for path in inner for parent in path.parents}
    for folder in sorted(folders):
        name = str(folder / "zarr.json")
        if not (root / name).exists():
            if not spare_of(root, name).exists():
                yield Finding(name, (), "is missing, and there is no spare copy of it")
            continue
        if len(folder.parts) > 2:
            continue  # an array's
        try:
            if layout.read_document(root / folder)["node_type"] == "group":
                continue
            problem = "is not a group's"
        except StoreError as error:
            problem = str(error)
        # Files that fail their checksum are reported already.
        if check_seal((root / name).read_bytes()) is Seal.GOOD:
            yield Finding(name, (), problem)


def _has_files(folder: Path) -> bool:
    return any(file.is_file() and not file.name.startswith(TEMPORARY_PREFIX) for file in folder.rglob("*"))


def _file_state(file: Path, digest: str | None) -> str | None:
    """The fault of a metadata file, or None."""
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
