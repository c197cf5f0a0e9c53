"""The augmentations of all kinds of media, with all their parameters.

Each function takes the generator of one view and gives the same shape and type as the centre view has. One draw holds
for a whole segment: all its frames are cut, mirrored and coloured alike.
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torchvision.transforms.v2 import functional as tv

from mmcache.extract.encoders.base.views import View
from mmcache.extract.media.base.requests import AudioRequest, ImuRequest, MediaRequest, SkeletonRequest, VideoRequest

# Frames. Shapes as in PySlowFast's and Video Swin's training (area 0.08 to 1, aspect 3/4 to 4/3, mirrored half of the
# time), but never less than half of the frame: these encoders stay frozen, and views are cached permanently.
_AREA, _ASPECT = (0.5, 1.0), (3 / 4, 4 / 3)
_COLOUR = 0.4  # brightness, contrast and saturation times 0.6 to 1.4, rgb only (MViT's training, PySlowFast)
_TRIES = 10  # as torchvision's RandomResizedCrop
# Audio. SpecAugment (Park et al., Interspeech 2019), one mask each way, at most as wide as AST's training on AudioSet
# has it: 48 of 128 mel bins, 192 of 1024 spectrogram frames.
_BINS_MASKED, _TIME_MASKED = 48 / 128, 192 / 1024
# Motion. A sensor worn askew, and another's scale (Um et al., ICMI 2017: sigma 0.1); their free rotation is ours
# within 15 degrees, since gravity tells where up is.
_TILT_DEGREES, _SCALE_SIGMA = 15.0, 0.1
# Skeletons. Turned by up to 0.3 rad, as in CTR-GCN's training on NTU RGB+D (Chen et al., ICCV 2021), but only around
# the vertical: the camera stands upright.
_TURN_RADIANS = 0.3


def parameters(request: MediaRequest) -> dict[str, Any]:
    """Every number above that concerns the media an encoder asks for, as fingerprints of views may have it."""
    if isinstance(request, VideoRequest):
        return {"crop_area": list(_AREA), "crop_aspect": list(_ASPECT), "colour": _COLOUR}
    if isinstance(request, AudioRequest):
        return {"bins_masked": _BINS_MASKED, "time_masked": _TIME_MASKED}
    if isinstance(request, ImuRequest):
        return {"tilt_degrees": _TILT_DEGREES, "scale_sigma": _SCALE_SIGMA}
    if isinstance(request, SkeletonRequest):
        return {"turn_radians": _TURN_RADIANS}
    return {}


def frames(media: NDArray[Any], size: int, view: View, modality: str) -> torch.Tensor:
    """A random part of the frames, perhaps mirrored, in other colours if they are rgb.

    Args:
        media: (T, H, W, 3) uint8.
        modality: of flow, the horizontal displacement changes its sign in the mirror.

    Returns:
        (T, size, size, 3) uint8.
    """
    top, left, height, width = _part(media.shape[1], media.shape[2], view.rng)
    colours = view.rng.uniform(1 - _COLOUR, 1 + _COLOUR, 3)
    video = torch.from_numpy(media).permute(0, 3, 1, 2)  # (T, 3, H, W)
    video = tv.resized_crop(video, top, left, height, width, [size, size], antialias=True)
    if view.mirrored:
        video = video.flip(-1)
        if modality == "flow":
            video[:, 0] = (256 - video[:, 0].int()).clamp(max=255).to(torch.uint8)  # 128 is no displacement
    if modality == "rgb":
        adjustments = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation)
        for adjust, factor in zip(adjustments, colours, strict=True):
            video = adjust(video, float(factor))
    return video.permute(0, 2, 3, 1).contiguous()


def _part(height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random part of a frame; the middle square where none fits."""
    for _ in range(_TRIES):
        area = height * width * rng.uniform(*_AREA)
        aspect = math.exp(rng.uniform(math.log(_ASPECT[0]), math.log(_ASPECT[1])))
        high, wide = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if high <= height and wide <= width:
            return int(rng.integers(height - high + 1)), int(rng.integers(width - wide + 1)), high, wide
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side


def spectrogram(mel: torch.Tensor, heard: int, rng: np.random.Generator) -> torch.Tensor:
    """A band of pitches and a stretch of time masked with 0, the mean of a normalised spectrogram.

    Args:
        mel: (frames, bins); it is not changed.
        heard: how many of the frames are sound, the rest being padding.
    """
    mel = mel.clone()
    start, stop = _mask(mel.shape[1], _BINS_MASKED, rng)
    mel[:heard, start:stop] = 0.0
    start, stop = _mask(heard, _TIME_MASKED, rng)
    mel[start:stop] = 0.0
    return mel


def waveform(samples: NDArray[Any], rng: np.random.Generator) -> NDArray[np.float32]:
    """The same of audio that has no spectrogram: a band of pitches and a stretch of time are silent.

    As SpeechBrain's DropFreq and DropChunk do. The band is chosen on a scale of frequencies, not of mels.
    """
    start, stop = _mask(len(samples), _TIME_MASKED, rng)
    spectrum = np.fft.rfft(samples)
    low, high = _mask(len(spectrum), _BINS_MASKED, rng)
    spectrum[low:high] = 0.0
    changed = np.fft.irfft(spectrum, len(samples)).astype(np.float32)
    changed[start:stop] = 0.0
    return changed


def _mask(length: int, most: float, rng: np.random.Generator) -> tuple[int, int]:
    """Start and stop of a random part, from nothing to the share `most`."""
    width = int(rng.integers(int(length * most) + 1))
    start = int(rng.integers(length - width + 1))
    return start, start + width


def motion(samples: NDArray[Any], rng: np.random.Generator) -> NDArray[np.float32]:
    """(points, 6): the accelerometer and the gyroscope tilted alike, and scaled."""
    axis = rng.normal(size=3)
    angle = math.radians(rng.uniform(-_TILT_DEGREES, _TILT_DEGREES))
    tilt = Rotation.from_rotvec(axis / np.linalg.norm(axis) * angle)
    scale = rng.normal(1.0, _SCALE_SIGMA)
    turned = [tilt.apply(samples[:, sensor]) for sensor in (slice(0, 3), slice(3, 6))]
    return (scale * np.concatenate(turned, axis=1)).astype(np.float32)


def poses(joints: NDArray[Any], rng: np.random.Generator) -> NDArray[np.float32]:
    """(..., 3) in metres, turned around the vertical through the origin; the second coordinate points up."""
    turn = Rotation.from_rotvec([0.0, rng.uniform(-_TURN_RADIANS, _TURN_RADIANS), 0.0])
    return turn.apply(joints.reshape(-1, 3)).reshape(joints.shape).astype(np.float32)
