"""actionmae: reconstruct the vector of a missing modality from the others (ActionMAE, AAAI 2023).

Each modality becomes one vector, the class token of a 2-layer transformer over its tokens. An encoder and a decoder
of 2 layers predict the vectors of missing modalities, which take their place in the fusion; kept ones are fed as
they are. The loss is CE + the mean squared error over what was dropped. How many modalities are kept is drawn once
a batch, which of them for every segment.

`rec_...`, `memory` and `block_norm` say where the official code differs (fills/reconstruct.py); layers are pre-norm, as
in the paper's equations 3 and 4. `memory` 0 is its table 7a. The paper trains its encoders too;
here they are frozen and the pooling transformers are what is trained in their place. The depth of the paper's fusion
is not stated: 2 here; its code has 4. Its learning rate falls to a tenth every 30 epochs; here along a cosine.
"""

from mmcache.fuse.strategies.base import Strategy

STRATEGY = Strategy(
    about="reconstruct what is missing from what is there, with a masked autoencoder over modalities",
    source="ActionMAE, AAAI 2023",
    options={
        "pool": "transformer",
        "fill": "reconstruct",
        "head": "linear",
        "depth": 2,
        "law": "uniform_count_a_batch",
        "reconstruction": 1.0,
        "label_smoothing": 0.1,
        "weight_decay": 1e-4,
    },
)
