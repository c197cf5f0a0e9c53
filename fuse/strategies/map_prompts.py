"""map, map-attention: prompts for every pattern of missing modalities in a frozen transformer (MAP, CVPR 2023).

A transformer is trained on complete segments first (strategy zeros, same network), then frozen. Trained are one
prompt set for each pattern, 16 tokens in each of the first 6 layers, a pooler and a classifier. `map` puts prompts
before a layer's tokens and keeps them; `map-attention` puts half of them before keys and half before values.
A missing modality is a constant dummy: here zeros before the projector. 70 % of the training segments lack one
modality, drawn once; `--set law=uniform_subset` is the paper's simulated missingness for two.

The paper's learning rate 1e-2 is for its optimiser at batch 256; ours is 1e-3. Its transformer is pre-trained on
image and text; ours on the same store.
"""

from typing import Any

from mmcache.fuse.strategies.base import Strategy

_OPTIONS: dict[str, Any] = {
    "fill": "prompt",
    "head": "pooler",
    "depth": 6,
    "freeze": True,
    "law": "pattern_table",
    "drop": 0.7,
    "lr": 1e-3,
    "weight_decay": 0.02,
    "epochs": 20,
}
_SOURCE = "MAP (missing-aware prompts), CVPR 2023"
INPUT = Strategy(
    about="prompts for each pattern of what is missing, at the input of a frozen transformer's layers",
    source=_SOURCE,
    options={**_OPTIONS, "prompt_kind": "input"},
    start="zeros",
)
ATTENTION = Strategy(
    about="prompts for each pattern of what is missing, in the keys and values of a frozen transformer",
    source=_SOURCE,
    options={**_OPTIONS, "prompt_kind": "attention"},
    start="zeros",
)
