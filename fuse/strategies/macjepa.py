"""macjepa: predict, from what was kept, what a slow copy of the model makes of everything (MacJEPA, 2026).

Missing content is a learned vector in every place; positions and modality embedding stay. A class token that reads
everything and is read by nobody is the query of the segment's label. The teacher is a moving average of the model and
sees all there is; a predictor maps the student's outputs to it (L1). L = CE (label smoothing 0.1) + jepa + vicreg.

UNSURE in the paper: the weights of the losses (here 1 and 0.05) and the schedule of the average (here constant). The
paper masks windows of a longer context with several annotations; a segment here is one window with one, so masks are
drawn a segment. VICReg is of the projected means that are present; its learned vector of absence is here one a
modality; its time embedding is here one learned vector a place.
"""

from mmcache.fuse.strategies.base import Strategy

STRATEGY = Strategy(
    about="joint-embedding prediction of a slow copy's view of everything",
    source="MacJEPA, 2026",
    options={
        "fill": "token",
        "head": "linear",
        "depth": 6,
        "ffn_ratio": 2.0,
        "positions": True,
        "cls_is_query": True,
        "law": "complete_else_count",
        "drop": 0.7,
        "label_smoothing": 0.1,
        "jepa": 1.0,
        "vicreg": 0.05,
        "lr": 3e-4,
        "weight_decay": 1e-4,
        "epochs": 50,
        "warmup": 0.04,
    },
)
