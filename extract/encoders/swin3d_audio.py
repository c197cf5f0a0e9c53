"""Sound for the Video Swin Transformers: its spectrogram, cut into windows that are shown to them as pictures.

As a film has pictures of moments spread evenly over the segment, so this has windows of 1.28 s (the length that
Kazakos et al., ICCV 2019, found good on EPIC-KITCHENS). Windows of a short sound overlap much, those of a long one
little. The weights are those of the same network for pictures.
"""

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from transformers import ASTFeatureExtractor

from mmcache.extract.encoders import augment, swin3d
from mmcache.extract.encoders.base import Encoder, EncoderInfo, capture_output, check_known
from mmcache.extract.media.base import AudioRequest

_OF = {f"swin3d_{size}_audio": f"swin3d_{size}" for size in "tsb"}  # -> the network for pictures
_RATE, _MAX_SECONDS, _HOP, _MEL_BINS = 16000, 10.24, 160, 128  # the spectrogram is AST's: windows of 25 ms, every 10
_SAMPLES = 400  # of one spectrogram frame; a shorter sound has none
_WINDOWS, _WINDOW = 32, 128  # pictures, and the spectrogram frames that one shows
_MEAN, _STD = -4.2677393, 4.5689974  # of log-mel values, AudioSet
_SILENCE = float(np.log(1.192092955078125e-07))  # the floor of log-mel values


def info(name: str) -> EncoderInfo:
    check_known(name, _OF, "swin3d_audio")
    pictures = swin3d.info(_OF[name])
    return EncoderInfo(
        name=name,
        tokens=pictures.tokens,
        width=pictures.width,
        request=AudioRequest(rate=_RATE, max_seconds=_MAX_SECONDS),
        preprocessing={
            "mel_bins": _MEL_BINS,
            "windows": _WINDOWS,
            "window_frames": _WINDOW,
            "picture": pictures.preprocessing["crop"],
            "mean": _MEAN,
            "std": _STD,
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
        with warnings.catch_warnings():
            # 128 mel bins over 257 frequencies leave the lowest filters empty: so AST was trained.
            warnings.filterwarnings("ignore", message="At least one mel filter has all zero values")
            self._extractor = ASTFeatureExtractor(
                sampling_rate=_RATE,
                num_mel_bins=_MEL_BINS,
                max_length=round(_MAX_SECONDS * _RATE) // _HOP,
                do_normalize=False,
            )

    def preprocess(
        self, media: NDArray[Any], rng: np.random.Generator | None = None, modality: str = ""
    ) -> torch.Tensor:
        """(samples,) at 16 kHz -> (windows, 128, 128) normalised log-mel: low pitches at the bottom, time to the right.

        A sound shorter than a window is followed by silence.
        """
        media = np.pad(media, (0, max(0, _SAMPLES - len(media))))
        mel = self._extractor(media, sampling_rate=_RATE, return_tensors="pt")["input_values"][0]  # padded
        mel = (mel[: 1 + (len(media) - _SAMPLES) // _HOP] - _MEAN) / _STD  # (frames, bins)
        if rng is not None:
            mel = augment.spectrogram(mel, len(mel), rng)
        mel = functional.pad(mel, (0, 0, 0, max(0, _WINDOW - len(mel))), value=(_SILENCE - _MEAN) / _STD)
        starts = np.linspace(0, len(mel) - _WINDOW, _WINDOWS).round().astype(int)
        return torch.stack([mel[start : start + _WINDOW].T.flip(0) for start in starts.tolist()])

    def _forward(self, batch: torch.Tensor) -> torch.Tensor:
        side = self.info.preprocessing["picture"]
        pictures = functional.interpolate(batch, (side, side), mode="bilinear")  # (B, T, H, W)
        film = pictures[:, None].expand(-1, 3, -1, -1, -1)  # (B, 3, T, H, W)
        return capture_output(self.model, "norm", film).flatten(1, 3)
