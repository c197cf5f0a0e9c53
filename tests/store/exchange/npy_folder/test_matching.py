"""Which file belongs to which segment: by id, by row number, and never by a guess."""

import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcache.store import ConfigError, Presence
from mmcache.store.exchange.npy_form import file_name
from mmcache.store.exchange.npy_import import import_npy
from mmcache.store.exchange.npy_matching import match_ids, nearest
from mmcache.store.ground.errors import TooManyFailures

C, M, F = Presence.CACHED, Presence.MISSING, Presence.FAILED
NUMBERED = "split,verb\ntrain,take\ntrain,cut\ntest,take\n"
IDS = st.lists(
    st.one_of(
        st.sampled_from(["a/b", "a%2Fb", "A", "a", "é", "e\u0301", "", "%", "%25"]), st.text("aé/%.", max_size=4)
    ),
    min_size=1,
    max_size=6,
    unique=True,
)


@given(ids=IDS, lacking=st.sets(st.integers(0, 5)))
def test_every_file_of_an_export_goes_back_to_its_own_segment(ids: list[str], lacking: set[int]) -> None:
    """Also where one id is the percent-encoded form of another."""
    written = {row: file_name(segment) for row, segment in enumerate(ids) if row not in lacking}
    found = match_ids(list(written.values()), ids, encoded=True)
    assert {row: found.get(row) for row in written} == written
    assert len(set(found.values())) == len(found)


@given(ids=IDS, names=st.lists(st.text("aé/%.", max_size=4), max_size=6, unique=True))
def test_no_file_belongs_to_two_segments(ids: list[str], names: list[str]) -> None:
    for encoded in (False, True):
        found = match_ids([f"{name}.npy" for name in names], ids, encoded)
        assert len(set(found.values())) == len(found)
        for row, name in found.items():
            spellings = {ids[row], file_name(ids[row])[:-4]}
            assert {unicodedata.normalize("NFC", name[:-4])} & {unicodedata.normalize("NFC", s) for s in spellings}


def test_files_of_a_person_have_the_ids_as_they_are() -> None:
    assert match_ids(["a%2Fb.npy", "ä.NPY"], ["a/b", "a%2Fb", "a\u0308"], encoded=False) == {
        1: "a%2Fb.npy",
        2: "ä.NPY",
    }


@pytest.mark.parametrize(
    ("name", "ids", "near"),
    [
        ("p01_7", ["P01_6", "P01_7"], "P01_7"),
        ("P01_7_rgb", ["P01", "P01_7", "P01_70"], "P01_7"),
        ("video_0001", ["video_0001.mp4", "x"], "video_0001.mp4"),
        ("clip12", ["clip-12", "other"], "clip-12"),
        ("a", ["b", "c"], None),
        ("a", [], None),
    ],
)
def test_a_near_id_is_named(name: str, ids: list[str], near: str | None) -> None:
    assert nearest(name, ids) == near


def test_files_that_match_no_segment_are_named_with_an_example_of_both(
    user_folder: Callable[..., Path], tmp_path: Path, tokens: Callable
) -> None:
    folder = user_folder(m={"a": tokens(2), "b_m": tokens(2), "C": tokens(2)})
    done = import_npy(folder, tmp_path / "new.zarr")
    assert (
        "m: 2 of 3 files match no segment, such as 'C.npy'; ids are such as 'a'. Did you mean segment 'c'? A file must "
        "be named ID.npy"
    ) in done.notes
    assert done.counts() == {"m/npy": {"cached": 1, "missing": 2, "failed": 0}}
    done.check()


def test_where_no_file_matches_nothing_is_made(
    user_folder: Callable[..., Path], tmp_path: Path, tokens: Callable
) -> None:
    folder = user_folder(m={"a_m": tokens(2), "b_m": tokens(2)})
    with pytest.raises(TooManyFailures, match=r"nothing was imported\. m: 2 of 2 files match no segment"):
        import_npy(folder, tmp_path / "new.zarr")
    assert [path.name for path in tmp_path.iterdir()] == ["features"]


def test_a_modality_without_a_match_is_not_made_and_fails_the_import(
    user_folder: Callable[..., Path], tmp_path: Path, tokens: Callable, imported: Callable
) -> None:
    folder = user_folder(m={"a": tokens(2)}, depth={"x1": tokens(2)})
    done = import_npy(folder, tmp_path / "new.zarr")
    assert (done.arrays, done.empty) == (["m/npy"], ["depth"])
    with pytest.raises(TooManyFailures, match="nothing was imported of 'depth': no file belongs to a segment"):
        done.check(1)
    (folder / "depth" / "x1.npy").rename(folder / "depth" / "a.npy")
    assert imported(folder, tmp_path / "new.zarr").present["depth"].tolist() == [C, M, M]


def test_names_that_are_no_npy_files_are_told(
    user_folder: Callable[..., Path], tmp_path: Path, tokens: Callable
) -> None:
    folder = user_folder(m={"a": tokens(2)})
    (folder / "m" / "b.pt").write_bytes(b"x")
    (folder / "m" / "._a.npy").write_bytes(b"of macOS")
    (folder / "flow" / "train").mkdir(parents=True)
    notes = import_npy(folder, tmp_path / "new.zarr").notes
    assert "folder 'm': 1 names end in something else, and these are skipped: 'b.pt'" in notes
    assert "folder 'flow': no .npy file is in it, and these are skipped: 'train'" in notes
    assert not any("match no segment" in note for note in notes)


