"""midl: plain training on complete segments, and adaptation at test (MiDl, ICLR 2025; test_time/midl.py).

The step works on any trained model: `mmcache evaluate RUN --test-time midl`; tent, shot and eta are its baselines.
"""

from mmcache.fuse.strategies.base import Strategy

STRATEGY = Strategy(
    about="train complete; at test, adapt LayerNorms so that predictions do not depend on one modality",
    source="MiDl, ICLR 2025",
    options={"fill": "zeros", "law": "none", "train_on": "complete", "test_time": "midl"},
)
