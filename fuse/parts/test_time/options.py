"""The options of adaptation at test time."""

from dataclasses import dataclass
from typing import Literal

from mmcache.fuse.options.fields import Share, Weight, option

SHOWS_WHAT_IS_MISSING = "adapt_first would show the model what train_missing takes from it: leave one of them out"


@dataclass(frozen=True)
class AdaptOptions:
    """What every step at test time has."""

    adapt_mode: Literal["stream", "two_phase"] = option(
        "stream", "Adapt while predicting; or predict incomplete segments after all steps (MiDl's code)."
    )
    adapt_lr: Weight = option(2.5e-4, "Learning rate of the steps.")
    adapt_first: bool = option(False, "Adapt to the training segments, without labels, before the test (MiDl-LTA).")


@dataclass(frozen=True)
class MidlOptions(AdaptOptions):
    """What MiDl's step has."""

    midl_information: Weight = option(3.0, "Weight of the mutual information between modality and prediction.")
    midl_distance: Weight = option(3.0, "Weight of the KL divergence from the model before adaptation.")
    midl_eps: Share = option(0.0, "Added within the logarithms; 1e-5 in the code.")
