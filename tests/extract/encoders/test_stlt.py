"""The layout transformer: its published form, its checkpoints, and what its tokens depend on."""

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from mmcache.extract.encoders import build_encoder
from mmcache.extract.encoders.base.encoder import Encoder
from mmcache.extract.encoders.base.views import View
from mmcache.extract.encoders.base.weights import WeightsError

EMBEDDINGS = "frames_embeddings.layout_embedding.category_box_embeddings"


@cache
def stlt(name: str = "stlt_9") -> Encoder:
    return build_encoder(name, "random")


def media(seed: int = 0, boxes: int = 4) -> NDArray[np.float32]:
    """(16, 14, 6) with `boxes` boxes a frame, the first a hand; frames 3 and 9 have none."""
    rng = np.random.default_rng(seed)
    out = np.zeros((16, 14, 6), np.float32)
    edges = np.sort(rng.uniform(0, 1, (16, boxes, 2, 2)), axis=2).reshape(16, boxes, 4)
    out[:, :boxes, :4], out[:, :boxes, 4], out[:, :boxes, 5] = edges, 2, 0.9
    out[:, 0, 4] = 1
    out[[3, 9]] = 0
    return out


def tokens(array: NDArray[np.float32], name: str = "stlt_9") -> NDArray[np.float32]:
    return stlt(name).encode(stlt(name).preprocess(array)[None])[0]


@pytest.mark.parametrize(("name", "layers"), [("stlt_12", 12), ("stlt_9", 9)])
def test_it_has_the_parameters_of_its_published_form(name: str, layers: int) -> None:
    width = 768
    layer = 4 * (width * width + width) + 2 * 4 * width * width + 5 * width + 4 * width
    embeddings = 4 * width + 5 * width + 2 * width + 256 * width + 5 * width + 2 * width
    assert sum(p.numel() for p in stlt(name).model.parameters()) == layers * layer + embeddings


def transformer(x: torch.Tensor, state: dict[str, torch.Tensor], at: str, layers: int, hidden: torch.Tensor) -> Any:
    """Post-norm layers of 12 heads, written out; (n, T, D), and what may not be seen, (n, T, T)."""
    for number in range(layers):
        p = {key.removeprefix(f"{at}.layers.{number}."): value for key, value in state.items()}
        q, k, v = F.linear(x, p["self_attn.in_proj_weight"], p["self_attn.in_proj_bias"]).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (12, -1)).transpose(1, 2) for part in (q, k, v))
        scores = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).masked_fill(hidden[:, None], -math.inf)
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        mixed = F.linear(mixed, p["self_attn.out_proj.weight"], p["self_attn.out_proj.bias"])
        x = F.layer_norm(x + mixed, (768,), p["norm1.weight"], p["norm1.bias"])
        inner = F.gelu(F.linear(x, p["linear1.weight"], p["linear1.bias"]))
        x = x + F.linear(inner, p["linear2.weight"], p["linear2.bias"])
        x = F.layer_norm(x, (768,), p["norm2.weight"], p["norm2.bias"])
    return x


