"""reconstruction, align, vicreg, shared, specific: values known in advance, and nothing from what is absent."""

import math

import pytest
import torch

from mmcache.fuse.parts.losses.align import align
from mmcache.fuse.parts.losses.reconstruction import reconstruction
from mmcache.fuse.parts.losses.shaspec import shared_loss, specific_loss
from mmcache.fuse.parts.losses.vicreg import vicreg

GENERATOR = torch.Generator().manual_seed(0)
VECTORS = torch.randn(6, 3, 8, generator=GENERATOR)
PRESENT = torch.tensor([[True, True, False]] * 3 + [[True, True, True]] * 3)
EVERYTHING = torch.ones(6, 3, dtype=torch.bool)


def spoiled(present: torch.Tensor) -> torch.Tensor:
    return torch.where(present[..., None], VECTORS, torch.tensor(math.nan))


@pytest.mark.holds("actionmae", "3.4 the loss is 0 where the reconstruction is right")
def test_reconstruction_is_the_mean_error_of_what_is_known() -> None:
    other = torch.randn(6, 3, 8, generator=GENERATOR)
    expected = torch.stack(
        [(VECTORS[i, m] - other[i, m]).square().mean() for i in range(6) for m in range(3) if PRESENT[i, m]]
    ).mean()
    torch.testing.assert_close(reconstruction(VECTORS, other, PRESENT), expected)
    torch.testing.assert_close(reconstruction(VECTORS, torch.where(PRESENT[..., None], other, 1e30), PRESENT), expected)
    assert float(reconstruction(VECTORS, VECTORS, PRESENT)) == 0.0
    assert float(reconstruction(VECTORS, other, torch.zeros_like(PRESENT))) == 0.0


def test_a_standardised_target_has_no_scale() -> None:
    other = torch.randn(6, 3, 8, generator=GENERATOR)
    one = reconstruction(VECTORS, other, EVERYTHING, standardised=True)
    torch.testing.assert_close(one, reconstruction(VECTORS, 5 * other + 3, EVERYTHING, standardised=True))


@pytest.mark.holds("mmg", "3.5 the alignment of aligned orthogonal pairs vanishes with tau")
def test_alignment_of_aligned_orthogonal_pairs_vanishes_with_the_temperature() -> None:
    basis = torch.eye(6)[:, None].expand(-1, 3, -1)
    losses = [float(align(basis, EVERYTHING, 0, tau)) for tau in (1.0, 0.1, 0.01)]
    assert losses[0] > losses[1] > losses[2]
    assert losses[2] < 1e-6


@pytest.mark.holds("mmg", "3.5 the alignment is log(1 + #neg) where all embeddings coincide")
def test_alignment_of_equal_embeddings_is_log_of_the_number_to_choose_from() -> None:
    same = torch.ones(6, 3, 8)
    assert float(align(same, EVERYTHING, 0, 0.07)) == pytest.approx(2 * math.log(6), rel=1e-5)
    assert float(align(same, PRESENT, 0, 0.07)) == pytest.approx(math.log(6) + math.log(3), rel=1e-5)


def test_alignment_sees_direction_alone_and_nothing_absent() -> None:
    expected = align(VECTORS, PRESENT, 1, 0.07)
    torch.testing.assert_close(align(7 * VECTORS, PRESENT, 1, 0.07), expected)
    assert torch.equal(align(spoiled(PRESENT), PRESENT, 1, 0.07), expected)
    alone = torch.zeros_like(PRESENT)
    alone[:, 0] = True
    assert float(align(VECTORS, alone, 0, 0.07)) == 0.0


@pytest.mark.holds("compass", "3.12 the terms of VICReg have the values known in advance")
def test_vicreg_terms() -> None:
    same = VECTORS[:, :1].expand(-1, 3, -1)
    assert float(vicreg(same, EVERYTHING, 1, 0, 0)) == 0.0
    torch.testing.assert_close(
        vicreg(VECTORS, EVERYTHING, 1, 0, 0),
        torch.stack([(VECTORS[:, a] - VECTORS[:, b]).square().mean() for a, b in ((0, 1), (0, 2), (1, 2))]).mean(),
    )
    collapsed = torch.ones(6, 3, 8)
    assert float(vicreg(collapsed, EVERYTHING, 0, 1, 0)) == pytest.approx(1 - 1e-2)
    assert float(vicreg(100 * VECTORS, EVERYTHING, 0, 1, 0)) == 0.0
    copies = torch.randn(6, 1, 1, generator=GENERATOR).expand(6, 3, 8)
    variance = copies[:, 0, 0].var()
    torch.testing.assert_close(vicreg(copies, EVERYTHING, 0, 0, 1), 7 * variance.square())
    assert torch.equal(vicreg(spoiled(PRESENT), PRESENT, 25, 25, 1), vicreg(VECTORS, PRESENT, 25, 25, 1))
    assert float(vicreg(VECTORS[:1], EVERYTHING[:1], 25, 25, 1)) == 0.0


@pytest.mark.holds("shaspec", "3.9 the shared loss is 0 for equal parts")
def test_shared_loss_is_zero_for_equal_parts_and_counts_pairs_that_are_there() -> None:
    same = VECTORS[:, :1].expand(-1, 3, -1)
    assert float(shared_loss(same, EVERYTHING)) == 0.0
    expected = torch.stack([(VECTORS[:, m] - VECTORS[:, (m + 1) % 3]).abs().mean() for m in range(3)]).mean()
    torch.testing.assert_close(shared_loss(VECTORS, EVERYTHING), expected)
    pair = torch.tensor([[True, True, False]] * 6)
    torch.testing.assert_close(shared_loss(spoiled(pair), pair), (VECTORS[:, 0] - VECTORS[:, 1]).abs().mean())
    assert float(shared_loss(VECTORS[:, :1], EVERYTHING[:, :1])) == 0.0


@pytest.mark.holds("shaspec", "3.9 the CE of the modality is ln M for a uniform classifier")
def test_an_undecided_classifier_of_modalities_costs_log_of_their_number() -> None:
    assert float(specific_loss(torch.zeros(6, 3, 3), PRESENT)) == pytest.approx(math.log(3))
    logits = torch.randn(6, 3, 3, generator=GENERATOR)
    absent = torch.where(PRESENT[..., None], logits, torch.tensor(1e30))
    torch.testing.assert_close(specific_loss(logits, PRESENT), specific_loss(absent, PRESENT))
