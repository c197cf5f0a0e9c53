"""The Spatial-Temporal Layout Transformer (Radevski et al., BMVC 2021): boxes of hands and objects to a token a frame.

A frame is the boxes of one image behind a box around all of it; a spatial transformer reads them into one vector. The
vectors, each with its position and type, and an empty frame of the type `extract` after the last, go through a causal
temporal transformer. Its outputs are the tokens, 16 in time order and last the extract frame's, which alone has seen
all frames and which the paper's classifier reads.

`stlt_12` has the paper's 4 spatial and 8 temporal layers. `stlt_9` is the size that KARMMA (2025) names without saying
how its layers divide: 3 and 6 here, in the same proportion, is a guess. The paper shortens videos of fewer than 16
frames; here frames are repeated.

No weights are published as safetensors. Checkpoints of github.com/gorjanradevski/revisiting-spatial-temporal-layouts
for Something-Something and Something-Else load with --weights PATH: whole models of both of its releases, whose keys
begin with `stlt_backbone.` and `backbone.`, and backbones alone. Their classifier, and scores, which that code reads
for Action Genome only, are left out.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mmcache.extract.encoders.base.encoder import Encoder, EncoderInfo, check_known
from mmcache.extract.encoders.base.views import View
from mmcache.extract.encoders.base.weights import build_model
from mmcache.extract.media.base.requests import BoxCategory, BoxesRequest

_FRAMES, _BOXES, _MIN_SCORE = 16, 14, 0.5  # 14 boxes, as in the ICCV 2023 code; padding changes nothing
_POSITIONS = 256  # of the checkpoints
_CATEGORIES = {"pad": 0, "hand": int(BoxCategory.HAND), "object": int(BoxCategory.OBJECT), "frame": 3}
_FRAME_TYPES = {"pad": 0, "start": 1, "regular": 2, "empty": 3, "extract": 4}
_LEAST_CROP = 0.9  # an augmented view shows at least this share of the frame's width and height
# name -> (width, heads, spatial layers, temporal layers)
_SIZES = {"stlt_12": (768, 12, 4, 8), "stlt_9": (768, 12, 3, 6)}

_PREFIXES = ("backbone.", "stlt_backbone.")
_LEFT_OUT = (
    "prediction_head.",
    "frames_embeddings.position_ids",
    "frames_embeddings.layout_embedding.encoder_layer.",  # what the spatial layers were copied from
    "frames_embeddings.layout_embedding.category_box_embeddings.score_embeddings.",
)


def info(name: str) -> EncoderInfo:
    check_known(name, _SIZES, "stlt")
    return EncoderInfo(
        name=name,
        tokens=_FRAMES + 1,
        width=_SIZES[name][0],
        request=BoxesRequest(frames=_FRAMES, boxes=_BOXES, min_score=_MIN_SCORE),
        preprocessing={"least_crop": _LEAST_CROP},
        code_version=1,
    )


def build(name: str, weights: str) -> Encoder:
    model, called = build_model(name, weights, lambda: Stlt(*_SIZES[name]), None)
    return StltEncoder(info(name), model, called)


class BoxEmbeddings(nn.Module):
    """(..., 4) corners as shares of the frame and (...) categories -> (..., D)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.category_embeddings = nn.Embedding(len(_CATEGORIES), width, padding_idx=0)
        self.box_embedding = nn.Linear(4, width)
        self.layer_norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, corners: torch.Tensor, categories: torch.Tensor) -> torch.Tensor:
        return self.layer_norm(self.category_embeddings(categories) + self.box_embedding(corners))


class SpatialTransformer(nn.Module):
    """(F, n, 4) corners and (F, n) categories of F frames -> (F, D): what slot 0 has become."""

    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.category_box_embeddings = BoxEmbeddings(width)
        self.transformer = _transformer(width, heads, layers)

    def forward(self, corners: torch.Tensor, categories: torch.Tensor) -> torch.Tensor:
        boxes = self.category_box_embeddings(corners, categories)
        return self.transformer(boxes, src_key_padding_mask=categories == _CATEGORIES["pad"])[:, 0]


