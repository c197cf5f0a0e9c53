"""Audio for the Video Swin Transformers: its spectrogram, cut into windows that the network takes as frames.

As a video has frames of moments spread evenly over the segment, so this has windows of 1.28 s (the length that
Kazakos et al., ICCV 2019, found good on EPIC-KITCHENS). Windows of short audio overlap much, those of a long one
little. The weights are those of the same network for frames.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from mmcache.extract.encoders import swin3d
from mmcache.extract.encoders.base.encoder import Encoder, EncoderInfo, capture_output, check_known
from mmcache.extract.encoders.base.views import View
from mmcache.extract.encoders.inputs import augment, spectrogram
from mmcache.extract.media.base.requests import AudioRequest

_OF = {f"swin3d_{size}_audio": f"swin3d_{size}" for size in "tsb"}  # -> the network for frames
_MAX_SECONDS = 10.24
_WINDOWS, _WINDOW = 32, 128  # frames, and the spectrogram frames that one shows


def info(name: str) -> EncoderInfo:
    check_known(name, _OF, "swin3d_audio")
    frames = swin3d.info(_OF[name])
    return EncoderInfo(
        name=name,
        tokens=frames.tokens,
        width=frames.width,
        request=AudioRequest(rate=spectrogram.RATE, max_seconds=_MAX_SECONDS),
        preprocessing={
            "mel_bins": spectrogram.MEL_BINS,
            "windows": _WINDOWS,
            "window_frames": _WINDOW,
            "picture": frames.preprocessing["crop"],
            "mean": spectrogram.MEAN,
            "std": spectrogram.STD,
        },
        code_version=1,
    )


def build(name: str, weights: str) -> Encoder:
    check_known(name, _OF, "swin3d_audio")
    model, called = swin3d.network(_OF[name], weights)
    return Swin3DAudio(info(name), model, called)


class Swin3DAudio(Encoder):
    """The tokens after the final norm: windows in time order, then pitch from high to low, then time in the window."""

    def __init__(self, info: EncoderInfo, model: nn.Module, weights: str) -> None:
        super().__init__(info, model, weights)
        longest = round(_MAX_SECONDS * spectrogram.RATE) // spectrogram.HOP
        self._extractor = spectrogram.extractor(longest, do_normalize=False)

    def preprocess(self, media: NDArray[Any], view: View | None = None, modality: str = "") -> torch.Tensor:
        """(samples,) at 16 kHz -> (windows, 128, 128) normalised log-mel: low pitches at the bottom, time to the right.

        Audio shorter than a window is followed by silence.
        """
        media = spectrogram.long_enough(media)
        mel = self._extractor(media, sampling_rate=spectrogram.RATE, return_tensors="pt")["input_values"][0]
        mel = _normalised(mel[: spectrogram.frames_of(media)])  # (frames, bins), without the padding
        if view is not None:
            mel = augment.spectrogram(mel, len(mel), view.rng)
        missing = max(0, _WINDOW - len(mel))
        mel = functional.pad(mel, (0, 0, 0, missing), value=_normalised(spectrogram.SILENCE))
        starts = np.linspace(0, len(mel) - _WINDOW, _WINDOWS).round().astype(int)
        return torch.stack([mel[start : start + _WINDOW].T.flip(0) for start in starts.tolist()])

    def _forward(self, batch: torch.Tensor) -> torch.Tensor:
        side = self.info.preprocessing["picture"]
        frames = functional.interpolate(batch, (side, side), mode="bilinear")  # (B, T, H, W)
        video = frames[:, None].expand(-1, 3, -1, -1, -1)  # (B, 3, T, H, W)
        return capture_output(self.model, "norm", video).flatten(1, 3)


def _normalised(mel: Any) -> Any:
    """Mean 0 and deviation 1, as the network's frames have; AST has half the deviation."""
    return (mel - spectrogram.MEAN) / spectrogram.STD
