"""Any image network of timm, image by image: `timm:<model>`, such as timm:resnet34 or timm:vit_base_patch16_224.

The model's name may carry the tag of its weights, as timm writes it: timm:resnet34.a1_in1k. What the network's
`forward_features` has of an image, a map of channels or patch tokens, is average-pooled to 4 x 4 places where it has
more; tokens that stand for no place are left out. With 8 images a segment that makes at most 128 tokens in the order
of time, height, width, so that `--k 8` leaves one an image.
"""

import difflib
import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import timm
import torch
from torch import nn
from torch.nn import functional

from mmcache.extract.encoders.base.downloads import hub
from mmcache.extract.encoders.base.encoder import Encoder, EncoderInfo
from mmcache.extract.encoders.base.entry import EncoderEntry
from mmcache.extract.encoders.base.weights import build_model, one_line
from mmcache.extract.encoders.inputs.video_frames import VideoEncoder, normalised
from mmcache.extract.media.base.requests import VideoRequest
from mmcache.store.ground.errors import ConfigError

PREFIX = "timm:"
_FRAMES, _GRID = 8, 4


class _Features(NamedTuple):
    """What a network has of an image: `order` is NCHW, NHWC or NLC, then with `extra` tokens before the places."""

    order: str
    extra: int
    places: tuple[int, int]
    width: int


def entry(name: str) -> EncoderEntry:
    model = _model(name)
    _look(model)
    config = timm.models.get_pretrained_cfg(model)
    published = (config.tag or "timm") if config is not None and config.has_weights else None
    return EncoderEntry("timm_images", ("rgb", "depth", "ir", "flow"), published, f"{model} of timm, image by image")


def info(name: str) -> EncoderInfo:
    model = _model(name)
    features, data = _look(model)
    crop = data["input_size"][1]
    grid = _grid(features)
    return EncoderInfo(
        name=f"timm.{model}",
        tokens=_FRAMES * math.prod(grid),
        width=features.width,
        # Readers scale bilinearly, whatever interpolation the network was trained with.
        request=VideoRequest(frames=_FRAMES, short_side=math.floor(crop / data["crop_pct"])),
        preprocessing={"crop": crop, "mean": list(data["mean"]), "std": list(data["std"]), "grid": list(grid)},
        code_version=1,
    )


def build(name: str, weights: str) -> Encoder:
    model_name, known = _model(name), info(name)
    config = timm.models.get_pretrained_cfg(model_name)
    published = None
    if config is not None and config.has_weights:
        title = f"timm {config.architecture or model_name}.{config.tag}" if config.tag else f"timm {model_name}"
        published = (title, lambda: _published(model_name))
    model, called = build_model(known.name, weights, lambda: timm.create_model(model_name), published)
    return TimmImages(known, model, called, _look(model_name)[0])


def _published(model_name: str) -> Mapping[str, torch.Tensor]:
    with hub():
        return timm.create_model(model_name, pretrained=True).state_dict()


class TimmImages(VideoEncoder):
    """(B, frames * height * width, D): the features of each image, pooled to `info.preprocessing["grid"]`."""

    def __init__(self, info: EncoderInfo, model: nn.Module, weights: str, features: _Features) -> None:
        super().__init__(info, model, weights)
        self._features = features

    def _forward(self, batch: torch.Tensor) -> torch.Tensor:
        done = self.info.preprocessing
        video = normalised(batch, tuple(done["mean"]), tuple(done["std"]))  # (B, 3, T, H, W)
        forward: Any = self.model.forward_features
        maps = forward(video.transpose(1, 2).flatten(0, 1))  # a row an image
        if self._features.order == "NHWC":
            maps = maps.permute(0, 3, 1, 2)
        elif self._features.order == "NLC":
            maps = maps[:, self._features.extra :].transpose(1, 2).unflatten(2, self._features.places)
        pooled = functional.adaptive_avg_pool2d(maps, tuple(done["grid"]))  # (B * T, D, h, w)
        tokens = pooled.flatten(2).transpose(1, 2)  # (B * T, h * w, D)
        return tokens.reshape(len(batch), -1, tokens.shape[2])


def _grid(features: _Features) -> tuple[int, int]:
    return min(_GRID, features.places[0]), min(_GRID, features.places[1])


def _model(name: str) -> str:
    """timm's own name of the model. Raises ConfigError if timm has no such model."""
    model = name.removeprefix(PREFIX)
    if not timm.models.is_model(model):
        known = timm.list_models()
        near = difflib.get_close_matches(model, known, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ConfigError(f"timm has no model '{model}'.{hint} timm.list_models() names all {len(known)}.")
    architecture, _, tag = model.partition(".")
    tags = [pretrained.partition(".")[2] for pretrained in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise ConfigError(
            f"timm's {architecture} has no weights with the tag '{tag}'; it has {', '.join(tags) or 'none'}"
        )
    return model


@functools.lru_cache(maxsize=64)
def _look(model_name: str) -> tuple[_Features, dict[str, Any]]:
    """What a network gives and the images it wants, from a network without values. Raises ConfigError."""
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"), torch.inference_mode():
            model = timm.create_model(model_name).eval()
            data = timm.data.resolve_model_data_config(model)
            forward: Any = model.forward_features
            given = forward(torch.empty(1, *data["input_size"]))
    except Exception as error:  # timm's own kinds, in more than a thousand networks
        raise ConfigError(f"timm's {model_name} cannot be used: {one_line(error)}. Choose another model.") from error
    channels, height, width = data["input_size"]
    if channels != 3 or height != width:
        raise ConfigError(
            f"timm's {model_name} takes images of {channels} x {height} x {width}; only square ones of three "
            "channels are fed here. Choose another model."
        )
    features = _features(model, given)
    if features is None:
        shape = tuple(given.shape) if isinstance(given, torch.Tensor) else type(given).__name__
        raise ConfigError(
            f"timm's {model_name} gives features of the shape {shape}; needed are a map (1, C, H, W) or patch tokens "
            "on a square grid. Choose another model."
        )
    return features, data


def _features(model: nn.Module, given: Any) -> _Features | None:
    """The form of `given`, or None where it is no map and no square grid of tokens."""
    if not isinstance(given, torch.Tensor) or given.ndim not in (3, 4):
        return None
    if given.ndim == 4:
        _, second, third, fourth = given.shape
        if model.num_features == fourth != second:
            return _Features("NHWC", 0, (second, third), fourth)
        return _Features("NCHW", 0, (third, fourth), second)
    extra = getattr(model, "num_prefix_tokens", 0) or 0
    side = math.isqrt(given.shape[1] - extra)
    return _Features("NLC", extra, (side, side), given.shape[2]) if side**2 == given.shape[1] - extra else None
