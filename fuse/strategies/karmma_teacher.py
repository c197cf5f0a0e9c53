"""karmma-teacher: stage 1 of KARMMA (arXiv 2504.08578).

[CLS | tokens of the kept modalities] through 2 blocks of d = 768 and 8 heads; CLS and each modality's mean token
share one head. Modalities are dropped with p = 0.5 and are then simply absent.

UNSURE in the paper: norm placement (here pre-norm), positional encoding (here none), learning rates (here ours).
"""

from mmcache.fuse.strategies.base import Strategy

STRATEGY = Strategy(
    about="stage 1 of KARMMA: a large fusion that skips what is missing",
    source="KARMMA, arXiv 2504.08578",
    options={
        "fill": "skip",
        "law": "bernoulli_keep_one",
        "drop": 0.5,
        "width": 768,
        "depth": 2,
        "ffn_ratio": 1.0,
        "attention_dropout": 0.3,
        "modality_embedding": False,
        "weight_decay": 0.05,
        "clip": 1.0,
    },
)
