"""The invariants of ShaSpec (methods.md 3.9)."""

from collections.abc import Callable

import pytest
import torch


def filled(model, batch, kept: torch.Tensor):
    parts, masks, kept = model._embed(batch.tokens, None, kept)
    return model.fill(parts, masks, kept), parts, masks


@pytest.mark.parametrize("there", [0, 1, 2])
@pytest.mark.parametrize("stand_in", ["mean", "first"])
def test_with_one_modality_every_stand_in_is_its_shared_part(
    there: int, stand_in: str, small_model: Callable, random_batch
) -> None:
    model = small_model("shaspec", stand_in=stand_in)
    kept = torch.zeros(7, 3, dtype=torch.bool)
    kept[:, there] = True
    out, parts, masks = filled(model, random_batch, kept)
    expected = model.fill.shared(parts[there], masks[there]).mean(dim=1)
    for m in {0, 1, 2} - {there}:
        torch.testing.assert_close(out.tokens[m][:, 0], expected)
        assert out.masks[m].sum(dim=1).tolist() == [1] * 7


def test_of_several_the_stand_in_is_their_mean_or_the_first(small_model: Callable, random_batch) -> None:
    kept = torch.tensor([[False, True, True]] * 7)
    for stand_in in ("mean", "first"):
        model = small_model("shaspec", stand_in=stand_in)
        out, parts, masks = filled(model, random_batch, kept)
        means = [model.fill.shared(parts[m], masks[m]).mean(dim=1) for m in (1, 2)]
        expected = (means[0] + means[1]) / 2 if stand_in == "mean" else means[0]
        torch.testing.assert_close(out.tokens[0][:, 0], expected)


def test_a_modality_that_is_there_is_its_shared_part_and_both_together(small_model: Callable, random_batch) -> None:
    model = small_model("shaspec")
    kept = torch.tensor([[True, True, True]] * 7)
    out, parts, masks = filled(model, random_batch, kept)
    s, e = model.fill.shared(parts[0], masks[0]), model.fill.specific[0](parts[0], masks[0])
    torch.testing.assert_close(out.tokens[0], s + model.fill.join(torch.cat([s, e], dim=-1)))


def test_there_are_two_losses_in_training_and_none_at_test(small_model: Callable, random_batch) -> None:
    model = small_model("shaspec")
    assert set(model.trace(random_batch.tokens, None, random_batch.present, random_batch.present).losses) == {
        "shared",
        "specific",
    }
    assert not model.trace(random_batch.tokens, None, random_batch.present).losses


def test_its_losses_may_look_at_zeros_for_what_is_missing(small_model: Callable, random_batch) -> None:
    """As in the official code; where nothing is missing both ways are one."""
    kept, code = (small_model("shaspec", auxiliary=which) for which in ("kept", "all"))
    everything = torch.ones_like(random_batch.present)

    def losses(model, present: torch.Tensor) -> list[float]:
        return [float(x) for x in model.trace(random_batch.tokens, None, present, present).losses.values()]

    with torch.no_grad():
        assert losses(kept, everything) == pytest.approx(losses(code, everything), rel=1e-5)
        one, other = losses(kept, random_batch.present), losses(code, random_batch.present)
    assert all(abs(a - b) > 1e-3 for a, b in zip(one, other, strict=True))
    present = random_batch.present
    for task, values in kept(random_batch.tokens, present).items():  # nothing of it is in the prediction
        assert torch.equal(values, code(random_batch.tokens, present)[task])
