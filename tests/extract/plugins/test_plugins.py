"""Encoders and data sets of users: the examples through a whole extract, and what is refused."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmcache.common.plugin_faults import PluginError
from mmcache.extract.clips.encode_clip import Wanted, encode_clip
from mmcache.extract.encoders import build_encoder, encoder_info, entry_of
from mmcache.extract.media import read_media
from mmcache.extract.planning.data_settings import take_harmless
from mmcache.extract.planning.extract_config import ExtractConfig
from mmcache.extract.planning.plan import make_plan
from mmcache.extract.planning.plan_warnings import plan_warnings
from mmcache.extract.run.encoder_check import check_encoder
from mmcache.extract.run.pipeline import NoProgress, run_extract
from mmcache.extract.run.worker import ExtractWorker
from mmcache.store.feature_store import FeatureStore
from mmcache.store.format.layout import Presence, read_meta
from mmcache.store.ground.errors import ConfigError, FingerprintError

EXAMPLES = Path(__file__).parents[3] / "examples" / "plugins"


@pytest.fixture
def spectrum(tmp_path: Path) -> Path:
    """A copy of the example encoder that a test may change."""
    return Path(shutil.copy(EXAMPLES / "imu_spectrum.py", tmp_path / "mine.py"))


@pytest.fixture(autouse=True)
def _threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker in this process would set the number of threads of all later tests."""
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)


def config_of(root: Path, store: Path, encoder: object, **options: Any) -> ExtractConfig:
    return ExtractConfig(
        "epic", root, store=store, modalities=["imu"], encoder={"imu": str(encoder)}, limit=3, workers=1, **options
    )


def origin(store: FeatureStore, name: str) -> dict[str, Any]:
    """As a run keeps it."""
    return {**store.tokens[name].attributes, "dtype": store.tokens[name].dtype.name}


def test_the_example_encoder_from_files_to_predict(epic_root: Path, spectrum: Path, tmp_path: Path) -> None:
    path, spec = tmp_path / "s.zarr", f"{spectrum}:ImuSpectrum"
    config = config_of(epic_root, path, spec, views=2)
    plan = make_plan(config)
    assert plan_warnings(plan) == []
    summary = run_extract(plan, NoProgress())
    assert summary.counts["imu"]["failed"] == 0
    store = FeatureStore.open(path)
    fingerprint = store.tokens["imu"].fingerprint
    assert fingerprint.encoder == "imu_spectrum"
    assert fingerprint.preprocessing["plugin"] == encoder_info(spec).plugin.recorded()  # type: ignore[union-attr]

    rows = np.flatnonzero(store.present["imu"] == Presence.CACHED)
    assert len(rows) >= 3
    encoder, part = build_encoder(spec, "pretrained"), plan.modalities[0]
    segment = store.segments.iloc[rows[0]]
    reading = read_media(part.sources[segment["video"]], segment["start_s"], segment["stop_s"], encoder.info.request)
    made = encoder.encode(encoder.preprocess(reading.array)[None])
    np.testing.assert_allclose(store.tokens["imu"].read([rows[0]]), made.astype(np.float16), rtol=2e-3, atol=2e-3)

    again = make_plan(config)
    assert again.nothing_to_do
    run_extract(again, NoProgress())

    without = ExtractConfig("epic", epic_root, store=path, modalities=["imu"], limit=3, weights="random", views=2)
    assert any(
        "has imu tokens of the plugin 'ImuSpectrum', which is loaded only when it is named" in note
        for note in plan_warnings(make_plan(without))
    )

    media = {"imu": part.sources[segment["video"]].paths}
    wanted = Wanted(media, float(segment["start_s"]), float(segment["stop_s"]), encoders={"imu": spec})
    clip = encode_clip(wanted, {"imu": origin(store, "imu")})
    np.testing.assert_allclose(clip.tokens["imu"], store.tokens["imu"].read([rows[0]]), rtol=2e-3, atol=2e-3)
    with pytest.raises(ConfigError, match=r"made by the plugin 'ImuSpectrum' .* --encoder imu=path/to/file.py:ImuSpec"):
        encode_clip(Wanted(media), {"imu": origin(store, "imu")})

    spectrum.write_text(spectrum.read_text() + "\n# another line\n")
    with pytest.raises(FingerprintError, match=r"the plugin 'ImuSpectrum' made it, .* A changed source is another"):
        make_plan(config)
    with pytest.raises(FingerprintError, match=r"A changed source is another encoder: give the plugin's file"):
        encode_clip(wanted, {"imu": origin(store, "imu")})


