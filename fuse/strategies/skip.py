"""skip: train on complete segments, leave the tokens of a missing modality out at test (Test-skip in MMT)."""

from mmcache.fuse.strategies.base import Strategy

STRATEGY = Strategy(
    about="train complete, leave out what is missing at test",
    source="MMT, CVPR-W 2025 (Test-skip)",
    options={"fill": "skip", "law": "none", "train_on": "complete"},
)
