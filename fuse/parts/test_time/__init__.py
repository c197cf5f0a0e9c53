"""Steps taken at test time, on the very segments to be predicted: what each minimises."""

from mmcache.fuse.parts.test_time import entropies, midl
from mmcache.fuse.parts.test_time.adapter import Adapter, Seen, StepLoss

TEST_TIME: dict[str, StepLoss] = {
    "midl": midl.loss,
    "tent": entropies.tent,
    "shot": entropies.shot,
    "eta": entropies.eta,
}

__all__ = ["TEST_TIME", "Adapter", "Seen", "StepLoss"]
