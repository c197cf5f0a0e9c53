"""shaspec: what modalities share stands in for the missing ones (ShaSpec, CVPR 2023).

A shared encoder sees every modality, a specific one each: f_m = s_m + Proj([s_m, e_m]), and for a missing modality
the mean of the shared parts that are there. The loss is CE + 0.1 L1 between the shared parts of cyclic pairs + 0.02 CE
of telling the modality from its specific part. After a warm-up with everything, one set of modalities is drawn a
batch.

UNSURE in the paper: the stand-in when several are there (`stand_in` first is the code's). The code's auxiliary losses
count zero-filled missing inputs too (`auxiliary` all); by default only what is kept. The paper segments images with
SGD; here the encoders are transformer blocks over frozen tokens, and AdamW trains them.
"""

from mmcache.fuse.strategies.base import Strategy

STRATEGY = Strategy(
    about="shared and specific parts of every modality; the shared ones stand in for what is missing",
    source="ShaSpec, CVPR 2023",
    options={
        "fill": "shaspec",
        "head": "linear",
        "law": "uniform_set_a_batch",
        "full_share": 0.1,
        "shared": 0.1,
        "specific": 0.02,
    },
)
