"""karmma: stage 2 of KARMMA (arXiv 2504.08578), a small student that learns from a teacher under missing modalities.

A missing modality is fed as its learned tokens t_m + s_{m,i} (Eq. 1), so the number of tokens never changes. The
loss is L_S = a CE + (1 - a) KL(p_T || p_S), a = 0.7. One keep mask a segment drives teacher and student alike
(`teacher_mask: same`); the teacher's answers come from the cache.

UNSURE in the paper, and how it is here: s added always (`s_mode`), logits rather than probabilities averaged
(`average`), the missing modality's vector included in the average (`average_missing`), learning rate 1e-4 with start
and end at 1e-6. Its curves of cost fall as if missing tokens were not fed at all: `--fill skip`. The first version of
the paper had an InfoNCE term in stage 1 (`align`). The paper fine-tunes its small extractors, 6 segments a batch;
here they are frozen, and a batch is as large as the teacher's, 32.
"""

from mmcache.fuse.strategies.base import Strategy

STRATEGY = Strategy(
    about="learned tokens for missing modalities, and distillation from a teacher",
    source="KARMMA, arXiv 2504.08578",
    options={
        "fill": "karmma",
        "law": "bernoulli_keep_one",
        "drop": 0.5,
        "ffn_ratio": 1.0,
        "modality_embedding": False,  # t_m plays its part
        "alpha": 0.7,
        "weight_decay": 0.01,
        "clip": 2.0,
    },
    teacher="karmma-teacher",
)
