"""dropout: zeros for missing modalities, in training too."""

from mmcache.fuse.strategies.base import Strategy
from mmcache.fuse.strategies.zeros import Zeros


class Dropout(Strategy):
    """Modality dropout with zeros (Train-zeros in MMT): the control of everything that stands in for the missing.

    Each modality is dropped with probability p = 0.5; if none is left, one at random stays. With --target M only that
    modality is dropped, as MMT does.
    """

    about = "modality dropout: zeros for what is missing, in training and at test"
    cite = Zeros.cite
    control = "zeros"
    idea = {"handler": "zeros"}
    published = {"sampler": "bernoulli_keep_one", "drop": 0.5}
