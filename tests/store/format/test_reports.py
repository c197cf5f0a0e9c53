import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings

from mmcache.store import FeatureStore, StoreError
from mmcache.store.files.sealed import spare_of
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.format.layout import Presence, StoreMeta, read_meta
from mmcache.store.format.reports import finish_reports, read_reports
from mmcache.store.manage.verify import verify
from mmcache.store.write.add_tokens import add_tokens
from mmcache.store.write.shard_commit import ShardCommit
from mmcache.store.write.token_writer import TokenWriter

PROPERTY = settings(max_examples=15)
N = 5
ONES = np.ones((1, 2, 3), np.float16)
MakeSegments = Callable[[int], pd.DataFrame]
MakeMeta = Callable[[pd.DataFrame], StoreMeta]
Tree = Callable[[Path], dict[str, bytes]]


def test_reports_are_sorted_by_row_whatever_the_order_of_work(writer: TokenWriter, settle: Callable[..., None]) -> None:
    for row in (4, 0, 3):
        settle(writer, {row: Presence.FAILED}, f"reason {row}")
    finish_reports(writer.root)
    assert FeatureStore.open(writer.root).failures == [
        {"id": f"P01_{row:03}", "modality": "m", "encoder": "enc", "reason": f"reason {row}"} for row in (0, 3, 4)
    ]
    assert not (writer.root / ".work").exists()
    assert verify(writer.root) == []


def test_notes_say_what_became_of_the_segment(writer: TokenWriter) -> None:
    commit = ShardCommit(writer, 0)
    commit.put(0, ONES)
    commit.report("P01_000", Presence.CACHED, "one frame repeated")
    commit.missing(1)
    commit.report("P01_001", Presence.MISSING, "no sound track")
    commit.commit()
    finish_reports(writer.root)
    store = FeatureStore.open(writer.root)
    assert store.failures == []
    assert [(note["id"], note["present"], note["reason"]) for note in store.notes] == [
        ("P01_000", Presence.CACHED, "one frame repeated"),
        ("P01_001", Presence.MISSING, "no sound track"),
    ]


def test_a_segment_done_otherwise_leaves_the_reports(writer: TokenWriter, settle: Callable[..., None]) -> None:
    settle(writer, {0: Presence.FAILED, 1: Presence.FAILED}, "first reason")
    commit = ShardCommit(writer, 1)
    commit.missing(2)
    commit.report("P01_002", Presence.MISSING, "no sound track")
    commit.commit()
    finish_reports(writer.root)
    settle(writer, {0: Presence.CACHED, 1: Presence.FAILED}, "second reason")
    settle(writer, {2: Presence.CACHED})
    finish_reports(writer.root)
    store = FeatureStore.open(writer.root)
    assert [(line["id"], line["reason"]) for line in store.failures] == [("P01_001", "second reason")]
    assert store.notes == []
    assert not (writer.root / "notes.jsonl").exists()
    settle(writer, {1: Presence.CACHED})
    finish_reports(writer.root)
    assert not (writer.root / "failures.jsonl").exists()
    assert verify(writer.root) == []


def test_finishing_twice_changes_nothing(
    writer: TokenWriter, tree: Callable[[Path], dict[str, bytes]], settle: Callable[..., None]
) -> None:
    settle(writer, {0: Presence.FAILED, 3: Presence.CACHED})
    finish_reports(writer.root)
    before = tree(writer.root)
    finish_reports(writer.root)
    assert tree(writer.root) == before


def test_arrays_whose_names_run_together_keep_their_own_reports(
    empty_store: Path, fingerprint: Fingerprint, settle: Callable[..., None]
) -> None:
    """rgb-left/enc and rgb/left-enc: both may be folders."""
    arrays = [("rgb", "left-enc"), ("rgb-left", "enc")]
    for modality, encoder in arrays:
        made_by = dataclasses.replace(fingerprint, encoder=encoder)
        settle(add_tokens(empty_store, modality, made_by, 2, 3), {0: Presence.FAILED})
    finish_reports(empty_store)
    assert [(line["modality"], line["encoder"]) for line in read_reports(empty_store / "failures.jsonl")] == arrays


@pytest.mark.parametrize(
    "reason", ["two\nlines", "ünïcode 動画", "a\x85b", "a\u2028b", 'quote " and \\', "not UTF-8: \udcff.mp4", ""]
)
def test_any_reason_is_kept_as_it_is(writer: TokenWriter, reason: str, settle: Callable[..., None]) -> None:
    """A path may hold any character, and bytes that are not UTF-8 (surrogates, as os.fsdecode gives them)."""
    settle(writer, {0: Presence.FAILED}, reason)
    finish_reports(writer.root)
    assert [line["reason"] for line in FeatureStore.open(writer.root).failures] == [reason]


