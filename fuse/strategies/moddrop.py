"""moddrop: modalities dropped in training with p = 0.5, and what is missing left out of attention.

A control for every method: dropout alone, without anything that stands in for the missing.
"""

from mmcache.fuse.strategies.base import Strategy

STRATEGY = Strategy(
    about="modality dropout: what is missing is left out of attention, in training and at test",
    source="ModDrop, Neverova et al., TPAMI 2016",
    options={"fill": "skip", "law": "bernoulli_keep_one", "drop": 0.5},
)