def by_the_paper(boxes: NDArray[np.float32], state: dict[str, torch.Tensor], layers: tuple[int, int]) -> torch.Tensor:
    """(16, 14, 6) -> (17, 768)."""
    frames = []
    for picture in [*boxes, np.zeros((14, 6), np.float32)]:
        there = picture[picture[:, 4] > 0]  # no padding at all
        corners = torch.tensor(np.array([[0.0, 0.0, 1.0, 1.0], *there[:, :4]]), dtype=torch.float32)
        categories = torch.tensor([3, *there[:, 4].astype(int)])
        x = state[f"{EMBEDDINGS}.category_embeddings.weight"][categories]
        x = x + F.linear(
            corners, state[f"{EMBEDDINGS}.box_embedding.weight"], state[f"{EMBEDDINGS}.box_embedding.bias"]
        )
        x = F.layer_norm(
            x, (768,), state[f"{EMBEDDINGS}.layer_norm.weight"], state[f"{EMBEDDINGS}.layer_norm.bias"], 1e-12
        )
        seen = torch.zeros(1, len(x), len(x), dtype=torch.bool)
        at = "frames_embeddings.layout_embedding.transformer"
        frames.append(transformer(x[None], state, at, layers[0], seen)[0, 0])
    types = torch.tensor([*(2 if (picture[:, 4] > 0).any() else 3 for picture in boxes), 4])
    x = torch.stack(frames) + state["frames_embeddings.position_embeddings.weight"][:17]
    x = x + state["frames_embeddings.frame_type_embedding.weight"][types]
    norm = (state["frames_embeddings.layer_norm.weight"], state["frames_embeddings.layer_norm.bias"])
    x = F.layer_norm(x, (768,), *norm, 1e-12)
    later = torch.ones(1, 17, 17, dtype=torch.bool).triu(1)
    return transformer(x[None], state, "transformer", layers[1], later)[0]