def test_the_half_written_report_of_a_killed_worker_is_passed_over(
    writer: TokenWriter, settle: Callable[..., None]
) -> None:
    """Its shard is done again by another worker of the same run, which then finishes the reports."""
    settle(writer, {0: Presence.FAILED})
    (whole,) = (path for path in (writer.root / ".work").rglob("*failures.jsonl") if path.is_file())
    whole.with_name(f".tmp-123-{whole.name}").write_text('{"id": "P01_002", "mod')
    finish_reports(writer.root)
    assert [line["id"] for line in FeatureStore.open(writer.root).failures] == ["P01_000"]


def test_reports_of_an_array_removed_by_hand_go(
    writer: TokenWriter, fingerprint: Fingerprint, settle: Callable[..., None]
) -> None:
    other = add_tokens(writer.root, "m", dataclasses.replace(fingerprint, encoder="other"), 2, 3)
    settle(writer, {0: Presence.FAILED})
    settle(other, {1: Presence.FAILED})
    finish_reports(writer.root)
    for kind in ("tokens", "present"):
        shutil.rmtree(writer.root / kind / "m" / "enc")
    finish_reports(writer.root)
    assert [line["encoder"] for line in FeatureStore.open(writer.root).failures] == ["other"]


def test_damaged_reports_are_a_store_error(writer: TokenWriter) -> None:
    (writer.root / "failures.jsonl").write_bytes(b'{"id": "P01_000", "moda\xff\n')
    with pytest.raises(StoreError, match=r"failures\.jsonl"):
        finish_reports(writer.root)


def test_the_root_says_how_much_is_cached(writer: TokenWriter, settle: Callable[..., None]) -> None:
    settle(writer, {0: Presence.CACHED, 1: Presence.FAILED, 2: Presence.CACHED, 3: Presence.CACHED})
    finish_reports(writer.root)
    meta = FeatureStore.open(writer.root).meta
    assert meta.coverage == {"train": {"m": {"enc": 2}}, "validation": {"m": {"enc": 1}}}
    assert meta.recommended == {"k": 2}


def test_reports_are_json_lines(writer: TokenWriter, settle: Callable[..., None]) -> None:
    settle(writer, {0: Presence.FAILED, 1: Presence.FAILED})
    finish_reports(writer.root)
    lines = (writer.root / "failures.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["P01_000", "P01_001"]


def test_reports_have_digests_in_the_root_and_spare_copies(writer: TokenWriter) -> None:
    commit = ShardCommit(writer, 0)
    commit.failed(0)
    commit.report("P01_000", Presence.FAILED, "bad file")
    commit.missing(1)
    commit.report("P01_001", Presence.MISSING, "no sound track")
    commit.commit()
    finish_reports(writer.root)
    digests = read_meta(writer.root).sha256
    assert set(digests) == {"segments.parquet", "failures.jsonl", "notes.jsonl"}
    for name, digest in digests.items():
        data = (writer.root / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == digest
        assert spare_of(writer.root, name).read_bytes() == data


def test_a_report_that_is_empty_again_leaves_neither_file_nor_spare_nor_digest(
    writer: TokenWriter, settle: Callable[..., None]
) -> None:
    settle(writer, {0: Presence.FAILED})
    finish_reports(writer.root)
    settle(writer, {0: Presence.CACHED})
    finish_reports(writer.root)
    assert not (writer.root / "failures.jsonl").exists()
    assert not spare_of(writer.root, "failures.jsonl").exists()
    assert set(read_meta(writer.root).sha256) == {"segments.parquet"}
    assert verify(writer.root) == []


def test_unfinished_reports_are_no_fault(writer: TokenWriter, settle: Callable[..., None]) -> None:
    """A run was killed after its shards and before its reports."""
    settle(writer, {0: Presence.FAILED, 2: Presence.CACHED})
    finish_reports(writer.root)
    settle(writer, {0: Presence.CACHED, 3: Presence.FAILED})
    assert verify(writer.root) == []


@pytest.mark.parametrize(
    "content", [b"{oops\n", b'{"id": "P01_003"}\n', b'"text"\n', b"\xff\n", b"\0" * 80, b"null\n", b"3\n"]
)
def test_every_kind_of_damaged_report_is_a_store_error_with_the_advice_to_repair(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "failures.jsonl").write_bytes(content)
    with pytest.raises(StoreError, match=r"failures\.jsonl cannot be read .*verify --repair"):
        read_reports(tmp_path / "failures.jsonl")


def test_no_report_is_an_empty_one(tmp_path: Path) -> None:
    assert read_reports(tmp_path / "failures.jsonl") == []
