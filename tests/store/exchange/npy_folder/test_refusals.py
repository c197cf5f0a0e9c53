"""Folders of another form are refused, with all that is to be put right."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmcache.store import ConfigError, FeatureStore, StoreError
from mmcache.store.exchange.npy_export import export_npy
from mmcache.store.exchange.npy_import import import_npy


@pytest.mark.parametrize(
    ("table", "messages"),
    [
        pytest.param("name,verb\na,1\n", ["lacks the column split; it has name, verb"], id="columns"),
        pytest.param("id,Subset\na,train\n", ["lacks the column split", "If 'Subset' holds the splits"], id="subset"),
        pytest.param("id,split,a\na,train\n", ["line 2 has 2 cells, the header has 3"], id="short row"),
        pytest.param("id,split\na,train,x\n", ["line 2 has 3 cells, the header has 2"], id="long row"),
        pytest.param("id,split,Split\na,train,x\n", ["has the columns 'split' and 'Split'"], id="case"),
        pytest.param("", ["is empty; its first line must name the columns"], id="empty"),
        pytest.param("id,split,verb\n", ["has no segments: there is nothing to import"], id="no rows"),
        pytest.param("id,split\na,train\na,train\n", ["segment ids must be unique; 'a'"], id="repeated id"),
        pytest.param(b"id,split\n\xff,train\n", ["line 2 is not UTF-8"], id="no UTF-8"),
        pytest.param('id,split\n"a,train\n', ["line 2 is no CSV: a quote is opened"], id="no CSV"),
        pytest.param("id,split,start_s,stop_s\na,train,2,1\n", ["'a' does not stop after it starts"], id="span"),
        pytest.param(
            "id,split,start_s,stop_s\na,train,x,1\n",
            ["segments.csv line 2: start_s 'x' is no number of seconds"],
            id="words",
        ),
        pytest.param("id,split,verb\na,train,-2\n", ["'verb' has the label '-2' in"], id="label below -1"),
        pytest.param("id,split,verb\na,train,nan\n", ["'verb' has 'nan' in", "leave the cell empty"], id="gap"),
        pytest.param("id,split,verb\na,train,10000\n", ["'verb' has labels up to 10000 for 1"], id="large"),
        pytest.param(
            "id,split,Verb,2,big\na,train,x,y,99999\n",
            [
                "3 things to put right",
                "'Verb' cannot name a task",
                "'2' cannot name a task",
                "'big' has labels up to 99999",
            ],
            id="three at once",
        ),
    ],
)
def test_tables_of_another_form_are_refused(
    table: str | bytes, messages: list[str], user_folder: Callable[..., Path], tmp_path: Path, tokens: Callable
) -> None:
    folder = user_folder("", m={"a": tokens(1)})
    (folder / "segments.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    with pytest.raises((ConfigError, StoreError)) as caught:
        import_npy(folder, tmp_path / "new.zarr")
    for message in messages:
        assert caught.match(message)
    assert [path.name for path in tmp_path.iterdir()] == ["features"]


def test_folders_of_another_form_are_refused(
    user_folder: Callable[..., Path], tmp_path: Path, tokens: Callable
) -> None:
    folder = user_folder()
    root = tmp_path / "new.zarr"
    with pytest.raises(ConfigError, match=r"has no folder of \.npy files"):
        import_npy(folder, root)
    for name in ("a b", "é"):
        (folder / name).mkdir()
        np.save(folder / name / "a.npy", tokens(1))
    with pytest.raises(ConfigError, match="2 things to put right") as caught:
        import_npy(folder, root)
    assert caught.match("modality 'a b' cannot name a folder")
    assert caught.match("modality 'é' cannot name a folder")
    (folder / "segments.csv").unlink()
    with pytest.raises(ConfigError, match=r"segments\.csv cannot be read"):
        import_npy(folder, root)
    with pytest.raises(ConfigError, match="is no folder"):
        import_npy(tmp_path / "nowhere", root)
    assert [path.name for path in tmp_path.iterdir()] == ["features"]


def test_tasks_and_classes_that_do_not_fit_are_told_at_once(
    user_folder: Callable[..., Path], tmp_path: Path, tokens: Callable
) -> None:
    folder = user_folder("id,split,verb,noun\na,train,take,cup\nb,train,cut,pan\nc,test,take,cup\n")
    (folder / "m").mkdir()
    np.save(folder / "m" / "a.npy", tokens(1))
    (folder / "classes").mkdir()
    (folder / "classes" / "verb.txt").write_text("take\n")
    (folder / "classes" / "noun.txt").write_text("mug\n")
    with pytest.raises(ConfigError, match="3 things to put right") as caught:
        import_npy(folder, tmp_path / "new.zarr", tasks=["verb", "noun", "action"])
    for message in (
        r"column 'verb' has 'cut' in .*, which .*verb\.txt does not list",
        r"column 'noun' has 'cup' in .* \(3 such\), which .*noun\.txt does not list",
        r"task 'action' is no column of .*segments\.csv; there are: verb, noun",
    ):
        assert caught.match(message)
    assert [path.name for path in tmp_path.iterdir()] == ["features"]


def test_a_classes_file_that_is_no_utf8_is_refused(
    user_folder: Callable[..., Path], tmp_path: Path, tokens: Callable
) -> None:
    folder = user_folder(m={"a": tokens(1)})
    (folder / "classes").mkdir()
    (folder / "classes" / "verb.txt").write_bytes(b"take\nl\xf6\xf6k\n")
    with pytest.raises(ConfigError, match=r"verb\.txt"):
        import_npy(folder, tmp_path / "new.zarr")


@pytest.mark.parametrize(
    ("about", "message"),
    [
        (b"{", r"mmcache\.json is not JSON: .*Remove it to import without it"),
        (b"\xff", r"mmcache\.json line 1 is not UTF-8 .*Remove it to import without it"),
        (b"[]", r"mmcache\.json holds no mapping"),
        (b'{"fingerprints": {"m": {"encoder": "x"}}}', "the fingerprint of m in mmcache.json is incomplete"),
    ],
)
def test_a_damaged_about_file_is_refused(
    about: bytes, message: str, user_folder: Callable[..., Path], tmp_path: Path, tokens: Callable
) -> None:
    folder = user_folder(m={"a": tokens(1)})
    (folder / "mmcache.json").write_bytes(about)
    with pytest.raises(ConfigError, match=message):
        import_npy(folder, tmp_path / "new.zarr")


def test_an_encoder_that_is_a_path_leads_nowhere(source: FeatureStore, tmp_path: Path) -> None:
    export_npy(source, tmp_path / "out")
    about = tmp_path / "out" / "mmcache.json"
    about.write_text(about.read_text().replace('"encoder": "swin"', '"encoder": "../../swin"'))
    with pytest.raises(StoreError, match=r"encoder '\.\./\.\./swin' cannot name a folder"):
        import_npy(tmp_path / "out", tmp_path / "new.zarr")
    assert not list(tmp_path.rglob("swin"))
    shutil.rmtree(tmp_path / "out")
