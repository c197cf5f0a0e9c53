"""Tables written by hand as a user would, and what the reader makes of them."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmcache.extract.datasets.manifest.manifest import Manifest
from mmcache.extract.media.base.source import Source
from mmcache.extract.planning.extract_config import ExtractConfig
from mmcache.store.feature_store import FeatureStore
from mmcache.store.format.layout import Presence
from mmcache.store.ground.errors import ConfigError

TABLE = """\
id,rgb,audio,imu,start,stop,split,label,label_tool,narration,Take No
a,v/c0.mp4,,s/a.csv;s/g.csv,0,2,train,cut,2,cut bread,1
b,v/c0.mp4,,s/a.csv;s/g.csv,2,4.5,train,wash,,"wash, then dry",2
c,v/c1.mp4,w/c1.wav,,,,test,cut,0,,3
d,,w/c2.wav,,1,,,wash,1,,
"""


def write(folder: Path, table: str = TABLE, files: tuple[str, ...] = ("v/c0.mp4", "w/c1.wav", "s/a.csv")) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    path = folder / "manifest.csv"
    path.write_text(table)
    return path


def test_a_table_with_everything(tmp_path: Path) -> None:
    manifest = Manifest(write(tmp_path))
    table = manifest.segments
    assert table["id"].tolist() == ["a", "b", "c", "d"]
    assert table["video"].tolist() == ["c0", "c0", "c1", "c2"]
    assert table["start_s"].tolist() == [0, 2, 0, 1]
    assert table["stop_s"].tolist() == [2, 4.5, np.inf, np.inf]
    assert table["split"].tolist() == ["train", "train", "test", "train"]
    assert manifest.tasks == {"label": ["cut", "wash"], "tool": ["0", "1", "2"]}
    assert table["label"].tolist() == [0, 1, 0, 1]
    assert table["tool"].tolist() == [2, -1, 0, 1]
    assert table["narration"].tolist() == ["cut bread", "wash, then dry", "", ""]
    assert table["take_no"].tolist() == ["1", "2", "3", ""]
    assert (manifest.eval_split, manifest.problems) == ("test", [])
    assert manifest.notes == [
        "carried along: narration, Take No as take_no",
        "labels: label (2 classes), tool (3 classes; 1 of 4 segments have none)",
    ]
    assert manifest.source("rgb", "c0") == Source("video", (tmp_path / "v/c0.mp4",))
    assert manifest.source("imu", "c0") == Source("imu", (tmp_path / "s/a.csv", tmp_path / "s/g.csv"))
    assert manifest.source("audio", "c1") == Source("audio", (tmp_path / "w/c1.wav",))
    for modality, video in (("audio", "c0"), ("imu", "c1"), ("rgb", "c2")):
        assert manifest.source(modality, video) is None, (modality, video)
    for modality, video, path in (("rgb", "c1", "v/c1.mp4"), ("audio", "c2", "w/c2.wav")):
        source = manifest.source(modality, video)
        assert source is not None, "what a table names is a source, whether it is there or not"
        assert source.absent() == f"{tmp_path / path} is not there"


@pytest.mark.parametrize("as_file", [True, False])
def test_parquet_a_folder_and_a_table_apart_from_its_media_give_the_same(as_file: bool, tmp_path: Path) -> None:
    csv = Manifest(write(tmp_path / "csv"))
    folder = tmp_path / "parquet"
    write(folder).unlink()
    types = {"start": float, "stop": float}
    table = pd.read_csv(tmp_path / "csv/manifest.csv", dtype=types)
    path = (folder if as_file else tmp_path) / "manifest.parquet"
    table.to_parquet(path)
    parquet = Manifest(folder) if as_file else Manifest(folder, path)
    other = ["tool", "take_no"]  # whole numbers with gaps are fractions in pandas
    pd.testing.assert_frame_equal(parquet.segments.drop(columns=other), csv.segments.drop(columns=other))
    assert parquet.source("rgb", "c0") == Source("video", (folder / "v/c0.mp4",))


def test_the_shortest_table_needs_paths_alone(tmp_path: Path) -> None:
    manifest = Manifest(write(tmp_path, "rgb\nx.mp4\n\ny.mp4\n", ("x.mp4",)), labels="none")
    assert manifest.segments["id"].tolist() == ["line2", "line4"]
    assert manifest.segments["split"].tolist() == ["train", "train"]
    assert (manifest.tasks, manifest.eval_split) == ({}, "")
    assert manifest.source("audio", "x") == Source("audio", (tmp_path / "x.mp4",)), "audio lies in the video"


def test_different_files_of_one_name_are_different_videos(tmp_path: Path) -> None:
    table = write(tmp_path, "rgb,audio\np/x.mp4,\nq/x.mp4,\np/x.mp4,s.wav\np/x.mp4,\n", ("q/x.mp4",))
    manifest = Manifest(table, labels="none")
    assert manifest.segments["video"].tolist() == ["x", "x#2", "x#3", "x"]
    sources = [manifest.source("rgb", video) for video in ("x", "x#2", "x#3")]
    assert [source is not None and source.absent() is None for source in sources] == [False, True, False]


def test_lines_that_cannot_be_segments_are_named_and_the_others_kept(tmp_path: Path) -> None:
    lines = ["a,x.mp4,0,1", "a,x.mp4,1,2", "b,x.mp4,2,1", "c,x.mp4,zero,1", "d,x.mp4,-1,1", ",x.mp4,0,1", "e,x.mp4,0,1"]
    manifest = Manifest(write(tmp_path, "id,rgb,start,stop\n" + "\n".join(lines), ("x.mp4",)), labels="none")
    assert manifest.segments["id"].tolist() == ["a", "e"]
    assert manifest.lost_rows == 5
    assert sorted(problem.split(": ")[0] for problem in manifest.problems) == [
        "manifest.csv line 3 (a)",
        "manifest.csv line 4 (b)",
        "manifest.csv line 5 (c)",
        "manifest.csv line 6 (d)",
        "manifest.csv line 7 (no id)",
    ]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("id,thing\na,x.mp4\n", "has no path column; name one after its modality: rgb, flow, audio, imu, depth, ir"),
        ("id,rgb,label\na,x.mp4,99999999\n", "labels up to 99999999 for 1 segments"),
        ("id,rgb,start,stop\na,x.mp4,3,2\n", "has no usable row: manifest.csv line 2"),
        ("id,rgb\n", "has no usable row: it is empty"),
        ("", "is empty; its first line must name the columns"),
        ('id,rgb\n"a,x.mp4\n', "line 2 is no CSV: a quote is opened there"),
    ],
)
def test_a_table_of_another_form_is_refused(table: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        Manifest(write(tmp_path, table, ()), labels="none")


def test_a_parquet_table_is_held_to_the_same(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").touch()
    path = tmp_path / "t.parquet"
    table = pd.DataFrame({"clip": ["a", "b"], "rgb": ["x.mp4", None], "label": ["cut", None], "start": [0.5, np.nan]})
    table.set_index("clip").rename_axis("id").to_parquet(path)
    manifest = Manifest(path)
    assert manifest.segments["id"].tolist() == ["a", "b"], "an index with a name is a column"
    assert manifest.segments["start_s"].tolist() == [0.5, 0.0], "null is empty"
    assert manifest.segments["label"].tolist() == [0, -1]
    assert manifest.source("rgb", "none") is None
    table.assign(Label="x").to_parquet(path)
    with pytest.raises(ConfigError, match=r"t\.parquet has the columns 'label' and 'Label'"):
        Manifest(path)
    table.assign(label="wash").to_parquet(path, compression=None)
    path.write_bytes(path.read_bytes().replace(b"wash", b"was\xff"))
    with pytest.raises(ConfigError, match=r"t\.parquet is no readable table: .*Invalid UTF8"):
        Manifest(path)
    table.assign(start=[0.5, np.inf]).to_parquet(path)
    assert Manifest(path).problems == [
        "t.parquet row 2 (line3): start 'inf' is no number of seconds such as 12.5, nor HH:MM:SS.ss"
    ]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_that_is_a_fifo_is_refused_at_once(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"t{suffix}"
    os.mkfifo(path)
    with pytest.raises(ConfigError, match="it is a FIFO, not a regular file"):
        Manifest(path)


def test_no_table_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no manifest at .*manifest\.csv, .*manifest\.parquet\. Give a CSV"):
        Manifest(tmp_path)
    (tmp_path / "manifest.parquet").write_bytes(b"PAR1 no more than that")
    with pytest.raises(ConfigError, match=r"manifest\.parquet is no readable table"):
        Manifest(tmp_path)


@pytest.mark.slow
def test_ten_lines_and_some_videos_are_extracted_with_no_other_preparation(epic_root: Path, tmp_path: Path) -> None:
    """Whole videos and spans, a file that is not there, one without audio, a span past the end."""
    from mmcache.extract.planning.plan import make_plan
    from mmcache.extract.run.pipeline import NoProgress, run_extract

    whole, silent = epic_root / "P01/videos/P01_101.MP4", epic_root / "P02/videos/P02_102.MP4"
    lines = [
        f"{whole},,,train,cut",
        *(f"{whole},{start},{start + 1},train,wash" for start in range(4)),
        f"{silent},,,test,cut",
        f"{silent},1,,test,wash",
        "gone.mp4,0,1,test,cut",
        f"{whole},5000,5001,test,cut",
        f"{whole},1,2,test,",
    ]
    table = tmp_path / "clips.csv"
    table.write_text("rgb,start,stop,split,label\n" + "\n".join(lines))
    encoders = {"rgb": "swin3d_demo", "audio": "ast_demo"}
    config = ExtractConfig(dataset="manifest", root=table, store=tmp_path / "s.zarr", encoder=encoders)
    run_extract(make_plan(config), NoProgress())
    store = FeatureStore.open(tmp_path / "s.zarr")
    c, m, f = Presence.CACHED, Presence.MISSING, Presence.FAILED
    assert store.present["rgb"].tolist() == [c, c, c, c, c, c, c, f, f, c]
    assert store.present["audio"].tolist() == [c, c, c, c, c, m, m, f, f, c]
    assert store.labels("label").tolist() == [0, 1, 1, 1, 1, 0, 1, 0, 0, -1]
    reasons = {line["id"]: line["reason"] for line in store.failures}
    assert reasons.keys() == {"line9", "line10"}
    assert reasons["line9"] == f"{tmp_path / 'gone.mp4'} is not there"
    tokens = store.tokens["rgb"].read(np.array([0, 2, 9]))
    assert not np.array_equal(tokens[0], tokens[1])
    np.testing.assert_array_equal(tokens[1], tokens[2])  # the same second of the same video


def test_a_path_is_found_however_its_letters_are_composed_and_from_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    composed, parts = "v/\u00fcn.mp4", "v/u\u0308n.mp4"
    table = f"rgb,label\n{composed},cut\n~/b.mp4,wash\nhttps://x.org/c.mp4,cut\n"
    manifest = Manifest(write(tmp_path, table, (parts, "home/b.mp4")))
    sources = [manifest.source("rgb", video) for video in manifest.segments["video"]]
    assert [source.paths[0] for source in sources if source] == [
        tmp_path / parts,
        tmp_path / "home/b.mp4",
        tmp_path / "https:/x.org/c.mp4",
    ]
    assert [source.absent() for source in sources[:2] if source] == [None, None]
    assert "files are read, not addresses" in str(sources[2] and sources[2].absent())


def test_parquet_has_bytes_lengths_of_time_and_other_endings(tmp_path: Path) -> None:
    times = {"start": pd.to_timedelta([0.25, 90000], unit="s"), "stop": pd.to_timedelta([0.5, 90001.5], unit="s")}
    table = pd.DataFrame({"rgb": [b"a.mp4", b"b.mp4"], "label": [b"cut", b"wash"], **times})
    table.to_parquet(tmp_path / "t.PQ")
    from_parquet = Manifest(tmp_path / "t.PQ")
    assert from_parquet.segments["start_s"].tolist() == [0.25, 90000.0]
    assert from_parquet.segments["stop_s"].tolist() == [0.5, 90001.5]
    assert from_parquet.tasks == {"label": ["cut", "wash"]}
    assert from_parquet.segments["video"].tolist() == ["a", "b"]
    table.assign(rgb=["a.mp4", "b.mp4"], label=["cut", "wash"]).to_csv(tmp_path / "t.csv", index=False)
    from_csv = Manifest(tmp_path / "t.csv")
    pd.testing.assert_frame_equal(from_csv.segments, from_parquet.segments)
