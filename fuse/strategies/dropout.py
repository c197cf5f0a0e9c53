"""dropout: zeros for missing modalities, in training too (Train-zeros in MMT, CVPR-W 2025).

Each modality is dropped with probability p = 0.5; if none is left, one at random stays. With --target M only that
modality is dropped, as MMT does.
"""

from mmcache.fuse.strategies.base import Strategy

STRATEGY = Strategy(
    about="modality dropout: zeros for what is missing, in training and at test",
    source="MMT, CVPR-W 2025 (Train-zeros); ModDrop, Neverova et al. 2016",
    options={"fill": "zeros", "law": "bernoulli_keep_one", "drop": 0.5},
)
