"""Video and audio transformers of the transformers library: `hf:<model id>` of the hub, or `hf:<folder>` on disk.

Video: whatever takes `pixel_values` of several frames, such as VideoMAE, TimeSformer and ViViT. Audio: whatever takes
`input_values` made by the feature extractor of wav2vec 2.0 (HuBERT and WavLM do too) or of the Audio Spectrogram
Transformer. Tokens are the last hidden state, preprocessing is the library's own, with the numbers that the model comes
with. Code that comes with a model is never run, and weights are read from safetensors alone.
"""

import contextlib
import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import nn

from mmcache.extract.encoders.base.downloads import hub
from mmcache.extract.encoders.base.encoder import Encoder, EncoderInfo
from mmcache.extract.encoders.base.entry import EncoderEntry
from mmcache.extract.encoders.base.views import View
from mmcache.extract.encoders.base.weights import WeightsError, build_model, one_line
from mmcache.extract.encoders.inputs import augment, spectrogram
from mmcache.extract.media.base.requests import AudioRequest, MediaRequest, VideoRequest
from mmcache.store.ground.errors import ConfigError

PREFIX = "hf:"
_FRAMES = ("rgb", "flow", "depth", "ir")
_SECONDS = 10.0  # of audio, where the network takes any length: shorter sounds are padded, of longer ones the middle is
_LEAST_HEARD_S = 0.1  # a mask over less would leave wav2vec 2.0 nothing to attend to
# The entries of fingerprints about the library's own preprocessing.
_FRAME_FIELDS = "size crop_size do_resize do_center_crop do_rescale rescale_factor do_normalize image_mean image_std"
_AUDIO_FIELDS = "do_normalize max_length num_mel_bins mean std padding_value return_attention_mask"
# Parts that the last hidden state of a network in use does not depend on: checkpoints may lack them.
_UNUSED = re.compile(r"pooler\.|masked_spec_embed$")


class _Model(NamedTuple):
    """What a model needs and gives, known without its weights."""

    config: Any
    processor: Any
    takes: str  # pixel_values or input_values
    request: MediaRequest
    tokens: int
    width: int


def entry(name: str) -> EncoderEntry:
    source = _source(name)
    takes_frames = _look(source).takes == "pixel_values"
    return EncoderEntry("hf", _FRAMES if takes_frames else ("audio",), _title(source), f"{source} of transformers")


def info(name: str) -> EncoderInfo:
    source = _source(name)
    model = _look(source)
    fields = _FRAME_FIELDS if model.takes == "pixel_values" else _AUDIO_FIELDS
    settings = json.loads(json.dumps(model.processor.to_dict()))  # lists, as a fingerprint read back has them
    said = {field: settings[field] for field in fields.split() if settings.get(field) is not None}
    return EncoderInfo(
        name="hf." + re.sub(r"[^A-Za-z0-9_.-]+", ".", _title(source)).strip(".")[:90],
        tokens=model.tokens,
        width=model.width,
        request=model.request,
        preprocessing={"processor": type(model.processor).__name__, **said},
        code_version=1,
    )


def build(name: str, weights: str) -> Encoder:
    source = _source(name)
    looked, known = _look(source), info(name)
    model, called = build_model(
        known.name, weights, lambda: _empty(looked.config), (_title(source), lambda: _published(source))
    )
    if looked.takes == "pixel_values":
        return HfVideo(known, model, called, looked.processor)
    return HfAudio(known, model, called, looked.processor)


class HfVideo(Encoder):
    """The last hidden state of a video transformer, (B, T, D)."""

    def __init__(self, info: EncoderInfo, model: nn.Module, weights: str, processor: Any) -> None:
        super().__init__(info, model, weights)
        self._processor = processor

    def preprocess(self, media: NDArray[Any], view: View | None = None, modality: str = "") -> torch.Tensor:
        """(frames, H, W, 3) uint8 -> (frames, 3, crop, crop) float, as the model's own processor makes it."""
        if view is not None:
            assert isinstance(self.info.request, VideoRequest)
            media = augment.frames(media, self.info.request.short_side, view, modality).numpy()
        ready = self._processor(list(media), return_tensors="pt", input_data_format="channels_last")
        return ready["pixel_values"][0]

    def _forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.model(pixel_values=batch).last_hidden_state


