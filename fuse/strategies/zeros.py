"""zeros: train on complete segments, put zeros where a modality is missing at test."""

from mmcache.fuse.strategies.base import Citation, Strategy


class Zeros(Strategy):
    """The control that every other strategy is measured against (Test-zeros in MMT).

    The zeros go in before the projector, so the fusion sees the projector's bias. Nothing is dropped in training.
    """

    about = "train complete, zeros for what is missing at test: the control"
    cite = Citation(
        "Ramazanova, Merey and Pardo, Alejandro and Alwassel, Humam and Ghanem, Bernard",
        "Exploring Missing Modality in Multimodal Egocentric Datasets",
        "CVPR Workshops",
        2025,
        arxiv="2401.11470",
    )
    idea = {"handler": "zeros", "sampler": "none", "train_on": "complete"}
