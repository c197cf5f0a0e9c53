"""Models of transformers that cannot be used: each says what came and what to do, and none runs code."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file

from mmcache.extract.encoders import build_encoder, encoder_info, entry_of
from mmcache.extract.encoders.base.weights import WeightsError
from mmcache.store.ground.errors import ConfigError

TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
CROP = {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Audio model of video, for a test to spoil."""
    hf.AutoModel.from_config(hf.VideoMAEConfig(image_size=32, num_frames=4, **TINY)).save_pretrained(tmp_path)
    hf.VideoMAEImageProcessor(**CROP).save_pretrained(tmp_path)
    build_encoder(f"hf:{tmp_path}", "pretrained")
    return tmp_path


@pytest.fixture
def edit(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Change a JSON file of a copy of the model: what was looked at once is remembered by its folder."""

    def change(file: str, **values: Any) -> Path:
        copy = tmp_path_factory.mktemp("spoilt")
        for path in folder.iterdir():
            (copy / path.name).write_bytes(path.read_bytes())
        document = json.loads((copy / file).read_text())
        (copy / file).write_text(json.dumps({**document, **values}))
        return copy

    return change


def message_of(name: str, kind: type[Exception] = ConfigError) -> str:
    """What every way to the encoder says, in one line."""
    said = set()
    for call in (entry_of, encoder_info, lambda asked: build_encoder(asked, "random")):
        with pytest.raises(kind) as caught:
            call(name)
        said.add(str(caught.value))
    assert len(said) == 1
    assert "\n" not in next(iter(said))
    return said.pop()


def test_no_name_no_folder_and_a_folder_without_a_model(tmp_path: Path) -> None:
    assert "names no model; write hf:<model id> or hf:<folder>" in message_of("hf:")
    for source in (str(tmp_path), str(tmp_path / "gone"), "./gone", "../gone", "~/gone"):
        said = message_of(f"hf:{source}")
        assert f"encoder hf:{source}" in said
        assert "is no folder with a config.json, as save_pretrained makes it" in said


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (hf.ViTConfig(image_size=32, **TINY), "(vit) takes single frames; for those there is timm:MODEL"),
        (hf.BertConfig(**TINY), "(bert) takes input_ids; only models of video"),
        (
            hf.WhisperConfig(d_model=32, encoder_layers=1, decoder_layers=1),
            "(whisper) takes input_features; only models",
        ),
    ],
)
def test_a_model_of_something_else_says_what_it_takes(config: Any, says: str, tmp_path: Path) -> None:
    config.save_pretrained(tmp_path)
    assert says in message_of(f"hf:{tmp_path}")


@pytest.mark.parametrize("content", ["", "{", "[]", "7", '{"hidden_size": 3}', '{"model_type": "no such"}'])
def test_a_config_that_is_none_says_so(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    said = message_of(f"hf:{tmp_path}")
    assert f"no config can be had of hf:{tmp_path}" in said
    assert "use hf:FOLDER" in said


def test_without_its_processor_it_says_so(folder: Path, edit: Any) -> None:
    copy = edit("config.json")
    (copy / "preprocessor_config.json").unlink()
    said = message_of(f"hf:{copy}")
    assert f"no image processor can be had of hf:{copy}" in said
    assert "of the model and of its processor" in said


def test_an_image_processor_of_another_size_is_found_out(edit: Any) -> None:
    copy = edit("preprocessor_config.json", size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64})
    said = message_of(f"hf:{copy}")
    assert "(videomae) gives no tokens for pixel_values of shape (1, 4, 3, 64, 64)" in said


def test_a_spectrogram_of_another_length_is_found_out(tmp_path: Path) -> None:
    hf.ASTConfig(max_length=128, **TINY).save_pretrained(tmp_path)
    extractor = {"feature_extractor_type": "ASTFeatureExtractor", "max_length": 256, "num_mel_bins": 128}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(extractor))
    said = message_of(f"hf:{tmp_path}")
    assert "(audio-spectrogram-transformer) gives no tokens for input_values of shape (1, 256, 128)" in said


def test_a_feature_extractor_of_another_kind_is_named(tmp_path: Path) -> None:
    hf.Wav2Vec2Config(**TINY).save_pretrained(tmp_path)
    hf.WhisperFeatureExtractor().save_pretrained(tmp_path)
    said = message_of(f"hf:{tmp_path}")
    assert "has a WhisperFeatureExtractor; known are Wav2Vec2FeatureExtractor and ASTFeatureExtractor" in said


def test_code_beside_a_model_is_never_run(edit: Any) -> None:
    copy = edit("config.json", model_type="its_own", auto_map={"AutoConfig": "code.Config", "AutoModel": "code.Model"})
    trace = copy / "it-ran"
    (copy / "code.py").write_text(f"open({str(trace)!r}, 'w').close()\n")
    assert "no config can be had" in message_of(f"hf:{copy}")
    known = edit("config.json", auto_map={"AutoConfig": "code.Config", "AutoModel": "code.Model"})
    (known / "code.py").write_text(f"open({str(trace)!r}, 'w').close()\n")
    encoder = build_encoder(f"hf:{known}", "pretrained")
    assert type(encoder.model).__module__.startswith("transformers.")
    assert not trace.exists()


class Runs:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (self.command,)


def test_pickled_weights_are_never_read(folder: Path) -> None:
    trace = folder / "it-ran"
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    for content in (state, {"x": Runs(f"touch {trace}")}):
        torch.save(content, folder / "pytorch_model.bin")
        with pytest.raises(WeightsError, match="cannot be had as safetensors") as caught:
            build_encoder(f"hf:{folder}", "pretrained")
        assert "--weights random" in str(caught.value)
    (folder / "model.safetensors").write_bytes(pickle.dumps(Runs(f"touch {trace}")))
    with pytest.raises(WeightsError, match="cannot be had as safetensors"):
        build_encoder(f"hf:{folder}", "pretrained")
    assert not trace.exists()


@pytest.mark.parametrize("kind", ["a part less", "another shape", "another model", "cut off", "empty"])
def test_weights_that_do_not_fit_are_refused(kind: str, folder: Path) -> None:
    """The library would fill what is missing with random values."""
    path = folder / "model.safetensors"
    state = load_file(path)
    chosen = next(key for key in state if key.endswith("weight") and state[key].ndim == 2)
    if kind == "a part less":
        del state[chosen]
    elif kind == "another shape":
        state[chosen] = torch.zeros(3, 3)
    elif kind == "another model":
        state = {f"else.{key}": value for key, value in state.items()}
    save_file(state, path, metadata={"format": "pt"})
    if kind == "cut off":
        path.write_bytes(path.read_bytes()[:-100])
    elif kind == "empty":
        path.write_bytes(b"")
    with pytest.raises(WeightsError) as caught:
        build_encoder(f"hf:{folder}", "pretrained")
    assert str(folder) in str(caught.value)
    assert "--weights random" in str(caught.value)
    assert "\n" not in str(caught.value)
    if kind == "a part less":
        assert f"lack 1 parts of its network, such as {chosen}" in str(caught.value)


@pytest.mark.slow
def test_a_model_of_the_hub_without_a_network(tmp_path: Path) -> None:
    """In a process of its own: the library reads at its import whether it may use the network."""
    code = (
        "from mmcache.extract.planning.extract_config import ExtractConfig as C; "
        "C('epic', encoder={'rgb': 'hf:some/model'}).check()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("mmcache.store.ground.errors.ConfigError: no config can be had of hf:some/model")
    assert "Where there is no network, use hf:FOLDER" in last
