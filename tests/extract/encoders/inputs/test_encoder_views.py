"""Views of every encoder of the table: what its preprocessing makes of a generator."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mmcache.extract.encoders import ENCODERS, build_encoder
from mmcache.extract.encoders.base.encoder import Encoder
from mmcache.extract.encoders.base.views import View
from mmcache.extract.encoders.inputs.video_frames import centre_crop
from mmcache.extract.media.base.requests import MediaRequest

Reader = Callable[[MediaRequest], NDArray[Any]]

# One of each family and kind of preprocessing; sizes share it.
NAMES = ["swin3d_demo", "mvit_v2_s", "swin3d_t_audio", "ast_demo", "ast_s", "imu_demo", "joints", "timm:resnet10t"]


@pytest.fixture(scope="module", params=NAMES)
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return build_encoder(request.param, "random")


def modality_of(encoder: Encoder) -> str:
    return ENCODERS[encoder.info.name].modalities[0] if encoder.info.name in ENCODERS else "rgb"


def view(encoder: Encoder, media: NDArray[Any], seed: int) -> torch.Tensor:
    return encoder.preprocess(media, View.drawn(seed), modality_of(encoder))


def test_a_view_has_the_form_of_the_centre_view_and_other_values(encoder: Encoder, media_for: Reader) -> None:
    media = media_for(encoder.info.request)
    centre = encoder.preprocess(media)
    views = [view(encoder, media, seed) for seed in range(4)]
    for one in views:
        assert (one.shape, one.dtype) == (centre.shape, centre.dtype)
        assert torch.isfinite(one.float()).all()
        assert not torch.equal(one, centre)
    assert not any(torch.equal(views[i], views[j]) for i in range(4) for j in range(i))
    torch.stack([centre, *views])  # as a batch has them


def test_a_view_is_a_function_of_its_generator_alone(encoder: Encoder, media_for: Reader) -> None:
    media = media_for(encoder.info.request)
    first = view(encoder, media, 7)
    torch.manual_seed(123)
    state = torch.get_rng_state()
    assert torch.equal(view(encoder, media, 7), first)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_view_leaves_the_media_it_was_given_alone(encoder: Encoder, media_for: Reader) -> None:
    media = media_for(encoder.info.request)
    encoder.preprocess(media, View.drawn(3), modality_of(encoder))
    np.testing.assert_array_equal(media, media_for(encoder.info.request))


def test_the_centre_view_is_the_same_for_all_modalities(encoder: Encoder, media_for: Reader) -> None:
    media = media_for(encoder.info.request)
    centre = encoder.preprocess(media)
    for modality in ("rgb", "flow", "depth", "audio", ""):
        assert torch.equal(encoder.preprocess(media, None, modality), centre)


@pytest.mark.parametrize("name", ["swin3d_demo", "timm:resnet10t"])
def test_the_centre_view_of_pictures_is_their_middle(name: str, media_for: Reader) -> None:
    encoder = build_encoder(name, "random")
    media, crop = media_for(encoder.info.request), encoder.info.preprocessing["crop"]
    ready = encoder.preprocess(media)
    assert ready.dtype == torch.uint8
    np.testing.assert_array_equal(ready, centre_crop(media, crop))
    top, left = ((side - crop) // 2 for side in media.shape[1:3])
    np.testing.assert_array_equal(ready, media[:, top : top + crop, left : left + crop])


@pytest.mark.parametrize("name", ["swin3d_demo", "ast_demo", "imu_demo", "joints"])
def test_views_have_tokens_of_their_own(name: str, media_for: Reader) -> None:
    encoder = build_encoder(name, "random")
    media = media_for(encoder.info.request)
    ready = [encoder.preprocess(media), view(encoder, media, 0), view(encoder, media, 1)]
    centre, *views = encoder.encode(torch.stack(ready))
    for tokens in views:
        assert np.isfinite(tokens).all()
        assert np.abs(tokens - centre).max() > 1e-3
