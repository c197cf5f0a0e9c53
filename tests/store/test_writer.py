import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmcache.store import FeatureStore, FingerprintError, StoreError
from mmcache.store.create import check_same_segments, create_store
from mmcache.store.fingerprint import Fingerprint
from mmcache.store.layout import Presence, StoreMeta, token_arrays
from mmcache.store.reports import finish_reports, read_reports
from mmcache.store.verify import verify
from mmcache.store.writer import TokenWriter, add_tokens

PROPERTY = settings(deadline=None, max_examples=15, derandomize=True)
N = 5
ONES = np.ones((1, 2, 3), np.float16)
MakeSegments = Callable[[int], pd.DataFrame]
MakeMeta = Callable[[pd.DataFrame], StoreMeta]


@pytest.fixture
def empty_store(tmp_path: Path, make_segments: MakeSegments, make_meta: MakeMeta) -> Path:
    """Five segments, no tokens."""
    root = tmp_path / "toy.zarr"
    create_store(root, make_segments(N), make_meta(make_segments(N)))
    return root


@pytest.fixture
def writer(empty_store: Path, fingerprint: Fingerprint) -> TokenWriter:
    """Of m/enc in the empty store, (5, 1, 2, 3) in shards of two rows."""
    return add_tokens(empty_store, "m", fingerprint, 2, 3, shard_bytes=2 * ONES.nbytes)


def settle(writer: TokenWriter, statuses: dict[int, Presence], reason: str = "bad file") -> None:
    """Commit these rows; what is not CACHED without trouble or MISSING gets a report."""
    for shard in writer.grid.shards_of(np.array(list(statuses))).tolist():
        commit = writer.shard(shard)
        for row in sorted(set(statuses) & set(writer.grid.rows(shard))):
            if statuses[row] == Presence.CACHED:
                commit.put(row, ONES + row)
            elif statuses[row] == Presence.MISSING:
                commit.missing(row)
            else:
                commit.failed(row)
                commit.report(f"P01_{row:03}", Presence.FAILED, reason)
        commit.commit()


# A store that other readers understand.


@pytest.mark.filterwarnings("ignore:Object at .* is not recognized as a component:zarr.errors.ZarrUserWarning")
def test_plain_zarr_lists_and_reads_the_arrays(epic_store: Path) -> None:
    group = zarr.open_group(epic_store, mode="r")
    members = dict(group.members(max_depth=None))
    arrays = {name for name, member in members.items() if isinstance(member, zarr.Array)}
    made = {"rgb/swin3d_demo", "audio/ast_demo", "imu/imu_demo"}
    assert arrays == {f"{kind}/{name}" for kind in ("tokens", "present") for name in made}
    store = FeatureStore.open(epic_store)
    for name in sorted(made):
        tokens, present = group[f"tokens/{name}"], group[f"present/{name}"]
        assert tokens.shape[0] == present.shape[0] == len(store) == 52
        np.testing.assert_array_equal(present[:], store.present[name])
        np.testing.assert_array_equal(tokens[:, 0], store.tokens[name].read(np.arange(52)))


def test_presence_and_lengths_are_the_bytes_that_zarr_writes(
    make_store: Callable[..., Path], tree: Callable[[Path], dict[str, bytes]]
) -> None:
    presence = np.array([Presence.CACHED, Presence.MISSING, Presence.TO_DO, Presence.FAILED, Presence.CACHED])
    lengths = np.array([[1, 2], [0, 0], [0, 0], [0, 0], [2, 1]])
    root = make_store({"m": np.ones((5, 2, 2, 3), np.float16)}, 3, {"m": presence}, {"m": lengths})
    before = tree(root)
    for kind, values in (("present", presence), ("length", lengths)):
        array = zarr.open_array(root / kind / "m/enc", mode="r+")
        np.testing.assert_array_equal(array[:], values)
        array[:] = array[:]
    assert tree(root) == before


def test_absent_segments_cost_no_bytes(make_store: Callable[..., Path]) -> None:
    tokens = np.ones((4, 1, 10, 10), np.float16)
    presence = np.array([Presence.CACHED, Presence.MISSING, Presence.MISSING, Presence.FAILED])
    root = make_store({"m": tokens}, 2, {"m": presence})
    shards = [path for path in (root / "tokens/m/enc/c").rglob("*") if path.is_file()]
    index = 2 * 16 + 4
    assert [(path.relative_to(root).parts[4], path.stat().st_size) for path in shards] == [("0", 200 + 4 + index)]


# Killed at any moment.


