"""Every value of every metadata file replaced by others: what verify calls sound is read, what cannot be read it names.

The edits are generated, not listed: other types, other signs, zero, huge, removed, nested, longer and shorter.
"""

import copy
import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmcache.store import ConfigError, FeatureStore, Presence, StoreError
from mmcache.store.files.sealed import BLANK, SEAL, put_file, seal
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.format.layout import SEGMENTS, StoreMeta, read_meta, write_meta
from mmcache.store.format.reports import finish_reports
from mmcache.store.format.small_array import read_small_array, write_chunk
from mmcache.store.format.teacher_logits import LogitsCache
from mmcache.store.load.loader import Loader
from mmcache.store.manage.info import describe
from mmcache.store.manage.verify import verify
from mmcache.store.segments.segment_table import read_segments, segments_to_bytes
from mmcache.store.write.create import create_store
from mmcache.store.write.token_source import TokenSource, no_progress, write_source

C, M, F, T = Presence.CACHED, Presence.MISSING, Presence.FAILED, Presence.TO_DO
N, VIEWS, TOKENS, WIDTH, ROWS = 5, 2, 2, 3, 2  # rows in all, and of a shard
STATUS = {"a": np.array([C, C, M, F, C], np.uint8), "q": np.array([C, M, C, C, T], np.uint8)}
TASKS = {"verb": 3, "noun": 4}
TEACHER = "karmma-0a1b"
ATTRIBUTES = {"modalities": ["a", "q"], "subsets": ["a", "q", "a+q"], "run": "karmma"}
Place = tuple[str | int, ...]  # keys and indices that lead to one value of a document


@pytest.fixture(scope="session")
def whole(
    make_folder: Callable[[], Path],
    make_segments: Callable[[int], pd.DataFrame],
    make_meta: Callable[[pd.DataFrame], StoreMeta],
) -> Path:
    """Floats, and int8 with lengths; two views; every presence value; a teacher's answers. Read only."""
    root = make_folder() / "toy.zarr"
    segments, rng = make_segments(N), np.random.default_rng(0)
    create_store(root, segments, make_meta(segments))
    lengths = rng.integers(1, TOKENS + 1, (N, VIEWS)).astype(np.int32)
    for name, status in STATUS.items():
        tokens, quantised = rng.standard_normal((N, VIEWS, TOKENS, WIDTH)).astype(np.float16), name == "q"
        source = TokenSource(
            modality=name,
            fingerprint=Fingerprint("enc", "random:0", "0" * 64, {"size": [8, 8]}, 2, 1),
            shape=(VIEWS, TOKENS, WIDTH),
            dtype="int8" if quantised else "float16",
            variable_length=quantised,
            status=status,
            read=lambda row, tokens=tokens, quantised=quantised: (tokens[row], lengths[row] if quantised else None),
            ids=segments["id"].tolist(),
        )
        write_source(root, source, ROWS * VIEWS * TOKENS * WIDTH * (1 if quantised else 2), no_progress)
    finish_reports(root)
    cache = answers(root)
    for rows in cache.missing_blocks():
        cache.write_block(rows, {task: rng.standard_normal((len(rows), VIEWS, 3, c)) for task, c in TASKS.items()})
    assert verify(root) == []
    return root


def answers(root: Path) -> LogitsCache:
    """The teacher's, as fuse opens them."""
    return LogitsCache(root, TEACHER, N, VIEWS, 3, TASKS, ATTRIBUTES)


