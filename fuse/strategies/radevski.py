"""radevski: distillation from an ensemble of unimodal teachers (Radevski et al., ICCV 2023)."""

from dataclasses import dataclass
from typing import Literal

from mmcache.fuse.options.fields import Rate, option
from mmcache.fuse.parts.losses.distillation import DistillationOptions
from mmcache.fuse.strategies.base import Citation, TeacherNeed
from mmcache.fuse.strategies.distilled import Distilled


class Radevski(Distilled):
    """One teacher a modality is trained first, and the student learns from the weighted sum of their logits.

    t = sum_j w_j z_j, with weights that are all the same (`ensemble` uniform, 1 / J), or softmin of each teacher's mean
    loss on held-out rows (dataset), or of its loss on the segment itself (sample), at temperature
    `ensemble_temperature`. Where a teacher's modality is missing, the weights of the others are scaled up to 1 (ours).
    The student minimises lam T^2 KL(softmax(t / T) || softmax(s / T)), averaged over tasks, plus lam_gt CE: `alpha` is
    lam_gt / (lam + lam_gt), 0 as in the paper.

    The paper's student has one modality: --modalities rgb, with `teacher_modalities` naming the teachers'. Weights are
    per task, which is UNSURE in the paper. `calibrate` brings each teacher to the temperature that suits it best on the
    held-out part of train first. The paper's learning rate falls linearly, with 16 clips or 128 layouts a batch; here
    along a cosine, with 32.
    """

    about = "distillation from an ensemble of unimodal teachers"
    cite = Citation(
        "Radevski, Gorjan and Grujicic, Dusan and Blaschko, Matthew and Moens, Marie-Francine and Tuytelaars, Tinne",
        "Multimodal Distillation for Egocentric Action Recognition",
        "ICCV",
        2023,
        arxiv="2307.07483",
    )
    control = "skip"
    teacher = TeacherNeed("skip", each=True)
    idea = {"handler": "skip"}
    published = {"weight_decay": 0.02, "clip": 5.0, "epochs": 30}

    @dataclass(frozen=True)
    class Options(DistillationOptions):
        alpha: Rate = option(0.0, "Weight of cross-entropy; 1 - alpha is the weight of distillation.", varies=True)
        kd_tasks: Literal["sum", "mean"] = option("mean", "Divergences of several tasks: their sum or their mean.")
        teacher_mask: Literal["same", "full"] = option(
            "full", "The teacher sees what the student sees of a segment, or everything.", varies=True
        )