@pytest.fixture(scope="module")
def killed(kill_everywhere: Callable[[str], tuple[Path, list[dict]]]) -> tuple[Path, list[dict]]:
    return kill_everywhere("extract")


def without_temporary(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if ".tmp-" not in name}


def test_after_a_kill_the_same_command_ends_with_the_same_bytes(
    killed: tuple[Path, list[dict]], tree: Callable[[Path], dict[str, bytes]]
) -> None:
    folder, kills = killed
    undisturbed = tree(folder / "undisturbed")
    assert len(kills) > 50
    assert any(name.startswith("toy.zarr/tokens/rgb/enc/c/0") for name in undisturbed)
    for kill in kills:
        assert kill["rerun"] == [], kill
        assert without_temporary(tree(folder / str(kill["n"]))) == undisturbed, kill


def test_after_a_kill_and_a_rerun_nothing_temporary_is_left(killed: tuple[Path, list[dict]]) -> None:
    folder, kills = killed
    left = {kill["operation"]: [p.name for p in (folder / str(kill["n"])).rglob(".tmp-*")] for kill in kills}
    assert {operation: names for operation, names in left.items() if names} == {}


def test_after_a_kill_the_store_opens_and_shows_only_right_tokens(killed: tuple[Path, list[dict]]) -> None:
    _, kills = killed
    assert {kill["operation"]: kill["unreadable"] for kill in kills if kill["unreadable"]} == {}


def test_after_a_kill_the_store_is_sound(killed: tuple[Path, list[dict]]) -> None:
    """Design, section 4: killed at any moment, the store stays valid."""
    _, kills = killed
    assert {kill["operation"]: kill["unsound"] for kill in kills if kill["unsound"]} == {}


def test_a_shard_that_was_not_committed_stays_to_do(writer: TokenWriter) -> None:
    commit = writer.shard(0)
    commit.put(0, ONES)
    commit.missing(1)
    assert writer.presence().tolist() == [Presence.TO_DO] * N
    commit.abort()
    assert writer.presence().tolist() == [Presence.TO_DO] * N
    assert FeatureStore.open(writer.root).rows().tolist() == []
    assert verify(writer.root) == []


# The bytes are a function of what is cached, not of when and in how many runs.


@PROPERTY
@given(data=st.data())
def test_done_in_parts_equals_done_at_once(
    data: st.DataObject,
    make_store: Callable[..., Path],
    random_tokens: Callable[..., NDArray[np.floating]],
    make_folder: Callable[[], Path],
    tree: Callable[[Path], dict[str, bytes]],
) -> None:
    """Rows in random parts, each part's shards in random order, lengths and failures with them."""
    n, views = 7, 2
    statuses = data.draw(
        st.lists(st.sampled_from([Presence.CACHED, Presence.MISSING, Presence.FAILED]), min_size=n, max_size=n)
    )
    part_of = data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
    tokens = random_tokens(n, views, 2, 3)
    presence = np.array(statuses)
    lengths = np.where(presence[:, None] == Presence.CACHED, np.array([[1, 2]]), 0)
    at_once = make_store({"m": tokens}, 3, {"m": presence}, {"m": lengths})

    in_parts = make_folder() / "toy.zarr"
    shutil.copytree(at_once, in_parts)
    for kind in ("tokens", "length", "present"):
        shutil.rmtree(in_parts / kind / "m" / "enc" / "c", ignore_errors=True)
    (in_parts / "failures.jsonl").unlink(missing_ok=True)
    finish_reports(in_parts)
    writer = TokenWriter(in_parts, "m", "enc")
    assert (writer.presence() == Presence.TO_DO).all()
    for part in range(3):
        for shard in data.draw(st.permutations(range(writer.grid.n_shards))):
            commit = writer.shard(shard)
            for row in (row for row in writer.grid.rows(shard) if part_of[row] == part):
                if statuses[row] == Presence.CACHED:
                    commit.put(row, tokens[row], lengths[row])
                elif statuses[row] == Presence.MISSING:
                    commit.missing(row)
                else:
                    commit.failed(row)
                    commit.report(f"P01_{row:03}", Presence.FAILED, "bad file")
            commit.commit()
        if data.draw(st.booleans()):
            finish_reports(in_parts)
    finish_reports(in_parts)
    assert tree(in_parts) == tree(at_once)


def test_an_array_keeps_its_shards_when_another_size_is_asked_for(
    writer: TokenWriter, fingerprint: Fingerprint, tree: Callable[[Path], dict[str, bytes]]
) -> None:
    settle(writer, {0: Presence.CACHED})
    before = tree(writer.root)
    again = add_tokens(writer.root, "m", fingerprint, 2, 3, shard_bytes=1 << 20)
    assert again.grid == writer.grid
    assert tree(writer.root) == before


