"""Cross-entropy and distillation: which vectors and segments count."""

import math

import pytest
import torch

from mmcache.fuse.parts.heads import Outputs
from mmcache.fuse.parts.losses.cross_entropy import cross_entropy
from mmcache.fuse.parts.losses.distillation import distillation

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(6, 3, 5, generator=GENERATOR)
VALID = torch.tensor([[True, True, False]] * 3 + [[True, True, True]] * 3)
LABELS = torch.tensor([0, 1, -1, 3, 4, -1])


def test_averaged_loss_is_that_of_the_valid_vectors_mean() -> None:
    mean = torch.stack([LOGITS[i][VALID[i]].mean(dim=0) for i in range(6)])
    expected = torch.nn.functional.cross_entropy(mean, LABELS, ignore_index=-1)
    got = cross_entropy(Outputs({"verb": LOGITS}, VALID), {"verb": LABELS}, smoothing=0.0, each=False)
    torch.testing.assert_close(got, expected)


def test_summed_loss_is_the_sum_over_valid_vectors() -> None:
    labelled = [i for i in range(6) if LABELS[i] >= 0]
    each = [
        sum(
            torch.nn.functional.cross_entropy(LOGITS[i, v], LABELS[i], label_smoothing=0.3)
            for v in range(3)
            if VALID[i, v]
        )
        for i in labelled
    ]
    got = cross_entropy(Outputs({"verb": LOGITS}, VALID), {"verb": LABELS}, smoothing=0.3, each=True)
    torch.testing.assert_close(got, sum(each) / len(labelled))


def test_tasks_are_summed_and_an_unlabelled_task_is_nothing() -> None:
    one = cross_entropy(Outputs({"verb": LOGITS}, VALID), {"verb": LABELS}, 0.0, each=False)
    both = Outputs({"verb": LOGITS, "noun": LOGITS}, VALID)
    torch.testing.assert_close(cross_entropy(both, {"verb": LABELS, "noun": LABELS}, 0.0, each=False), 2 * one)
    nothing = torch.full_like(LABELS, -1)
    torch.testing.assert_close(cross_entropy(both, {"verb": LABELS, "noun": nothing}, 0.0, each=False), one)


@pytest.mark.holds("karmma", "3.2 equal logits give L_KD = 0")
def test_distillation_is_zero_for_equal_logits_and_positive_otherwise() -> None:
    student, known = LOGITS[:, 0], torch.ones(6, dtype=torch.bool)
    same = distillation({"verb": student}, {"verb": student + 3.0}, known)  # softmax does not see a shift
    assert abs(float(same)) < 1e-6
    assert float(distillation({"verb": student}, {"verb": LOGITS[:, 1]}, known)) > 0.1


def test_distillation_is_the_mean_divergence_from_teacher_to_student() -> None:
    teacher, student = LOGITS[:, 1], LOGITS[:, 0]
    p, q = teacher.softmax(-1), student.softmax(-1)
    expected = (p * (p.log() - q.log())).sum(-1).mean()
    got = distillation({"verb": student}, {"verb": teacher}, torch.ones(6, dtype=torch.bool))
    torch.testing.assert_close(got, expected)


def test_segments_without_an_answer_count_for_nothing() -> None:
    student = LOGITS[:, 0].clone().requires_grad_()
    teacher = LOGITS[:, 1].clone()
    teacher[4:] = math.nan
    known = torch.arange(6) < 4
    loss = distillation({"verb": student}, {"verb": teacher}, known)
    expected = distillation({"verb": student[:4]}, {"verb": teacher[:4]}, known[:4])
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()
    assert not student.grad[4:].any()


@pytest.mark.parametrize("known", [torch.zeros(6, dtype=torch.bool)])
def test_no_answer_at_all_is_no_loss(known: torch.Tensor) -> None:
    teacher = {"verb": torch.full((6, 5), math.nan)}
    assert float(distillation({"verb": LOGITS[:, 0]}, teacher, known)) == 0.0
