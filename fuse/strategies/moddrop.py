"""moddrop: modality dropout alone; missing modalities are left out of attention."""

from mmcache.fuse.strategies.base import Citation, Strategy


class ModDrop(Strategy):
    """Modalities are dropped in training with p = 0.5, and nothing stands in for the missing ones."""

    about = "modality dropout: what is missing is left out of attention, in training and at test"
    cite = Citation(
        "Neverova, Natalia and Wolf, Christian and Taylor, Graham and Nebout, Florian",
        "ModDrop: Adaptive Multi-Modal Gesture Recognition",
        "IEEE TPAMI",
        2016,
        arxiv="1501.00102",
    )
    control = "skip"
    idea = {"handler": "skip"}
    published = {"sampler": "bernoulli_keep_one", "drop": 0.5}
