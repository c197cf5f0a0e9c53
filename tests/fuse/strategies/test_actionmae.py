"""The invariants of ActionMAE (methods.md 3.4), and where its code differs from the paper."""

from collections.abc import Callable

import pytest
import torch

KEPT = torch.tensor([[True, False, True]] * 7)


def test_reconstruction_counts_for_what_was_dropped_alone(small_model: Callable, random_batch) -> None:
    """Another decoder output at kept slots leaves the loss as it was."""
    model = small_model("actionmae")
    everything = torch.ones_like(KEPT)
    expected = model.trace(random_batch.tokens, None, KEPT, everything).losses["reconstruction"]
    assert expected > 0
    decode = model.fill._decode

    def moved(vectors: torch.Tensor, kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        decoded, encoded = decode(vectors, kept)
        return torch.where(kept[..., None], decoded + 100.0, decoded), encoded

    model.fill._decode = moved
    assert torch.equal(model.trace(random_batch.tokens, None, KEPT, everything).losses["reconstruction"], expected)


def test_the_target_is_the_vector_that_was_dropped(small_model: Callable, random_batch) -> None:
    model, everything = small_model("actionmae"), torch.ones_like(KEPT)
    trace = model.trace(random_batch.tokens, None, KEPT, everything)
    predicted = model.fill(*model._embed(random_batch.tokens, None, KEPT)).tokens[1][:, 0]
    expected = (predicted - trace.real[:, 1]).square().mean()
    torch.testing.assert_close(trace.losses["reconstruction"], expected)


def test_with_nothing_dropped_there_is_no_loss_to_be_nan(small_model: Callable, random_batch) -> None:
    everything = torch.ones_like(KEPT)
    losses = small_model("actionmae").trace(random_batch.tokens, None, everything, everything).losses
    assert float(losses["reconstruction"].detach()) == 0.0


def test_targets_pull_nothing_towards_them(small_model: Callable, random_batch) -> None:
    """The projector of a dropped modality gets no gradient, unless targets are as in the official code."""
    for target, moves in (("raw", False), ("standardised", True)):
        model = small_model("actionmae", rec_target=target)
        model.trace(random_batch.tokens, None, KEPT, torch.ones_like(KEPT)).losses["reconstruction"].backward()
        gradient = model.projectors[1].weight.grad
        assert (gradient is not None and bool(gradient.any())) == moves


@pytest.mark.parametrize("option", ["rec_slots", "rec_complete", "rec_positions", "rec_order", "rec_end", "memory"])
def test_the_code_differs_from_the_paper_in_named_options(option: str, small_model: Callable, random_batch) -> None:
    code = {
        "rec_slots": "all",
        "rec_complete": "encoder",
        "rec_positions": False,
        "rec_order": "packed",
        "rec_end": "linear",
        "memory": 4,
    }
    base = {"rec_slots": "all"} if option == "rec_order" else {}
    paper, other = small_model("actionmae", **base), small_model("actionmae", **base, **{option: code[option]})
    state = {n: v for n, v in paper.state_dict().items() if n not in ("fill.slots", "fill.memory")}
    other.load_state_dict(state, strict=False)
    one, two = paper(random_batch.tokens, random_batch.present), other(random_batch.tokens, random_batch.present)
    changed = (one["verb"] != two["verb"]).any(dim=1)
    complete = random_batch.present.all(dim=1)
    if option == "rec_complete":
        assert torch.equal(changed, complete)
    elif option == "rec_order":  # kept slots that already come first stay where they are
        prefix = torch.tensor([p in (1, 3, 7) for p in range(1, 8)])
        assert torch.equal(changed, ~prefix)
    else:
        assert torch.equal(changed, ~complete)