@pytest.mark.slow
def test_the_example_data_set(epic_root: Path, tmp_path: Path) -> None:
    root, videos = tmp_path / "data", sorted(epic_root.rglob("*.MP4"))
    for place, video in zip(("train/cut/a", "train/stir/b", "test/cut/c"), videos, strict=False):
        target = root / f"{place}.mp4"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(video, target)
    spec = f"{EXAMPLES}/folder_of_classes.py:FolderOfClasses"
    config = ExtractConfig(
        spec, root, store=tmp_path / "s.zarr", encoder={"audio": "ast_demo"}, modalities=["audio"], weights="random"
    )
    assert config.data_root() == root
    assert ExtractConfig(spec).store_path() == Path("cache/folder-of-classes.zarr")
    plan = make_plan(config)
    assert plan.meta.tasks == {"class": ["cut", "stir"]}
    run_extract(plan, NoProgress())
    store = FeatureStore.open(tmp_path / "s.zarr")
    assert store.present["audio"].tolist() == [Presence.CACHED] * 3
    meta = read_meta(tmp_path / "s.zarr")
    assert (meta.dataset, meta.dataset_plugin["name"]) == ("folder-of-classes", "FolderOfClasses")
    assert len(meta.dataset_plugin["sha256"]) == 64
    copy = Path(shutil.copy(EXAMPLES / "folder_of_classes.py", tmp_path / "mine.py"))
    copy.write_text(copy.read_text() + "\n# another line\n")
    changed = make_plan(dataclasses.replace(config, dataset=f"{copy}:FolderOfClasses"))
    assert "the data set plugin has changed since" in plan_warnings(changed)[0]
    with pytest.raises(ConfigError, match=r"Expected videos at ROOT/<split>/<class>/<name>.mp4"):
        make_plan(ExtractConfig(spec, tmp_path / "empty"))


def test_a_worker_refuses_other_source_than_the_command_has(spectrum: Path) -> None:
    spec = f"{spectrum}:ImuSpectrum"
    sha256 = encoder_info(spec).plugin.sha256  # type: ignore[union-attr]
    worker = ExtractWorker(1)
    assert worker.prepare(spec, "random", None, None, sha256).encoder == "imu_spectrum"
    spectrum.write_text(spectrum.read_text() + "\n# edited while the command runs\n")
    with pytest.raises(PluginError, match=r"has other source here .* must not change during a run"):
        ExtractWorker(1).prepare(spec, "random", None, None, sha256)


def test_what_the_table_says_and_what_check_finds(spectrum: Path) -> None:
    spec = f"{spectrum}:ImuSpectrum"
    assert entry_of(spec).modalities == ("imu",)
    checked = check_encoder(spec, "random")
    assert (checked.shape, checked.problem) == ((16, 198), None)
    with pytest.raises(ConfigError, match=r"takes imu, not audio; for audio there are: .*ast_b"):
        ExtractConfig("epic", encoder={"audio": spec}).check()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("info = EncoderInfo(", "info_ = dict(", "its attribute info is NoneType, not an EncoderInfo"),
        ("name=\"imu_spectrum\"", "name='a/b'", "its info cannot be stored: encoder 'a/b' cannot name a folder"),
        ("tokens=WINDOWS", "tokens=16.0", r"its info.tokens is 16.0, not a whole number of at least 1"),
        ("\"windows\": WINDOWS", "\"windows\": {1, 2}", "its info cannot be stored: .*set is not JSON serializable"),
        ("\"windows\": WINDOWS", "\"plugin\": 1", "a dictionary without the key 'plugin'"),
        ("request=ImuRequest", "request=dict", "its info.request is dict, not one of those"),
        ("(self, weights: str)", "(self)", "cannot be called with the weights as its one argument"),
        ("class ImuSpectrum(Encoder)", "class ImuSpectrum", "gave ImuSpectrum, not an Encoder"),
        ("super().__init__(self.info, nn.Identity(), NO_WEIGHTS)", "pass", r"must call super\(\).__init__"),
        ("super().__init__(self.info", "print(1 / 0", r"line \d+, in __init__: ZeroDivisionError"),
        ("    def _forward(self, batch):", "    def forward(self, batch):", "Can't instantiate abstract class"),
    ],
)  # fmt: skip
def test_what_is_no_encoder_is_refused_and_why(spectrum: Path, old: str, new: str, message: str) -> None:
    text = spectrum.read_text()
    assert old in text
    if "dict(" in new:
        text = text.replace("super().__init__(self.info, ", "super().__init__(None, ")
    if new == "class ImuSpectrum":
        text = text.replace("super().__init__(self.info, nn.Identity(), NO_WEIGHTS)", "pass")
    spectrum.write_text(text.replace(old, new))
    with pytest.raises(PluginError, match=message) as caught:
        build_encoder(f"{spectrum}:ImuSpectrum", "random")
    assert str(spectrum) in str(caught.value)


