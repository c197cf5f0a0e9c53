"""compass: a missing modality is the mean of what the others predict for it (COMPASS, arXiv 2604.02056).

For each pair a -> b one transformer layer reads a learned token and the tokens of a; its first output is the proxy.
Slots are summed, normed and classified. L = CE (label smoothing 0.1) + 0.2 MSE(proxy, real) + 0.3 VICReg between the
real means. 70 % of the segments are drawn incomplete.

The squared error is of what is present but dropped; the optional CE on proxies (0.5) is not here. Its invariance weight
is 5 or 25: `vicreg_terms`. Ours: the fusion sum has a linear layer for each slot, and the schedule is a cosine.
"""

from mmcache.fuse.strategies.base import Strategy

STRATEGY = Strategy(
    about="proxies of missing modalities from each of the others, summed, with VICReg",
    source="COMPASS, arXiv 2604.02056",
    options={
        "fusion": "sum",
        "fill": "proxy",
        "proxy_encoder": "pair",
        "head": "linear",
        "head_norm": True,
        "head_dropout": 0.3,
        "heads": 4,
        "law": "complete_else_count",
        "drop": 0.7,
        "label_smoothing": 0.1,
        "reconstruction": 0.2,
        "vicreg": 0.3,
        "vicreg_terms": (25.0, 25.0, 1.0),
        "weight_decay": 5e-4,
        "epochs": 20,
    },
)