@pytest.mark.parametrize(("first", "width"), [(0, 1), (1, 1), (0, 6), (1, 6)])
def test_without_ids_files_belong_to_rows_by_number(
    first: int, width: int, user_folder: Callable[..., Path], tmp_path: Path, imported: Callable, tokens: Callable
) -> None:
    rgb = {f"{first + row:0{width}}": tokens(1, value=row + 1) for row in range(3)}
    folder = user_folder(NUMBERED, rgb=rgb, audio={f"{first + 1:0{width}}": tokens(1, value=9)})
    store = imported(folder, tmp_path / "new.zarr")
    assert store.segments["id"].tolist() == [str(first + row) for row in range(3)]
    assert store.tokens["rgb"].read([0, 1, 2])[:, 0, 0].tolist() == [1, 2, 3]
    assert store.present["audio"].tolist() == [M, C, M]
    said = f"segments.csv has no column 'id': rows are counted from {first}, and files belong to them by number"
    assert said in import_npy(folder, store.path).notes


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["1", "2"], "numbers, 1 to 2 for 3 rows, do not say whether rows are counted from 0 or from 1"),
        (["0", "3"], "numbers, 0 to 3 for 3 rows, do not say"),
        (["clip1"], r"no file is named by the number of a row; files are as 'clip1\.npy'"),
        (["0", "00"], r"'0\.npy' and '00\.npy' have the same number"),
    ],
)
def test_numbers_that_leave_it_open_are_refused(
    names: list[str], message: str, user_folder: Callable[..., Path], tmp_path: Path, tokens: Callable
) -> None:
    folder = user_folder(NUMBERED, m={name: tokens(1) for name in names})
    with pytest.raises(ConfigError, match=message):
        import_npy(folder, tmp_path / "new.zarr")
    assert not (tmp_path / "new.zarr").exists()


def test_label_columns_that_nobody_named_are_told(
    user_folder: Callable[..., Path], tmp_path: Path, tokens: Callable, imported: Callable
) -> None:
    table = "ID,Split,verb,note,split_view\na,train,take,x,Train\nb,training,cut,y,\nc,TEST,take,z,test\n"
    folder = user_folder(table.replace("training", "train"), m={"a": tokens(1)})
    notes = import_npy(folder, tmp_path / "new.zarr").notes
    assert "labels: verb (2 classes), note (3 classes); --tasks names others" in notes
    assert "'note' has as many classes as there are segments: if it holds no labels, use --tasks" in notes
    store = imported(folder, tmp_path / "new.zarr")
    assert (store.meta.splits, store.meta.eval_split) == ({"test": 1, "train": 2}, "test")
    assert store.open(store.path, protocol="view").meta.splits == {"test": 1, "train": 1}
    assert (
        "labels: verb (2 classes); --tasks names others"
        not in import_npy(folder, tmp_path / "other.zarr", tasks=["verb"]).notes
    )


def test_times_are_no_labels(
    user_folder: Callable[..., Path], tmp_path: Path, tokens: Callable, imported: Callable
) -> None:
    table = "id,split,verb,start,clip_end,Stop_Time\na,train,take,0,1.5,2\nb,test,cut,2,3,4\n"
    folder = user_folder(table, m={"a": tokens(1)})
    done = import_npy(folder, tmp_path / "new.zarr")
    said = "'start', 'clip_end', 'Stop_Time': kept as columns; the times of a segment are read from start_s and stop_s"
    assert said in done.notes
    store = imported(folder, tmp_path / "new.zarr")
    assert store.tasks == {"verb": ["cut", "take"]}
    assert store.segments["clip_end"].tolist() == [1.5, 3]


@pytest.mark.parametrize(
    ("column", "kinds", "message"),
    [
        ("1,x,3", "number", r"segments\.csv line 3: 'x' in column 'extra' is no number"),
        ("True,False,maybe", "truth", r"line 4: 'maybe' in column 'extra' is neither True nor False"),
    ],
)
def test_a_cell_of_another_kind_than_the_export_says_is_named(
    column: str, kinds: str, message: str, user_folder: Callable[..., Path], tmp_path: Path, tokens: Callable
) -> None:
    rows = "".join(f"{name},train,{cell}\n" for name, cell in zip("abc", column.split(","), strict=True))
    folder = user_folder("id,split,extra\n" + rows, m={"a": tokens(1)})
    (folder / "mmcache.json").write_text(f'{{"tasks": [], "columns": {{"extra": "{kinds}"}}}}')
    with pytest.raises(ConfigError, match=message):
        import_npy(folder, tmp_path / "new.zarr")


def test_columns_of_others_are_what_they_look_like(
    user_folder: Callable[..., Path], tmp_path: Path, imported: Callable, tokens: Callable
) -> None:
    table = "id,split,verb,n,x,code,sharp,gap\na,train,take,1,0.1,007,True,1\nb,test,cut,2,2,008,False,\n"
    store = imported(user_folder(table, m={"a": tokens(1)}), tmp_path / "new.zarr", tasks=["verb"])
    assert store.segments.iloc[0].to_dict() | {"x": 0.1} == {
        "id": "a",
        "video": "a",
        "start_s": 0.0,
        "stop_s": 1.0,
        "split": "train",
        "verb": 1,
        "n": 1,
        "x": 0.1,
        "code": "007",
        "sharp": True,
        "gap": "1",
    }
    assert [store.segments[name].dtype.kind for name in ("n", "x", "sharp")] == ["i", "f", "b"]
