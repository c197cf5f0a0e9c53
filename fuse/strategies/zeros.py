"""zeros: train on complete segments, put zeros where a modality is missing at test.

The control every other strategy is measured against (Test-zeros in MMT, CVPR-W 2025). The zeros go in before the
projector, so the fusion sees the projector's bias. Nothing is dropped in training: --target and --drop are not used.
"""

from mmcache.fuse.strategies.base import Strategy

STRATEGY = Strategy(
    about="train complete, zeros for what is missing at test: the control",
    source="MMT, CVPR-W 2025 (Test-zeros)",
    options={"fill": "zeros", "law": "none", "train_on": "complete"},
)
