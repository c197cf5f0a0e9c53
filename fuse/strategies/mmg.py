"""mmg: modalities aligned by contrast, then fused by a transformer with modality dropout (MMG-Ego4D, CVPR 2023).

The loss is CE + InfoNCE of every modality with the anchor (video) on the real tokens' means. Two settings are options:

    zero-shot: --set train_modalities=[audio,imu] --set align_share=0.5. The first half of the run learns by
        alignment alone, from unlabelled segments too; the rest learns labels by CE alone, from audio and IMU, and no
        part of it sees rgb; the table of subsets then shows rgb, which no label was ever seen with.
    few-shot: --set prototypes=1 --set meta_share=0.5. The last half is made of episodes of 5 classes with 5
        supports each, supports and queries seen through two random sets of modalities; the loss is prototypical.

UNSURE in the paper: tau (here 0.07), the weight of the alignment (1), the dropout rate (0.5), the distance to the
prototypes (squared Euclidean), how episodes and their sets are drawn. The paper begins with unimodal training of the
encoders; here they are frozen, and there is none.
"""

from mmcache.fuse.strategies.base import Strategy

STRATEGY = Strategy(
    about="contrastive alignment of modalities; zero-shot and few-shot across modalities as options",
    source="MMG-Ego4D, CVPR 2023",
    options={
        "fill": "skip",
        "head": "linear",
        "depth": 2,
        "law": "bernoulli_keep_one",
        "drop": 0.5,
        "align": 1.0,
    },
)