def test_an_encoder_that_fails_or_gives_another_shape(spectrum: Path) -> None:
    text = spectrum.read_text()
    spectrum.write_text(text.replace(".flatten(2)", ".flatten(1)"))
    assert "gave tokens of (1, 3168); announced: (1, 16, 198)" in str(
        check_encoder(f"{spectrum}:ImuSpectrum", "random").problem
    )
    spectrum.write_text(text.replace(".flatten(2)", ".flatten(7)"))
    problem = str(check_encoder(f"{spectrum}:ImuSpectrum", "random").problem)
    assert f"plugin {spectrum}, line " in problem
    assert "in _forward: IndexError" in problem


def test_a_built_in_name_is_not_taken(spectrum: Path) -> None:
    spectrum.write_text(spectrum.read_text().replace('"imu_spectrum"', '"imu_demo"'))
    with pytest.raises(ConfigError, match="names itself 'imu_demo' in its info, as an encoder of mmcache does: rename"):
        encoder_info(f"{spectrum}:ImuSpectrum")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class Mine: pass", "it is Mine, not such a class. Wanted: a subclass of .*Dataset"),
        ("class Mine(Dataset): pass", "it lacks __init__, expected_layout, source"),
        ("class Mine(Whole): pass", "it lacks the class attributes name, modalities"),
        ("class Mine(Whole):\n    name, modalities = 'mine', ['rgb']", "its modalities must be a tuple of names"),
        ("class Mine(Whole):\n    name, modalities = '../x', ('rgb',)", "data set '../x' cannot name a folder"),
        (
            "class Mine(Whole):\n    name, modalities = 'epic', ('rgb',)",
            "names itself 'epic', as a data set of",
        ),
        (
            "class Mine(Whole):\n    name, modalities = 'mine', ('rgb',)",
            "must set eval_split to a str, and it is None",
        ),
    ],
)
def test_what_is_no_data_set_is_refused_and_why(tmp_path: Path, text: str, message: str) -> None:
    head = (
        "from mmcache.extract.datasets.base.dataset import Dataset\n"
        "class Whole(Dataset):\n    def __init__(self, root, annotations=None):\n        self.tasks = {}\n"
        "    def source(self, modality, video): ...\n    def expected_layout(self): ...\n"
    )
    path = tmp_path / "mine.py"
    path.write_text(head + text)
    with pytest.raises(ConfigError, match=message) as caught:
        make_plan(ExtractConfig(f"{path}:Mine"))
    assert "mine" in str(caught.value)


def test_a_settings_file_in_the_data_loads_no_plugin(
    tmp_path: Path, spectrum: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a file nor what is installed: such a file comes from whoever made the data."""
    info = tmp_path / "pkg-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pkg\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mmcache.encoders]\nspec = no_such_module:Spectrum\n")
    monkeypatch.syspath_prepend(tmp_path)
    names = {"a": f"{spectrum}:ImuSpectrum", "b": str(spectrum), "c": "spec", "imu": "imu_demo"}
    taken, ignored = take_harmless({"encoder": names}, "epic")
    assert taken == {"encoder": {"imu": "imu_demo"}}
    assert [line.partition("=")[0] for line in ignored] == ["encoder a", "encoder b", "encoder c"]