def test_a_second_encoder_stands_beside_the_first(
    writer: TokenWriter, fingerprint: Fingerprint, tree: Callable[[Path], dict[str, bytes]]
) -> None:
    settle(writer, dict.fromkeys(range(N), Presence.CACHED))
    before = tree(writer.root / "tokens/m/enc")
    for encoder in ("zzz", "aaa"):
        add_tokens(writer.root, "m", dataclasses.replace(fingerprint, encoder=encoder), 4, 1, dtype="float32")
    assert token_arrays(writer.root) == [("m", "enc"), ("m", "zzz"), ("m", "aaa")]
    assert tree(writer.root / "tokens/m/enc") == before
    assert TokenWriter(writer.root, "m", "aaa").presence().tolist() == [Presence.TO_DO] * N
    assert verify(writer.root) == []


def test_a_new_array_is_all_to_do_even_where_an_old_one_was_removed_by_hand(
    writer: TokenWriter, fingerprint: Fingerprint
) -> None:
    settle(writer, dict.fromkeys(range(N), Presence.CACHED))
    shutil.rmtree(writer.path)
    again = add_tokens(writer.root, "m", fingerprint, 2, 3, shard_bytes=3 * ONES.nbytes)
    assert again.presence().tolist() == [Presence.TO_DO] * N


# One shard.


@pytest.mark.parametrize("row", [-1, 2, 4])
@pytest.mark.parametrize("settle_row", ["put", "missing", "failed"])
def test_rows_of_another_shard_are_refused(writer: TokenWriter, row: int, settle_row: str) -> None:
    commit = writer.shard(0)
    with pytest.raises(ValueError, match=rf"rows of shard 0 must ascend within range\(0, 2\): got {row}"):
        getattr(commit, settle_row)(row, *([ONES] if settle_row == "put" else []))
    commit.abort()


def test_rows_must_ascend(writer: TokenWriter) -> None:
    commit = writer.shard(0)
    commit.put(1, ONES)
    for row in (1, 0):
        with pytest.raises(ValueError, match="must ascend"):
            commit.missing(row)
    commit.abort()


@pytest.mark.parametrize(
    "tokens", [np.ones((1, 2, 4), np.float16), np.ones((1, 3, 3), np.float16), np.ones((1, 2, 3), np.int8)]
)
def test_tokens_of_another_size_are_refused(writer: TokenWriter, tokens: NDArray[np.floating]) -> None:
    commit = writer.shard(0)
    with pytest.raises(ValueError, match="takes"):
        commit.put(0, tokens)
    commit.abort()


def test_a_damaged_chunk_is_not_carried_over(writer: TokenWriter, tree: Callable[[Path], dict[str, bytes]]) -> None:
    settle(writer, {0: Presence.CACHED})
    shard = writer.path / "c/0/0/0/0"
    raw = bytearray(shard.read_bytes())
    raw[3] ^= 1
    shard.write_bytes(raw)
    before = tree(writer.root)
    commit = writer.shard(0)
    with pytest.raises(StoreError, match=r"c/0/0/0/0 has a damaged chunk; run `mmcache store verify --repair`"):
        commit.put(1, ONES)
    commit.abort()
    assert tree(writer.root) == before


def test_presence_without_tokens_is_not_carried_over(writer: TokenWriter) -> None:
    settle(writer, {0: Presence.CACHED})
    (writer.path / "c/0/0/0/0").unlink()
    commit = writer.shard(0)
    with pytest.raises(StoreError, match=r"c/0/0/0/0 lacks tokens that presence claims"):
        commit.put(1, ONES)
    commit.abort()


# failures.jsonl and notes.jsonl.


def test_reports_are_sorted_by_row_whatever_the_order_of_work(writer: TokenWriter) -> None:
    for row in (4, 0, 3):
        settle(writer, {row: Presence.FAILED}, f"reason {row}")
    finish_reports(writer.root)
    assert FeatureStore.open(writer.root).failures == [
        {"id": f"P01_{row:03}", "modality": "m", "encoder": "enc", "reason": f"reason {row}"} for row in (0, 3, 4)
    ]
    assert not (writer.root / ".work").exists()
    assert verify(writer.root) == []


def test_notes_say_what_became_of_the_segment(writer: TokenWriter) -> None:
    commit = writer.shard(0)
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


def test_a_segment_done_otherwise_leaves_the_reports(writer: TokenWriter) -> None:
    settle(writer, {0: Presence.FAILED, 1: Presence.FAILED}, "first reason")
    commit = writer.shard(1)
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