def released(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """A checkpoint as the public code saves it, with all that is in it besides the backbone."""
    out = {f"{prefix}{key}": value for key, value in state.items()}
    out[f"{prefix}frames_embeddings.position_ids"] = torch.arange(256)[None]
    out[f"{prefix}{EMBEDDINGS}.score_embeddings.weight"] = torch.zeros(768, 1)
    out[f"{prefix}{EMBEDDINGS}.score_embeddings.bias"] = torch.zeros(768)
    layer = "frames_embeddings.layout_embedding.transformer.layers.0."
    template = "frames_embeddings.layout_embedding.encoder_layer."
    for key in [key for key in state if key.startswith(layer)]:
        out[prefix + key.replace(layer, template)] = torch.zeros_like(state[key])
    if prefix:
        for key, shape in (("fc1.weight", (768, 768)), ("fc1.bias", (768,)), ("layer_norm.weight", (768,))):
            out[f"prediction_head.{key}"] = torch.zeros(shape)
        out["prediction_head.fc2.weight"] = torch.zeros(174, 768)
    return out


@pytest.mark.slow
def test_a_published_checkpoint_gives_the_outputs_of_the_paper(tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(3)
    state = {
        key: 0.02 * torch.randn(value.shape, generator=rng) + float(key.endswith(("norm.weight", "norm1.weight")))
        for key, value in stlt("stlt_12").model.state_dict().items()
    }
    torch.save(released(state, "backbone."), tmp_path / "stlt_12.pth")
    encoder = build_encoder("stlt_12", str(tmp_path))
    found = encoder.encode(encoder.preprocess(media())[None])[0]
    np.testing.assert_allclose(found, by_the_paper(media(), state, (4, 8)).numpy(), atol=2e-4)


@pytest.mark.parametrize("prefix", ["backbone.", "stlt_backbone.", ""])
def test_checkpoints_of_both_releases_and_backbones_fit(prefix: str) -> None:
    state = {key: torch.full_like(value, 0.5) for key, value in stlt().model.state_dict().items()}
    encoder = build_encoder("stlt_9", "random")
    encoder.model.load_state_dict(released(state, prefix))
    assert all((value == 0.5).all() for value in encoder.model.state_dict().values())


def test_a_checkpoint_of_another_size_is_refused(tmp_path: Path) -> None:
    torch.save({"backbone.transformer.layers.0.linear1.bias": torch.zeros(9)}, tmp_path / "stlt_9.pth")
    with pytest.raises(WeightsError, match="does not fit stlt_9"):
        build_encoder("stlt_9", str(tmp_path / "stlt_9.pth"))


@pytest.mark.slow
def test_random_weights_give_the_outputs_of_the_paper_too() -> None:
    state = dict(stlt().model.state_dict())
    np.testing.assert_allclose(tokens(media()), by_the_paper(media(), state, (3, 6)).numpy(), atol=1e-4)


@pytest.mark.holds("shared", "3.17 a frame changes no token before it, and padded boxes change nothing")
@pytest.mark.parametrize("frame", [0, 5, 15])
def test_a_frame_changes_no_token_before_it(frame: int) -> None:
    changed = media()
    changed[frame, :2] = [[0.1, 0.1, 0.9, 0.9, 2, 1], [0.2, 0.2, 0.3, 0.4, 1, 1]]
    before, after = tokens(media()), tokens(changed)
    np.testing.assert_allclose(after[:frame], before[:frame], atol=1e-5)
    assert (np.abs(after[frame:] - before[frame:]).max(axis=1) > 1e-4).all()


@pytest.mark.holds("shared", "3.17 a frame changes no token before it, and padded boxes change nothing")
def test_padding_changes_nothing_and_neither_do_the_order_of_boxes_and_scores() -> None:
    shuffled = media()[:, ::-1].copy()
    shuffled[..., 5] *= 0.5
    np.testing.assert_allclose(tokens(shuffled), tokens(media()), atol=1e-4)
    fewer = stlt().encode(stlt().preprocess(media()[:, :4])[None])[0]
    np.testing.assert_allclose(fewer, tokens(media()), atol=1e-4)


def test_a_batch_gives_what_its_segments_give_one_by_one() -> None:
    arrays = [media(seed, boxes) for seed, boxes in ((1, 1), (2, 14))] + [np.zeros((16, 14, 6), np.float32)]
    together = stlt().encode(torch.stack([stlt().preprocess(array) for array in arrays]))
    np.testing.assert_allclose(together, np.stack([tokens(array) for array in arrays]), atol=1e-3)
    assert np.isfinite(together).all()


def test_the_centre_view_is_what_was_read() -> None:
    array = media()
    kept = array.copy()
    np.testing.assert_array_equal(stlt().preprocess(array).numpy(), array[..., :5])
    stlt().preprocess(array, View.drawn(0))
    np.testing.assert_array_equal(array, kept)


@pytest.mark.parametrize("seed", range(12))
def test_augmented_views_are_one_crop_of_all_frames_mirrored_or_not(seed: int) -> None:
    array = media(seed)
    view = stlt().preprocess(array, View.drawn(seed)).numpy()
    np.testing.assert_array_equal(view, stlt().preprocess(array, View.drawn(seed)).numpy())
    there = view[..., 4] > 0
    np.testing.assert_array_equal(view[there][:, 4], array[there][:, 4])
    assert (view[~there] == 0).all()
    corners = view[there][:, :4]
    assert ((corners >= 0) & (corners <= 1)).all()
    assert (corners[:, :2] < corners[:, 2:]).all()
    # Edges inside the frame move by one linear map, the same in every frame.
    new, old = corners[:, [0, 2]], array[there][:, [0, 2]]
    mirrored = np.corrcoef(new[:, 0], old[:, 0])[0, 1] < 0
    new = np.sort(1 - new, axis=1) if mirrored else new
    inside = (new > 0) & (new < 1)
    slope, offset = np.polyfit(old[inside], new[inside], 1)
    np.testing.assert_allclose(slope * old[inside] + offset, new[inside], atol=1e-4)
    assert 1.0 <= slope <= 1 / 0.9 + 1e-4


def test_about_half_of_the_views_are_mirrored_and_boxes_out_of_sight_go() -> None:
    array = np.zeros((16, 14, 6), np.float32)
    array[:, 0] = [0.1, 0.1, 0.2, 0.9, 2, 1]
    array[:, 1] = [0.0, 0.4, 0.001, 0.6, 2, 1]
    views = [stlt().preprocess(array, View.drawn((seed, 1))).numpy() for seed in range(200)]
    right = np.mean([view[0, 0, 0] > 0.5 for view in views])
    assert 0.4 < right < 0.6
    gone = [view[0, 1, 4] == 0 for view in views]
    assert 0.5 < np.mean(gone) < 1.0
    assert all((view[0, 1] == 0).all() for view, out in zip(views, gone, strict=True) if out)
