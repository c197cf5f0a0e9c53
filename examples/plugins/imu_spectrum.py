"""An encoder of one's own: the spectrum of accelerometer and gyroscope over time, without anything to learn.

mmcache check --encoder examples/plugins/imu_spectrum.py:ImuSpectrum
mmcache extract --dataset epic --modalities imu --encoder imu=examples/plugins/imu_spectrum.py:ImuSpectrum
"""

import torch
from torch import nn

from mmcache.extract.encoders.base.encoder import Encoder, EncoderInfo
from mmcache.extract.encoders.base.entry import NO_WEIGHTS
from mmcache.extract.media.base.requests import ImuRequest

WINDOWS, SAMPLES, CHANNELS = 16, 64, 6
GRAVITY = 9.81  # m/s^2, so that accelerations are near 1, as angular velocities in rad/s are


class ImuSpectrum(Encoder):
    """A token is the log spectrum of one of 16 half-overlapping windows: 6 channels x 33 frequencies."""

    info = EncoderInfo(
        name="imu_spectrum",  # the tokens lie in tokens/imu/imu_spectrum
        tokens=WINDOWS,
        width=CHANNELS * (SAMPLES // 2 + 1),
        request=ImuRequest(points=SAMPLES * (WINDOWS + 1) // 2),  # the reader gives (544, 6)
        preprocessing={"windows": WINDOWS, "samples": SAMPLES},
        code_version=1,
    )

    def __init__(self, weights: str) -> None:
        """`weights` is the value of --weights; this encoder has none."""
        super().__init__(self.info, nn.Identity(), NO_WEIGHTS)

    def preprocess(self, media, view=None, modality=""):
        """(544, 6) in m/s^2 and rad/s -> (16, 6, 64). `view` draws augmentations where --views asks for them."""
        if view is not None:
            media = media * view.rng.uniform(0.9, 1.1)  # the sensor's gain
        samples = torch.from_numpy(media).float()
        samples[:, :3] /= GRAVITY
        return samples.unfold(0, SAMPLES, SAMPLES // 2)

    def _forward(self, batch):
        """(B, 16, 6, 64) -> (B, 16, 198)."""
        windowed = batch * torch.hann_window(SAMPLES, device=batch.device)
        return torch.log1p(torch.fft.rfft(windowed.float()).abs()).flatten(2)
