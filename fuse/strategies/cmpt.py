"""cmpt: proxy tokens in the encoder of each modality that predict the others (CMPT, arXiv 2501.17823).

A learned proxy token for every directed pair joins the tokens of a; what comes out of a's encoder stands for b where b
is missing. L = CE + 0.20 MSE(proxy, real). Fusion is a sum; modalities are dropped with p = 0.5.

UNSURE in the paper: where its rank-1 adapters sit, gating, the dropout rate. Here the encoders are frozen and cached,
so one transformer layer a modality takes the place of the adapted encoder, and the target is the mean of b's tokens
instead of its class token.
"""

from mmcache.fuse.strategies.base import Strategy

STRATEGY = Strategy(
    about="proxy tokens in each modality's own encoder that stand for the missing ones",
    source="CMPT, TMLR 2025, arXiv 2501.17823",
    options={
        "fusion": "sum",
        "fill": "proxy",
        "proxy_encoder": "source",
        "head": "linear",
        "law": "bernoulli_keep_one",
        "drop": 0.5,
        "reconstruction": 0.2,
    },
)