def everything(root: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What batches hold: every split, view and row, and answers; and what else a reader can learn of a store."""
    store = FeatureStore.open(root)
    batches: dict[str, Any] = {}
    for split in store.meta.splits:
        loader = Loader(store, None, store.rows(split))
        for view in range(loader.n_views):
            for i, batch in enumerate(loader.in_order(batch_size=2, view=view)):
                parts = {"tokens": batch.tokens, "lengths": batch.lengths, "labels": batch.labels}
                batches |= {
                    f"{split}/{view}/{i}/{kind}/{name}": value.numpy()
                    for kind, values in {**parts, "present": {"": batch.present}}.items()
                    for name, value in values.items()
                }
    cache = answers(root)
    if not cache.missing_blocks():
        batches |= {f"answers/{task}/{view}": cache.read(task, view) for task in TASKS for view in range(VIEWS)}
    besides = {
        "meta": dataclasses.asdict(store.meta),
        "segments": store.segments,
        "about": describe(store),
        "attributes": {name: store.tokens[name].attributes for name in store.modalities},
        "reports": [store.failures, store.notes],
        "rows": store.rows(),
    }
    store.close()
    return batches, besides


def same(one: Any, other: Any) -> bool:
    """Equal, NaN to NaN too, in type and value."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    return one.equals(other) if isinstance(one, pd.DataFrame) else one == other


@pytest.fixture(scope="session")
def sight(whole: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """`everything` of the store as it was."""
    return everything(whole)


@pytest.fixture(scope="session")
def copy_of(whole: Path, make_folder: Callable[[], Path]) -> Callable[[], Path]:
    """New copies of the store."""
    return lambda: Path(shutil.copytree(whole, make_folder() / "toy.zarr"))


def documents(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("zarr.json"))


def places(value: Any, here: Place = ()) -> Iterator[Place]:
    """Where each value of a JSON document lies, the document's own first."""
    yield here
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*here, key))


def edits(value: Any) -> list[Any]:
    """Other values for one value: of other types, turned round, at the limits, longer, shorter, nested."""
    anything = [None, True, 0, -1, 1, 2, 2**31, 2**63, 2**70, 1.5, 1e308, float("nan"), "", "x", "../../x", [], {}]
    own: list[Any] = [[value], {"x": value}, str(value)]
    if isinstance(value, bool):
        own += [not value, int(value)]
    elif isinstance(value, (int, float)):
        own += [-value, value + 1, 2 * value, 10 * value, 1000 * value, float(value)]
    elif isinstance(value, str):
        own += [value + "x", value.upper(), value[1:], value + "/", value + "\0", value + "\x1b[31m", [*value]]
        own += ["int16", "uint8", "int8", "float32", "float64", "bfloat16", ".", "big", "start", "v2", "gzip"]
    elif isinstance(value, list):
        own += [value + value, value[1:], value[:-1], value[::-1], [*value, None], dict(enumerate(map(str, value)))]
    elif isinstance(value, dict):
        own += [list(value), list(value.values()), {**value, "more": 1}, dict(reversed(value.items()))]
    return [edit for edit in [*own, *anything] if not (type(edit) is type(value) and edit == value)]


GONE = object()


def edited(document: Any, place: Place, value: Any) -> Any:
    """A copy of a document with one value replaced, or removed where the value is GONE."""
    if not place:
        return None if value is GONE else value
    out = copy.deepcopy(document)
    inner = out
    for key in place[:-1]:
        inner = inner[key]
    if value is GONE:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return out


def put_document(root: Path, name: str, document: Any, *, sealed: bool) -> None:
    """Write a zarr.json: with its seal and spare copy put right, or alone, as a text editor would leave it."""
    if not sealed:
        (root / name).write_text(json.dumps(document))
        return
    if isinstance(document, dict) and isinstance(document.get("attributes"), dict):
        document = {**document, "attributes": {**document["attributes"], SEAL: BLANK}}
        put_file(root, name, seal(json.dumps(document, indent=2).encode()))
    else:
        put_file(root, name, json.dumps(document, indent=2).encode())


def judged(root: Path, sight: tuple[dict[str, Any], dict[str, Any]]) -> tuple[bool, str]:
    """Whether verify finds a problem; and what a reader gets: refused, not finite, other batches, other or same."""
    try:
        found = bool(verify(root))
    except StoreError:
        found = True
    try:
        batches, besides = everything(root)
    except (StoreError, ConfigError):
        return found, "refused"
    if not all(np.isfinite(values).all() for name, values in batches.items() if "/tokens/" in name):
        return found, "not finite"
    if not same(batches, sight[0]):
        return found, "other batches"
    return found, "same" if same(besides, sight[1]) else "other"