def test_finishing_twice_changes_nothing(writer: TokenWriter, tree: Callable[[Path], dict[str, bytes]]) -> None:
    settle(writer, {0: Presence.FAILED, 3: Presence.CACHED})
    finish_reports(writer.root)
    before = tree(writer.root)
    finish_reports(writer.root)
    assert tree(writer.root) == before


def test_arrays_whose_names_run_together_keep_their_own_reports(empty_store: Path, fingerprint: Fingerprint) -> None:
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
def test_any_reason_is_kept_as_it_is(writer: TokenWriter, reason: str) -> None:
    """A path may hold any character, and bytes that are not UTF-8 (surrogates, as os.fsdecode gives them)."""
    settle(writer, {0: Presence.FAILED}, reason)
    finish_reports(writer.root)
    assert [line["reason"] for line in FeatureStore.open(writer.root).failures] == [reason]


def test_the_half_written_report_of_a_killed_worker_is_passed_over(writer: TokenWriter) -> None:
    """Its shard is done again by another worker of the same run, which then finishes the reports."""
    settle(writer, {0: Presence.FAILED})
    (whole,) = (path for path in (writer.root / ".work").rglob("*failures.jsonl") if path.is_file())
    whole.with_name(f".tmp-123-{whole.name}").write_text('{"id": "P01_002", "mod')
    finish_reports(writer.root)
    assert [line["id"] for line in FeatureStore.open(writer.root).failures] == ["P01_000"]


def test_reports_of_an_array_removed_by_hand_go(writer: TokenWriter, fingerprint: Fingerprint) -> None:
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


def test_the_root_says_how_much_is_cached(writer: TokenWriter) -> None:
    settle(writer, {0: Presence.CACHED, 1: Presence.FAILED, 2: Presence.CACHED, 3: Presence.CACHED})
    finish_reports(writer.root)
    meta = FeatureStore.open(writer.root).meta
    assert meta.coverage == {"train": {"m": {"enc": 2}}, "validation": {"m": {"enc": 1}}}
    assert meta.recommended == {"k": 2}


# What is refused.


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("weights_sha256", "1" * 64),
        ("preprocessing", {"frames": 32, "size": [8, 8]}),
        ("k", 300),
        ("code_version", 2),
    ],
)
def test_tokens_made_differently_are_refused(
    writer: TokenWriter, fingerprint: Fingerprint, field: str, value: object, tree: Callable[[Path], dict[str, bytes]]
) -> None:
    before = tree(writer.root)
    other = dataclasses.replace(fingerprint, **{field: value})
    with pytest.raises(FingerprintError, match=f"{field}: the store has .*, this run") as caught:
        add_tokens(writer.root, "m", other, 2, 3)
    assert str(caught.value).count("the store has") == 1
    assert tree(writer.root) == before


@pytest.mark.parametrize("changes", [{"tokens": 3}, {"width": 4}, {"views": 2}, {"dtype": "float32"}])
def test_another_shape_or_dtype_is_refused(
    writer: TokenWriter, fingerprint: Fingerprint, changes: dict[str, Any]
) -> None:
    with pytest.raises(StoreError, match=r"holds float16 tokens of shape \(5, 1, 2, 3\); this run makes"):
        add_tokens(writer.root, "m", fingerprint, **{"tokens": 2, "width": 3, **changes})


@pytest.mark.parametrize("made_with", [False, True])
def test_lengths_for_an_array_that_was_made_without_are_refused_and_the_other_way_round(
    empty_store: Path, fingerprint: Fingerprint, made_with: bool
) -> None:
    add_tokens(empty_store, "m", fingerprint, 2, 3, variable_length=made_with)
    with pytest.raises(StoreError, match="length"):
        add_tokens(empty_store, "m", fingerprint, 2, 3, variable_length=not made_with)


def test_a_dtype_that_is_not_stored_is_refused(empty_store: Path, fingerprint: Fingerprint) -> None:
    with pytest.raises(StoreError, match="stored as float16 or float32 or int8, not int4"):
        add_tokens(empty_store, "m", fingerprint, 2, 3, dtype="int4")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/a", ".hidden", "a b", "a\n", "é", "x" * 101, "a.", "-a", "zarr.json"]
)
@pytest.mark.parametrize("what", ["modality", "encoder"])
def test_names_that_cannot_be_folders_are_refused(
    empty_store: Path, fingerprint: Fingerprint, what: str, name: str, tree: Callable[[Path], dict[str, bytes]]
) -> None:
    before = tree(empty_store.parent)
    modality, encoder = (name, "enc") if what == "modality" else ("m", name)
    with pytest.raises(StoreError, match=f"(?s){what} .* cannot name a folder"):
        add_tokens(empty_store, modality, dataclasses.replace(fingerprint, encoder=encoder), 2, 3)
    assert tree(empty_store.parent) == before