class FrameEmbeddings(nn.Module):
    """(B, T, n, 4) corners, (B, T, n) categories and (B, T) frame types -> (B, T, D)."""

    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.layout_embedding = SpatialTransformer(width, heads, layers)
        self.position_embeddings = nn.Embedding(_POSITIONS, width)
        self.frame_type_embedding = nn.Embedding(len(_FRAME_TYPES), width, padding_idx=0)
        self.layer_norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, corners: torch.Tensor, categories: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
        layouts = self.layout_embedding(corners.flatten(0, 1), categories.flatten(0, 1)).unflatten(0, types.shape)
        positions = self.position_embeddings.weight[: types.shape[1]]
        return self.layer_norm(layouts + positions + self.frame_type_embedding(types))


class Stlt(nn.Module):
    """(B, T, n, 5) boxes: x1, y1, x2, y2, category -> (B, T + 1, D); modules are named as in the checkpoints."""

    def __init__(self, width: int, heads: int, spatial_layers: int, temporal_layers: int) -> None:
        super().__init__()
        self.frames_embeddings = FrameEmbeddings(width, heads, spatial_layers)
        self.transformer = _transformer(width, heads, temporal_layers)

    def forward(self, boxes: torch.Tensor) -> torch.Tensor:
        boxes = nn.functional.pad(boxes, (0, 0, 1, 0, 0, 1))  # slot 0 of every frame, and the extract frame
        boxes[:, :, 0] = boxes.new_tensor([0.0, 0.0, 1.0, 1.0, _CATEGORIES["frame"]])
        corners, categories = boxes[..., :4], boxes[..., 4].long()
        empty = (categories[:, :, 1:] == _CATEGORIES["pad"]).all(dim=2)
        types = torch.where(empty, _FRAME_TYPES["empty"], _FRAME_TYPES["regular"])
        types[:, -1] = _FRAME_TYPES["extract"]
        frames = self.frames_embeddings(corners, categories, types)
        later = torch.ones(_FRAMES + 1, _FRAMES + 1, dtype=torch.bool, device=frames.device).triu(1)
        return self.transformer(frames, mask=later)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As of every module; the keys may be those of a published checkpoint."""
        return super().load_state_dict(_named_as_here(state_dict), strict, assign)


def _transformer(width: int, heads: int, layers: int) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True)
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)


def _named_as_here(state: Mapping[str, Any]) -> dict[str, Any]:
    """The weights of a checkpoint under this module's names, without those that it does not have."""
    prefix = next((p for p in _PREFIXES if any(key.startswith(p) for key in state)), "")
    named = {key.removeprefix(prefix): value for key, value in state.items()}
    return {key: value for key, value in named.items() if not key.startswith(_LEFT_OUT)}


class StltEncoder(Encoder):
    """The temporal transformer's outputs, (B, 17, D): 16 frames in time order, then the extract frame."""

    def preprocess(self, media: NDArray[Any], view: View | None = None, modality: str = "") -> torch.Tensor:
        """(frames, boxes, 6) -> (frames, boxes, 5), without the score.

        An augmented view is mirrored half of the time and cropped at random, all frames alike; boxes that lie outside
        the crop are no longer there.
        """
        boxes = torch.from_numpy(np.array(media[..., :5], np.float32))
        return boxes if view is None else _cropped(boxes, view)

    def _forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.model(batch)


def _cropped(boxes: torch.Tensor, view: View) -> torch.Tensor:
    """(frames, boxes, 5) as seen in a random part of the frame, or in its mirror image."""
    size = view.rng.uniform(_LEAST_CROP, 1.0, 2)
    corner = view.rng.random(2) * (1.0 - size)
    scale, shift = boxes.new_tensor(size).repeat(2), boxes.new_tensor(corner).repeat(2)
    edges = ((boxes[..., :4] - shift) / scale).clamp(0.0, 1.0)
    if view.mirrored:
        x1, y1, x2, y2 = edges.unbind(-1)
        edges = torch.stack([1.0 - x2, y1, 1.0 - x1, y2], dim=-1)
    seen = (edges[..., 2] > edges[..., 0]) & (edges[..., 3] > edges[..., 1]) & (boxes[..., 4] != _CATEGORIES["pad"])
    return torch.cat([edges, boxes[..., 4:]], dim=-1) * seen[..., None]