def cases(root: Path, names: list[str]) -> list[tuple[str, Place, Any]]:
    """Every place in the documents, and every edit of it."""
    out = []
    for name in names:
        document = json.loads((root / name).read_bytes())
        for place in places(document):
            value = document
            for key in place:
                value = value[key]
            out += [(name, place, edit) for edit in [*edits(value), GONE] if place[-1:] != (SEAL,)]
    return out


def is_read(name: str) -> bool:
    """Whether readers open this document: of groups the root, a modality's tokens and a teacher's answers alone."""
    depth = name.count("/")
    return depth in (0, 3) or (depth == 2 and name.startswith(("tokens/", "logits/")))


def check_edits(root: Path, chosen: list[tuple[str, Place, Any]], sight: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """With its seal put right and without, each edit is either refused and found, or changes no batch."""
    wrong = []
    for name, place, value in chosen:
        before = (root / name).read_bytes()
        document = edited(json.loads(before), place, value)
        for sealed in (True, False):
            put_document(root, name, document, sealed=sealed)
            found, got = judged(root, sight)
            # In the other order of bytes, the same chunks are other numbers, and no check can detect it.
            changed = got == "other batches" and place[-1:] != ("endian",)
            unnoticed = not found and (got in ("refused", "not finite") or changed or not sealed)
            false_alarm = found and got == "same" and is_read(name)
            if unnoticed or false_alarm:
                shown = "GONE" if value is GONE else repr(value)[:60]
                wrong.append((name, place, shown, "sealed" if sealed else "unsealed", found, got))
            put_file(root, name, before)
    assert wrong == []


def test_what_verify_calls_sound_is_read_and_what_is_refused_it_names(
    copy_of: Callable[[], Path], sight: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    """A sample of the edits; the slow test has them all."""
    root = copy_of()
    every = cases(root, documents(root))
    assert len(every) > 10_000
    chosen = [every[i] for i in np.random.default_rng(0).choice(len(every), 40, replace=False)]
    check_edits(root, chosen, sight)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(64))
def test_every_edit_of_every_document(
    part: int, copy_of: Callable[[], Path], sight: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    root = copy_of()
    check_edits(root, cases(root, documents(root))[part::64], sight)


# Documents that are no JSON of ours.

TEXTS = {
    "deep list": b"[" * 100_000,
    "deep mapping": b'{"a":' * 100_000,
    "nested in the attributes": b'{"attributes":' + b"[" * 200 + b"]" * 200 + b',"zarr_format":3,"node_type":"group"}',
    "long number": b'{"attributes":{"a":' + b"9" * 5000 + b'},"zarr_format":3,"node_type":"group"}',
    "key twice": b'{"attributes":{},"attributes":{},"zarr_format":3,"node_type":"group"}',
    "not UTF-8": b"\xff\xfe{}",
    "nothing": b"",
    "NUL": b"\0" * 300,
    "a number": b"3",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_documents_that_are_no_metadata_are_refused_and_found(copy_of: Callable[[], Path], text: bytes) -> None:
    root = copy_of()
    for name in filter(is_read, documents(root)):
        before = (root / name).read_bytes()
        put_file(root, name, text)
        assert judged(root, ({}, {})) == (True, "refused"), name
        put_file(root, name, before)


def test_a_document_of_gigabytes_is_not_read(copy_of: Callable[[], Path]) -> None:
    root = copy_of()
    os.truncate(root / "zarr.json", 2 << 30)  # it takes no room
    with pytest.raises(StoreError, match=r"zarr\.json is damaged; .*more than the 67,108,864 that are allowed"):
        FeatureStore.open(root)


# The table.

COLUMN_EDITS: dict[str, Callable[[pd.Series], Any]] = {
    "numbers": lambda column: np.arange(len(column)),
    "fractions": lambda column: np.linspace(0.25, 9, len(column)),
    "truth": lambda column: np.arange(len(column)) % 2 == 0,
    "text": lambda column: [f"t{i}" for i in range(len(column))],
    "as text": lambda column: column.astype(str),
    "as float": lambda column: pd.to_numeric(column, errors="coerce"),
    "gaps": lambda column: column.where(np.arange(len(column)) > 0),
    "all gaps": lambda column: [None] * len(column),
    "NaN": lambda column: [float("nan")] * len(column),
    "infinite": lambda column: [float("inf")] * len(column),
    "huge": lambda column: [2**62] * len(column),
    "negative": lambda column: [-7] * len(column),
    "all the same": lambda column: [column.iloc[0]] * len(column),
    "lists": lambda column: [[1, 2]] * len(column),
    "mappings": lambda column: [{"a": 1}] * len(column),
    "bytes": lambda column: [b"\xff"] * len(column),
    "dates": lambda column: pd.date_range("2020", periods=len(column)),
    "categories": lambda column: column.astype("category"),
}
TABLE_EDITS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "one row less": lambda table: table.iloc[:-1],
    "one row more": lambda table: pd.concat([table, table.iloc[:1].assign(id="more")], ignore_index=True),
    "no rows": lambda table: table.iloc[:0],
    "a row twice": lambda table: pd.concat([table.iloc[:-1], table.iloc[:1]], ignore_index=True),
    "no columns": lambda table: table[[]],
    **{f"without {name}": lambda table, name=name: table.drop(columns=name) for name in ("id", "split", "verb")},
    "spans turned round": lambda table: table.assign(start_s=table["stop_s"], stop_s=table["start_s"]),
}


@pytest.mark.parametrize("kind", [*COLUMN_EDITS, *TABLE_EDITS])
def test_tables_that_are_refused_are_found(
    kind: str, copy_of: Callable[[], Path], sight: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    root, wrong = copy_of(), []
    table = read_segments(root / SEGMENTS)
    columns = ["id", "video", "start_s", "stop_s", "split", "verb"] if kind in COLUMN_EDITS else [""]
    for name in columns:
        change = TABLE_EDITS[kind](table) if not name else table.assign(**{name: COLUMN_EDITS[kind](table[name])})
        data = segments_to_bytes(change)
        put_file(root, SEGMENTS, data)
        meta = read_meta(root)
        write_meta(root, dataclasses.replace(meta, sha256={**meta.sha256, SEGMENTS: hashlib.sha256(data).hexdigest()}))
        found, got = judged(root, sight)
        # Another span, video or label is as good as the one before: nobody can tell.
        if (got == "refused" and not found) or (found and got == "same"):
            wrong.append((name, found, got))
    assert wrong == []


# Values of the small arrays, under a right checksum.


@pytest.mark.parametrize("value", [0, 1, 2, 3, 4, 77, 255])
def test_presence_that_changes_a_batch_is_found(
    value: int, copy_of: Callable[[], Path], sight: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    root = copy_of()
    for name, status in STATUS.items():
        for row in range(N):
            if status[row] == value or (row // ROWS == 2 and name == "q"):  # of q's last shard nothing was written
                continue
            chunk = np.array([*status[row // ROWS * ROWS :][:ROWS], T], np.uint8)[:ROWS]
            before = (root / f"present/{name}/enc/c/{row // ROWS}").read_bytes()
            chunk[row % ROWS] = value
            write_chunk(root / f"present/{name}/enc/c/{row // ROWS}", chunk)
            found, got = judged(root, sight)
            assert got != "same"
            # A segment that is to do may have tokens already: a run was killed between the two.
            assert found or value == T, (name, row)
            assert got == "refused" or value <= T, (name, row)
            (root / f"present/{name}/enc/c/{row // ROWS}").write_bytes(before)


@pytest.mark.parametrize(("kind", "value"), [("length", 0), ("length", -1), ("length", 3), ("length", 2**31 - 1)])
@pytest.mark.parametrize("row", [0, 2, 3])
def test_lengths_that_no_segment_can_have_are_refused_and_found(
    kind: str, value: float, row: int, copy_of: Callable[[], Path], sight: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    root = copy_of()
    values = read_small_array(root / kind / "q/enc", kind)
    chunk = values[row // ROWS * ROWS :][:ROWS].copy()
    chunk[row % ROWS, 1] = value
    write_chunk(root / kind / "q/enc/c" / str(row // ROWS) / "0", chunk)
    assert judged(root, sight) == (True, "refused")