def test_a_store_is_not_made_over_another(empty_store: Path, make_segments: MakeSegments, make_meta: MakeMeta) -> None:
    with pytest.raises(StoreError, match="exists already"):
        create_store(empty_store, make_segments(3), make_meta(make_segments(3)))
    assert len(FeatureStore.open(empty_store)) == N


def test_unsound_segments_leave_no_store(tmp_path: Path, make_segments: MakeSegments, make_meta: MakeMeta) -> None:
    segments = make_segments(4).assign(id="same")
    with pytest.raises(StoreError, match="must be unique"):
        create_store(tmp_path / "toy.zarr", segments, make_meta(segments))
    assert list(tmp_path.iterdir()) == []


def test_the_same_segments_are_accepted(empty_store: Path, make_segments: MakeSegments, make_meta: MakeMeta) -> None:
    segments = make_segments(N)
    check_same_segments(empty_store, segments, make_meta(segments))
    columns = ["narration", "noun", "verb", "split", "stop_s", "start_s", "video", "id"]
    check_same_segments(empty_store, segments[columns].set_index(np.arange(N) + 7), make_meta(segments))


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("some segments differ", {"id": [f"P02_{row}" for row in range(N)]}),
        ("some segments differ", {"start_s": np.arange(N) * 2.0 - 0.001}),
        ("some segments differ", {"verb": [0, 1, 2, 0, 2]}),
        ("some segments differ", {"narration": "wash pan"}),
        ("splits differs", {"split": "train"}),
    ],
)
def test_other_segments_are_refused(
    empty_store: Path, make_segments: MakeSegments, make_meta: MakeMeta, what: str, change: dict[str, Any]
) -> None:
    segments = make_segments(N).assign(**change)
    with pytest.raises(StoreError, match=rf"was made from other annotations \({what}.*--store PATH"):
        check_same_segments(empty_store, segments, make_meta(segments))


def test_the_same_segments_in_another_order_are_refused(
    empty_store: Path, make_segments: MakeSegments, make_meta: MakeMeta
) -> None:
    segments = make_segments(N)
    with pytest.raises(StoreError, match="some segments differ"):
        check_same_segments(empty_store, segments.iloc[[1, 0, 2, 3, 4]], make_meta(segments))


@pytest.mark.parametrize(
    ("field", "value"), [("dataset", "other"), ("tasks", {"verb": ["take", "cut", "dry"], "noun": list("abcd")})]
)
def test_another_data_set_is_refused(
    empty_store: Path, make_segments: MakeSegments, make_meta: MakeMeta, field: str, value: object
) -> None:
    segments = make_segments(N)
    meta = dataclasses.replace(make_meta(segments), **{field: value})
    with pytest.raises(StoreError, match=f"was made from other annotations \\({field} differs"):
        check_same_segments(empty_store, segments, meta)


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param(pd.Series(["a", "b", "c", "d", "e"], dtype=object), id="objects"),
        pytest.param(pd.Series(["a", None, "c", "d", "e"]), id="text with gaps"),
        pytest.param(pd.Series(["a", None, "c", "d", "e"], dtype=object), id="objects with gaps"),
        pytest.param(pd.Series([1.5, np.nan, 2, 3, 4]), id="numbers with gaps"),
        pytest.param(pd.Series([1, None, 2, 3, 4], dtype="Int64"), id="integers with gaps"),
        pytest.param(pd.Series([True, False, True, True, True]), id="yes and no"),
        pytest.param(pd.Series(list("abcab"), dtype="category"), id="categories"),
    ],
)
def test_segments_with_any_extra_column_are_the_same_when_they_come_again(
    tmp_path: Path, make_segments: MakeSegments, make_meta: MakeMeta, extra: pd.Series
) -> None:
    """A data set's own columns go through the file and back; the next run of the same command compares them."""
    segments = make_segments(N).assign(extra=extra)
    create_store(tmp_path / "toy.zarr", segments, make_meta(segments))
    check_same_segments(tmp_path / "toy.zarr", segments, make_meta(segments))


def test_reports_are_json_lines(writer: TokenWriter) -> None:
    settle(writer, {0: Presence.FAILED, 1: Presence.FAILED})
    finish_reports(writer.root)
    lines = (writer.root / "failures.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["P01_000", "P01_001"]
