"""mmt: a learned missing-modality token (MMT, CVPR-W 2025, arXiv 2401.11470)."""

from mmcache.fuse.strategies.base import Strategy
from mmcache.fuse.strategies.zeros import Zeros


class Mmt(Strategy):
    """If modality m is missing, every one of its tokens becomes e_m, after the projector and before positions.

    So the number of tokens never changes. In training m is missing at random (random-replace). Each modality has a
    head of its own; the loss is the sum of theirs, the prediction their mean, the missing one's included.

    The official code can also replace a share of a kept modality's tokens, drawn for each segment from a list:
    `replace_shares`, as [0,0,0.25,1] for nothing half of the time. `freeze_tokens` leaves e_m as it was drawn.

    Ours: with --target M only M is ever replaced, as in the paper; without it every modality has a token and may be
    replaced. The paper's fusion is a bottleneck transformer fine-tuned end to end; here a transformer over frozen
    tokens, so its learning rate is that of the other strategies.
    """

    about = "a learned token for each missing modality, random-replace in training"
    cite = Zeros.cite
    control = "dropout"
    idea = {"handler": "token"}
    published = {
        "sampler": "bernoulli_keep_one",
        "drop": 0.25,  # the paper's p on EPIC-KITCHENS
        "head": "per_modality",
        "token_dropout": 0.3,
        "label_smoothing": 0.3,
        "positions": True,
    }