class HfAudio(Encoder):
    """The last hidden state of an audio transformer, (B, T, D)."""

    def __init__(self, info: EncoderInfo, model: nn.Module, weights: str, extractor: Any) -> None:
        super().__init__(info, model, weights)
        self._extractor = extractor

    def preprocess(self, media: NDArray[Any], view: View | None = None, modality: str = "") -> torch.Tensor:
        """(samples,) -> what the model's own feature extractor makes of it.

        That is (frames, bins) of a spectrogram, or (1, samples) of a wave, padded with zeros, or (2, samples) where the
        model was trained with a mask: the second row is 1 where there is sound.
        """
        assert isinstance(self.info.request, AudioRequest)
        rate = self.info.request.rate
        if isinstance(self._extractor, transformers.ASTFeatureExtractor):
            media = spectrogram.long_enough(media)
            mel = self._extractor(media, sampling_rate=rate, return_tensors="pt")["input_values"][0]
            heard = min(len(mel), spectrogram.frames_of(media))
            return mel if view is None else augment.spectrogram(mel, heard, view.rng)
        if view is not None:
            media = augment.waveform(media, view.rng)
        length = round(rate * self.info.request.max_seconds)
        # Normalised before padding, so that padding does not count.
        wave = self._extractor(media[:length], sampling_rate=rate, return_tensors="np")["input_values"][0]
        rows = [np.pad(wave, (0, length - len(wave)))]
        if self._extractor.return_attention_mask:
            rows.append((np.arange(length) < max(len(wave), rate * _LEAST_HEARD_S)).astype(np.float32))
        return torch.from_numpy(np.stack(rows).astype(np.float32))

    def _forward(self, batch: torch.Tensor) -> torch.Tensor:
        if isinstance(self._extractor, transformers.ASTFeatureExtractor):
            return self.model(input_values=batch).last_hidden_state
        mask = batch[:, 1].long() if batch.shape[1] == 2 else None
        return self.model(input_values=batch[:, 0], attention_mask=mask).last_hidden_state


def _source(name: str) -> str:
    """The id or folder in an encoder's name. Raises ConfigError for a folder that does not exist."""
    source = name.removeprefix(PREFIX)
    if not source:
        raise ConfigError("encoder hf: names no model; write hf:<model id> or hf:<folder>")
    if source.startswith((".", "/", "~")) or Path(source).exists():
        folder = Path(source).expanduser()
        if not (folder / "config.json").is_file():
            raise ConfigError(f"encoder {name}: {folder} is no folder with a config.json, as save_pretrained makes it")
        return str(folder)
    return source


def _title(source: str) -> str:
    """What a model is called: its id, or the name of its folder, wherever that is."""
    return Path(source).resolve().name if Path(source).is_dir() else source


@functools.lru_cache(maxsize=64)
def _look(source: str) -> _Model:
    """Read a model's configuration and run it once without values. Raises ConfigError where it does not fit."""
    config = _load("config", transformers.AutoConfig, source)
    made_by = transformers.MODEL_MAPPING.get(type(config), None)
    takes = getattr(made_by, "main_input_name", "something else")
    if takes == "pixel_values" and getattr(config, "num_frames", None):
        processor = _load("image processor", transformers.AutoImageProcessor, source)
        short_side, frame = _sizes(processor, source)
        request: MediaRequest = VideoRequest(frames=config.num_frames, short_side=short_side)
        shape: tuple[int, ...] = (1, config.num_frames, 3, *frame)
    elif takes == "pixel_values":
        raise ConfigError(f"hf:{source} ({config.model_type}) takes single frames; for those there is timm:MODEL")
    elif takes == "input_values":
        processor = _load("feature extractor", transformers.AutoFeatureExtractor, source)
        request, shape = _audio(processor, config, source)
    else:
        raise ConfigError(
            f"hf:{source} ({config.model_type}) takes {takes}; only models of video (pixel_values of several frames) "
            "and of audio (input_values) are fed here"
        )
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"), torch.inference_mode():
            _, tokens, width = _empty(config).eval()(**{takes: torch.empty(shape)}).last_hidden_state.shape
    except Exception as error:  # whatever its code raises for a shape it does not take, or without the one we need
        raise ConfigError(
            f"hf:{source} ({config.model_type}) gives no tokens for {takes} of shape {shape}: {one_line(error)}"
        ) from error
    return _Model(config, processor, takes, request, tokens, width)


