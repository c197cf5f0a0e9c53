"""One clip through the encoders of a store's tokens: the same tokens, or a refusal that says why."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcache.extract.clips.clip_source import clip_source
from mmcache.extract.clips.encode_clip import ClipError, Wanted, encode_clip
from mmcache.extract.clips.token_recipe import TokenRecipe
from mmcache.extract.media import MediaError
from mmcache.store import ConfigError, FeatureStore, FingerprintError
from mmcache.store.manage.reduce import reduce_store

SEGMENT = "P05_101_3"


def origin(store: FeatureStore, name: str) -> dict[str, Any]:
    """As a run keeps it."""
    return {**store.tokens[name].attributes, "dtype": store.tokens[name].dtype.name}


def wanted_of(root: Path, store: FeatureStore, *modalities: str, **options: Any) -> tuple[Wanted, int]:
    """The media of SEGMENT as a user would name them, and its row."""
    row = store.segments["id"].tolist().index(SEGMENT)
    start_s, stop_s = (float(store.segments[name].iloc[row]) for name in ("start_s", "stop_s"))
    film = root / "P05" / "videos" / "P05_101.MP4"
    files = {"rgb": (film,), "audio": (film,), "imu": (root / "P05" / "meta_data" / "P05_101-accl.csv",)}
    media = {name: files[name] for name in modalities}
    return Wanted(media=media, **{"start_s": start_s, "stop_s": stop_s, **options}), row


def assert_same_tokens(made: np.ndarray, cached: np.ndarray) -> None:
    """Equal but for last bits: what is encoded together shows there."""
    assert (made.shape, made.dtype) == (cached.shape, cached.dtype)
    assert (made == cached).mean() > 0.97
    np.testing.assert_allclose(made.astype(np.float32), cached.astype(np.float32), rtol=2e-3, atol=2e-3)


def test_a_segment_gets_the_tokens_that_extract_cached(epic_root: Path, epic_store: Path) -> None:
    store = FeatureStore.open(epic_store)
    wanted, row = wanted_of(epic_root, store, "rgb", "audio", "imu")
    clip = encode_clip(wanted, {name: origin(store, name) for name in store.modalities})
    assert sorted(clip.tokens) == ["audio", "imu", "rgb"]
    assert clip.skipped == {}
    for name, made in clip.tokens.items():
        assert_same_tokens(made, store.tokens[name].read([row]))


@pytest.mark.parametrize(("k", "dtype"), [(3, None), (None, "int8"), (5, "int8")])
def test_derived_token_sets_are_derived_again(
    k: int | None, dtype: str | None, epic_root: Path, store_copy: Path
) -> None:
    (name,) = reduce_store(store_copy, k=k, modalities=["imu"], dtype=dtype)
    store = FeatureStore.open(store_copy)
    wanted, row = wanted_of(epic_root, store, "imu")
    made = encode_clip(wanted, {"imu": origin(store, name)}).tokens["imu"]
    cached = store.tokens[name].read_float(np.array([row]))
    assert (made.shape, made.dtype) == (cached.shape, cached.dtype)
    scale = np.abs(cached).max() / 127 if dtype else 2e-3
    np.testing.assert_allclose(made.astype(np.float32), cached.astype(np.float32), atol=1.5 * scale)


def test_the_whole_file_is_the_clip_where_no_part_is_named(epic_root: Path, epic_store: Path) -> None:
    store = FeatureStore.open(epic_store)
    part, _ = wanted_of(epic_root, store, "audio")
    whole = dataclasses.replace(part, start_s=0.0, stop_s=np.inf)
    origins = {"audio": origin(store, "audio")}
    tokens = [encode_clip(each, origins).tokens["audio"] for each in (part, whole)]
    assert tokens[0].shape == tokens[1].shape
    assert (tokens[0] != tokens[1]).any()


def test_media_that_cannot_be_used_are_all_named(epic_root: Path, epic_store: Path, tmp_path: Path) -> None:
    store = FeatureStore.open(epic_store)
    origins = {name: origin(store, name) for name in store.modalities}
    broken = tmp_path / "broken.mp4"
    broken.write_bytes((epic_root / "P05" / "videos" / "P05_101.MP4").read_bytes()[:5000])
    silent = epic_root / "P02" / "videos" / "P02_102.MP4"
    wanted, _ = wanted_of(epic_root, store, "imu")
    wanted = dataclasses.replace(wanted, media={**wanted.media, "rgb": (broken,), "audio": (silent,)})
    with pytest.raises(ClipError, match=r"2 of 3 media cannot be used. --skip-bad") as raised:
        encode_clip(wanted, origins)
    assert "rgb: broken.mp4 cannot be decoded" in str(raised.value)
    assert "audio: P02_102.MP4 has no audio stream" in str(raised.value)
    clip = encode_clip(dataclasses.replace(wanted, skip_bad=True), origins)
    assert list(clip.tokens) == ["imu"]
    assert sorted(clip.skipped) == ["audio", "rgb"]
    nothing = dataclasses.replace(wanted, media={"rgb": (tmp_path / "no.mp4",)}, skip_bad=True)
    with pytest.raises(ClipError, match=r"Nothing is left(.|\n)*no.mp4 is not there"):
        encode_clip(nothing, origins)


def test_other_weights_are_refused_by_field(epic_root: Path, epic_store: Path) -> None:
    store = FeatureStore.open(epic_store)
    wanted, _ = wanted_of(epic_root, store, "imu", weights={"imu": "random:1"})
    with pytest.raises(FingerprintError, match=r"weights_sha256: '\w+' then, '\w+' now(.|\n)*--weights imu=PATH"):
        encode_clip(wanted, {"imu": origin(store, "imu")})


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("code_version", 99, "code_version: 99 then, 1 now"),
        ("preprocessing", {"points": 7}, "preprocessing.points: 7 then, "),
        ("encoder", "imu_transformer", "preprocessing.points"),
    ],
)
def test_tokens_made_otherwise_are_refused_by_field(
    field: str, value: Any, said: str, epic_root: Path, epic_store: Path
) -> None:
    store = FeatureStore.open(epic_store)
    made = origin(store, "imu")
    wanted, _ = wanted_of(epic_root, store, "imu")
    made["fingerprint"] = {**made["fingerprint"], field: value}
    with pytest.raises(FingerprintError) as raised:
        encode_clip(wanted, {"imu": made})
    assert said in str(raised.value)


def test_what_cannot_be_told_is_asked_for(epic_store: Path) -> None:
    made = origin(FeatureStore.open(epic_store), "rgb")

    def recipe(**changed: Any) -> TokenRecipe:
        return TokenRecipe.of("rgb", {**made, "fingerprint": {**made["fingerprint"], **changed}})

    with pytest.raises(ConfigError, match="were imported: no encoder here can make more"):
        recipe(weights="import")
    with pytest.raises(ConfigError, match="this run does not record how its rgb tokens"):
        TokenRecipe.of("rgb", {"dtype": "float16"})
    with pytest.raises(ConfigError, match=r"of a file, mine.pth, for rgb: give its path with --weights rgb=PATH"):
        recipe(weights="file:mine.pth").weights_choice()
    assert recipe(weights="file:mine.pth").weights_choice("here.pth") == "here.pth"
    assert recipe(weights="pretrained:Kinetics").weights_choice() == "pretrained"
    assert recipe(weights="random:7").weights_choice() == "random:7"
    assert recipe(encoder="timm.resnet34").encoder_name() == "timm:resnet34"
    assert recipe(encoder="hf.a.b", weights="pretrained:a/b").encoder_name() == "hf:a/b"
    with pytest.raises(ConfigError, match=r"--encoder rgb=hf:ID"):
        recipe(encoder="hf.folder", weights="pretrained:folder").encoder_name()
    assert recipe(encoder="hf.folder", weights="pretrained:folder").encoder_name("hf:/x") == "hf:/x"


def test_augmented_views_do_not_matter_to_the_centre_view(epic_store: Path) -> None:
    from mmcache.extract.encoders import encoder_info
    from mmcache.extract.encoders.base import views
    from mmcache.extract.encoders.inputs import augment

    made = origin(FeatureStore.open(epic_store), "rgb")
    info = encoder_info("swin3d_demo")
    more = {**views.described(4, mirrors=False), **augment.parameters(info.request)}
    done = {**made["fingerprint"]["preprocessing"], **more}
    TokenRecipe.of("rgb", {**made, "fingerprint": {**made["fingerprint"], "preprocessing": done}}).check_info(info)


def test_all_mistakes_come_at_once(epic_root: Path, epic_store: Path) -> None:
    store = FeatureStore.open(epic_store)
    wanted, _ = wanted_of(epic_root, store, "imu", start_s=2.0, stop_s=1.0, weights={"rgb": "random"})
    wanted = dataclasses.replace(wanted, media={**wanted.media, "smell": (epic_root,)})
    with pytest.raises(ConfigError) as raised:
        encode_clip(wanted, {"imu": origin(store, "imu")})
    for said in ("stop must be later", "no media of rgb are given", "the run has no modality smell; it has imu"):
        assert said in str(raised.value)


def test_files_find_their_readers(tmp_path: Path) -> None:
    for name in ("P05_101.pkl", "own.pkl", "12.json", "x.skeleton", "y.mat", "a-accl.csv", "a-gyro.csv", "z.npy"):
        (tmp_path / name).touch()
    (tmp_path / "pictures").mkdir()

    def found(modality: str, name: str, **options: Any) -> Any:
        return clip_source(modality, (tmp_path / name,), **options)

    assert (found("boxes", "P05_101.pkl").kind, found("boxes", "P05_101.pkl").rate) == ("epic_boxes", 50.0)
    assert found("boxes", "own.pkl", rate=25.0).rate == 25.0
    assert (found("boxes", "12.json").kind, found("boxes", "12.json").entry) == ("else_boxes", "12")
    assert found("skeleton", "x.skeleton").kind == "ntu_skeleton"
    assert found("skeleton", "y.mat").kind == "mat_skeleton"
    assert found("depth", "pictures", variant="jet").variant == "jet"
    assert [path.name for path in found("imu", "a-accl.csv").paths] == ["a-accl.csv", "a-gyro.csv"]
    assert found("rgb", "pictures", rate=30.0, timed=True).kind == "frames"
    for modality, name, timed, said in (
        ("boxes", "own.pkl", False, "--rate boxes=NUMBER"),
        ("boxes", "z.npy", False, "boxes are read from"),
        ("skeleton", "z.npy", False, "skeletons are read from"),
        ("skeleton", "y.mat", True, "skeletons have no clock"),
        ("rgb", "pictures", True, "a folder of images without a clock"),
        ("smell", "z.npy", False, "no reader of files is known for the modality smell"),
    ):
        with pytest.raises(ConfigError, match=said):
            found(modality, name, timed=timed)
    with pytest.raises(MediaError, match="is not there"):
        found("audio", "none.wav")
    shutil.move(tmp_path / "a-gyro.csv", tmp_path / "elsewhere.csv")
    with pytest.raises(MediaError, match=r"a-gyro.csv is not there"):
        found("imu", "a-accl.csv")
