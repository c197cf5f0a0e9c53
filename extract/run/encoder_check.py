"""Run one made-up segment through an encoder, and check shape, values and time."""

import dataclasses
import time

import numpy as np
import torch
from numpy.typing import NDArray

from mmcache.common.plugin_faults import fault_in
from mmcache.extract.encoders import build_encoder, encoder_info
from mmcache.extract.media.sample_media import sample_media
from mmcache.store.format.layout import token_bytes
from mmcache.store.ground.errors import MmcacheError

_REPEATS = 3


@dataclasses.dataclass(frozen=True)
class Checked:
    """The findings about one encoder.

    Attributes:
        shape: (T, D) of a segment's tokens.
        milliseconds: of one segment, preprocessing included; the median of three.
        bytes: of a segment's tokens in float16.
        problem: what is wrong; None if nothing is.
    """

    encoder: str
    shape: tuple[int, int] | None
    dtype: str | None
    milliseconds: float | None
    bytes: int | None
    problem: str | None


def check_encoder(name: str, weights: str) -> Checked:
    """Load an encoder and run a segment through it. Every failure becomes `problem`."""
    try:
        info = encoder_info(name)
        encoder = build_encoder(name, weights).to("cuda" if torch.cuda.is_available() else "cpu")
        media = sample_media(info.request)
        seconds = []
        for _ in range(_REPEATS):
            began = time.perf_counter()
            tokens = encoder.encode(encoder.preprocess(media)[None])
            seconds.append(time.perf_counter() - began)
    except MmcacheError as error:
        return Checked(name, None, None, None, None, str(error))
    except Exception as error:  # the command reports any failure of a library
        said = fault_in(error) or f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return Checked(name, None, None, None, None, str(said))
    shape = (tokens.shape[1], tokens.shape[2])
    return Checked(
        encoder=name,
        shape=shape,
        dtype=str(tokens.dtype),
        milliseconds=round(1000 * float(np.median(seconds)), 1),
        bytes=token_bytes(*shape, "float16"),
        problem=_problem(tokens, (info.tokens, info.width)),
    )


def _problem(tokens: NDArray[np.float32], said: tuple[int, int]) -> str | None:
    if tokens.shape[1:] != said:
        return (
            f"the encoder gave {tokens.shape[1]} x {tokens.shape[2]} tokens; its info announces {said[0]} x {said[1]}"
        )
    if not np.isfinite(tokens).all():
        return "NaN or infinity among the tokens"
    if np.abs(tokens).max() > np.finfo(np.float16).max:
        return "tokens are too large for float16; cache them as float32 with --dtype float32"
    return None
