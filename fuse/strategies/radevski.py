"""radevski: distillation from an ensemble of unimodal teachers (Radevski et al., ICCV 2023).

One teacher a modality is trained first. Their logits are added up, t = sum_j w_j z_j, with weights that are all the
same (`ensemble` uniform, 1 / J), or softmin of each teacher's mean loss on held-out rows (dataset), or of its loss on
the segment itself (sample), at temperature `ensemble_temperature`. Where a teacher's modality is missing, the weights
of the others are scaled up to 1 (ours). The student minimises lam T^2 KL(softmax(t / T) || softmax(s / T)), averaged
over tasks, plus lam_gt CE: `alpha` is lam_gt / (lam + lam_gt), 0 as in the paper.

The paper's student has one modality: --modalities rgb, with `teacher_modalities` naming the teachers'. Weights are
per task, which is UNSURE in the paper. `calibrate` brings each teacher to the temperature that suits it best on the
held-out part of train first. The paper's learning rate falls linearly, with 16 clips or 128 layouts a batch; here along
a cosine, with 32.
"""

from mmcache.fuse.strategies.base import Strategy

STRATEGY = Strategy(
    about="distillation from an ensemble of unimodal teachers",
    source="Radevski et al., ICCV 2023",
    options={
        "fill": "skip",
        "alpha": 0.0,
        "kd_tasks": "mean",
        "teacher_mask": "full",
        "weight_decay": 0.02,
        "clip": 5.0,
        "epochs": 30,
    },
    teacher="skip",
    teacher_each=True,
)
