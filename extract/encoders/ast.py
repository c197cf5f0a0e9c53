"""Audio Spectrogram Transformers (Gong et al., Interspeech 2021) from transformers.

`ast_b` has published AudioSet weights; `ast_s` and `ast_t` are the same network at the sizes of DeiT-small and -tiny.
"""

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn
from transformers import ASTConfig, ASTModel

from mmcache.extract.encoders.base.downloads import hub
from mmcache.extract.encoders.base.encoder import Encoder, EncoderInfo, check_known
from mmcache.extract.encoders.base.views import View
from mmcache.extract.encoders.base.weights import build_model
from mmcache.extract.encoders.inputs import augment, spectrogram
from mmcache.extract.media.base.requests import AudioRequest

_AST_B_WEIGHTS = "MIT/ast-finetuned-audioset-10-10-0.4593"
_PATCH, _STRIDE = 16, 10  # a patch is 16 mel bins x 16 spectrogram frames

# name -> network sizes; max_length is in spectrogram frames of 10 ms
_CONFIGS: dict[str, dict[str, Any]] = {
    "ast_b": {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072, "max_length": 1024},
    "ast_s": {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536, "max_length": 1024},
    "ast_t": {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768, "max_length": 1024},
    "ast_demo": {
        "hidden_size": 96,
        "num_attention_heads": 4,
        "intermediate_size": 192,
        "max_length": 128,
        "num_hidden_layers": 2,
    },
}


def info(name: str) -> EncoderInfo:
    check_known(name, _CONFIGS, "ast")
    frames = _CONFIGS[name]["max_length"]
    return EncoderInfo(
        name=name,
        tokens=2 + _patches(spectrogram.MEL_BINS) * _patches(frames),  # class and distillation tokens come first
        width=_CONFIGS[name]["hidden_size"],
        request=AudioRequest(rate=spectrogram.RATE, max_seconds=frames * spectrogram.HOP / spectrogram.RATE),
        preprocessing={
            "mel_bins": spectrogram.MEL_BINS,
            "frames": frames,
            "mean": spectrogram.MEAN,
            "std": spectrogram.STD,
        },
        code_version=1,
    )


def _patches(size: int) -> int:
    return (size - _PATCH) // _STRIDE + 1


def build(name: str, weights: str) -> Encoder:
    def make() -> nn.Module:
        model = ASTModel(ASTConfig(**_CONFIGS[name]))
        # The library leaves these zero for a checkpoint to fill; random weights need distinct positions.
        for table in (
            model.embeddings.position_embeddings,
            model.embeddings.cls_token,
            model.embeddings.distillation_token,
        ):
            nn.init.trunc_normal_(table, std=0.02)
        return model

    def download() -> Mapping[str, torch.Tensor]:
        with hub():
            return ASTModel.from_pretrained(_AST_B_WEIGHTS).state_dict()

    published = (_AST_B_WEIGHTS, download) if name == "ast_b" else None
    model, called = build_model(name, weights, make, published)
    return AST(info(name), model, called)


class AST(Encoder):
    """The tokens after the final norm, (B, 2 + patches, D): class, distillation, then frequency, time."""

    def __init__(self, info: EncoderInfo, model: nn.Module, weights: str) -> None:
        super().__init__(info, model, weights)
        self._extractor = spectrogram.extractor(info.preprocessing["frames"])

    def preprocess(self, media: NDArray[Any], view: View | None = None, modality: str = "") -> torch.Tensor:
        """(samples,) at 16 kHz -> (frames, 128) normalised log-mel, padded or cut to the network's length."""
        media = spectrogram.long_enough(media)
        ready = self._extractor(media, sampling_rate=spectrogram.RATE, return_tensors="pt")["input_values"][0]
        if view is None:
            return ready
        return augment.spectrogram(ready, min(len(ready), spectrogram.frames_of(media)), view.rng)

    def _forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.model(batch).last_hidden_state
