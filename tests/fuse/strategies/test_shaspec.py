"""The invariants of ShaSpec (methods.md 3.9)."""

from collections.abc import Callable

import pytest
import torch

from mmcache.fuse.network.model import Model
from mmcache.fuse.parts.handlers import Handled


def handled(model: Model, batch, kept: torch.Tensor) -> tuple[Handled, list[torch.Tensor], list[torch.Tensor]]:
    """What the handler makes of a batch, and the tokens and masks that it was given."""
    seen = model.encode(batch.tokens, None, kept)
    return model.handle(seen), seen.tokens, seen.masks


@pytest.mark.holds("shaspec", "3.9 with one modality every stand-in is its shared part")
@pytest.mark.parametrize("there", [0, 1, 2])
@pytest.mark.parametrize("stand_in", ["mean", "first"])
def test_with_one_modality_every_stand_in_is_its_shared_part(
    there: int, stand_in: str, small_model: Callable, random_batch
) -> None:
    model = small_model("shaspec", stand_in=stand_in)
    kept = torch.zeros(7, 3, dtype=torch.bool)
    kept[:, there] = True
    out, parts, masks = handled(model, random_batch, kept)
    expected = model.handler.shared(parts[there], masks[there]).mean(dim=1)
    for m in {0, 1, 2} - {there}:
        torch.testing.assert_close(out.tokens[m][:, 0], expected)
        assert out.masks[m].sum(dim=1).tolist() == [1] * 7


def test_of_several_the_stand_in_is_their_mean_or_the_first(small_model: Callable, random_batch) -> None:
    kept = torch.tensor([[False, True, True]] * 7)
    for stand_in in ("mean", "first"):
        model = small_model("shaspec", stand_in=stand_in)
        out, parts, masks = handled(model, random_batch, kept)
        means = [model.handler.shared(parts[m], masks[m]).mean(dim=1) for m in (1, 2)]
        expected = (means[0] + means[1]) / 2 if stand_in == "mean" else means[0]
        torch.testing.assert_close(out.tokens[0][:, 0], expected)


def test_a_modality_that_is_there_is_its_shared_part_and_both_together(small_model: Callable, random_batch) -> None:
    model = small_model("shaspec")
    kept = torch.tensor([[True, True, True]] * 7)
    out, parts, masks = handled(model, random_batch, kept)
    s, e = model.handler.shared(parts[0], masks[0]), model.handler.specific[0](parts[0], masks[0])
    torch.testing.assert_close(out.tokens[0], s + model.handler.join(torch.cat([s, e], dim=-1)))


def test_there_are_two_losses_in_training(small_model: Callable, small_trainee: Callable, random_batch) -> None:
    trainee = small_trainee("shaspec", small_model("shaspec"))
    losses = trainee.losses(random_batch.batch(), random_batch.present.numpy(), 1)
    assert set(losses) == {"loss", "ce", "shared", "specific"}
    expected = losses["ce"] + 0.1 * losses["shared"] + 0.02 * losses["specific"]
    torch.testing.assert_close(losses["loss"], expected)


def test_its_losses_may_look_at_zeros_for_what_is_missing(
    small_model: Callable, small_trainee: Callable, random_batch
) -> None:
    """As in the official code; where nothing is missing both ways are one."""
    everything = torch.ones_like(random_batch.present)
    kept, code = (small_model("shaspec", auxiliary=which) for which in ("kept", "all"))

    def losses(which: str, model: Model, present: torch.Tensor) -> list[float]:
        found = small_trainee("shaspec", model, auxiliary=which).losses(
            random_batch.batch(present=present), present.numpy(), 1
        )
        return [float(found[name]) for name in ("shared", "specific")]

    with torch.no_grad():
        assert losses("kept", kept, everything) == pytest.approx(losses("all", code, everything), rel=1e-5)
        one, other = (losses(*each, random_batch.present) for each in (("kept", kept), ("all", code)))
    assert all(abs(a - b) > 1e-3 for a, b in zip(one, other, strict=True))
    present = random_batch.present
    for task, values in kept(random_batch.tokens, present).items():  # nothing of it is in the prediction
        assert torch.equal(values, code(random_batch.tokens, present)[task])