def _audio(extractor: Any, config: Any, source: str) -> tuple[AudioRequest, tuple[int, ...]]:
    """The audio that a model needs, and the shape of its feature extractor's output."""
    rate = extractor.sampling_rate
    if isinstance(extractor, transformers.ASTFeatureExtractor):
        request = AudioRequest(rate=rate, max_seconds=extractor.max_length * spectrogram.HOP / rate)
        return request, (1, extractor.max_length, extractor.num_mel_bins)
    if isinstance(extractor, transformers.Wav2Vec2FeatureExtractor):
        return AudioRequest(rate=rate, max_seconds=_SECONDS), (1, round(_SECONDS * rate))
    raise ConfigError(
        f"hf:{source} ({config.model_type}) has a {type(extractor).__name__}; known are Wav2Vec2FeatureExtractor and "
        "ASTFeatureExtractor"
    )


def _sizes(processor: Any, source: str) -> tuple[int, tuple[int, int]]:
    """The shorter side that an image processor scales frames to, and the height and width it then cuts out."""
    settings = processor.to_dict()
    size = settings.get("size") or {}
    short_side = size.get("shortest_edge") or size.get("height")
    if not short_side:
        raise ConfigError(
            f"hf:{source}: its image processor has the size {size}; expected a shortest_edge, or a height"
        )
    crop = settings["crop_size"] if settings.get("do_center_crop") else {"height": short_side, "width": short_side}
    return short_side, (crop["height"], crop["width"])


def _reached(source: str) -> contextlib.AbstractContextManager[None]:
    """The hub, where it is needed: a folder on disk is read without it."""
    return contextlib.nullcontext() if Path(source).is_dir() else hub()


def _load(what: str, auto: Any, source: str) -> Any:
    try:
        with spectrogram.empty_filters(), _reached(source):
            return auto.from_pretrained(source, trust_remote_code=False)
    except Exception as error:  # the library and the hub raise without a common base
        raise ConfigError(
            f"no {what} can be had of hf:{source}: {one_line(error)}. Where there is no network, use hf:FOLDER with "
            "a folder that save_pretrained made, of the model and of its processor."
        ) from error


def _empty(config: Any) -> nn.Module:
    return transformers.AutoModel.from_config(config, trust_remote_code=False).float()


def _published(source: str) -> Mapping[str, torch.Tensor]:
    """The weights of a model, complete and of safetensors. Raises WeightsError."""
    bars = transformers.utils.logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()  # ours is on the screen
    try:
        with _reached(source):
            model, report = transformers.AutoModel.from_pretrained(
                source, use_safetensors=True, trust_remote_code=False, output_loading_info=True
            )
    except Exception as error:  # the library and the hub raise without a common base
        raise WeightsError(
            f"the weights of hf:{source} cannot be had as safetensors: {one_line(error)}. Allowed too: --weights "
            "random, --weights PATH."
        ) from error
    finally:
        if shown:
            bars.enable_progress_bar()
    missing = sorted(key for key in report["missing_keys"] if not _UNUSED.match(key))
    if missing:
        raise WeightsError(
            f"the weights of hf:{source} lack {len(missing)} parts of its network, such as {missing[0]}: are they of "
            "another model? Allowed too: --weights random, --weights PATH."
        )
    return model.float().state_dict()
