"""skip: train on complete segments, leave the tokens of a missing modality out at test."""

from mmcache.fuse.strategies.base import Strategy
from mmcache.fuse.strategies.zeros import Zeros


class Skip(Strategy):
    """Test-skip in MMT: attention and pooling do without the missing tokens, which training never showed."""

    about = "train complete, leave out what is missing at test"
    cite = Zeros.cite
    control = "zeros"
    idea = {"handler": "skip", "sampler": "none", "train_on": "complete"}
