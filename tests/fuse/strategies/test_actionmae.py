"""The invariants of ActionMAE (methods.md 3.4), and where its code differs from the paper."""

from collections.abc import Callable

import pytest
import torch

from mmcache.fuse.network.model import Model

KEPT = torch.tensor([[True, False, True]] * 7)


@pytest.fixture
def error(small_trainee: Callable, random_batch) -> Callable[..., torch.Tensor]:
    """The unweighted reconstruction error of complete segments, of which `kept` is kept."""

    def of(model: Model, kept: torch.Tensor = KEPT, **options) -> torch.Tensor:
        batch = random_batch.batch(present=torch.ones_like(KEPT))
        return small_trainee("actionmae", model, **options).losses(batch, kept.numpy(), 0)["reconstruction"]

    return of


@pytest.mark.holds("actionmae", "3.4 the decoder's output at kept slots does not change the loss")
def test_reconstruction_counts_for_what_was_dropped_alone(small_model: Callable, error: Callable) -> None:
    """Another decoder output at kept slots leaves the loss as it was."""
    model = small_model("actionmae")
    expected = error(model)
    assert expected > 0
    decode = model.handler._decode

    def moved(vectors: torch.Tensor, kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        decoded, encoded = decode(vectors, kept)
        return torch.where(kept[..., None], decoded + 100.0, decoded), encoded

    model.handler._decode = moved
    assert torch.equal(error(model), expected)


@pytest.mark.holds("actionmae", "3.4 the loss is 0 where the reconstruction is right")
def test_the_target_is_the_vector_that_was_dropped(small_model: Callable, error: Callable, random_batch) -> None:
    model = small_model("actionmae")
    predicted = model.handle(model.encode(random_batch.tokens, None, KEPT)).tokens[1][:, 0]
    real = model.encode(random_batch.tokens, None, torch.ones_like(KEPT)).means()[:, 1]
    torch.testing.assert_close(error(model), (predicted - real).square().mean())


@pytest.mark.holds("actionmae", "3.4 the loss is 0 where nothing is dropped")
def test_with_nothing_dropped_there_is_no_loss_to_be_nan(small_model: Callable, error: Callable) -> None:
    assert float(error(small_model("actionmae"), torch.ones_like(KEPT)).detach()) == 0.0


def test_targets_pull_nothing_towards_them(small_model: Callable, error: Callable) -> None:
    """The projector of a dropped modality gets no gradient, unless targets are as in the official code."""
    for target, moves in (("raw", False), ("standardised", True)):
        model = small_model("actionmae", rec_target=target)
        error(model, rec_target=target).backward()
        gradient = model.projectors[1].weight.grad
        assert (gradient is not None and bool(gradient.any())) == moves


def normed_before(layer: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The paper's Eqs. 3 and 4: attention and MLP of what is normed, added to what is not."""
    y = x + layer.self_attn(*[layer.norm1(x)] * 3, need_weights=False)[0]
    return y + layer.linear2(torch.nn.functional.gelu(layer.linear1(layer.norm2(y))))


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_layers_are_those_of_the_papers_equations(norm: str, small_model: Callable) -> None:
    """Of the pool over a modality's tokens, of the encoder and of the decoder; post is the official code."""
    options = {} if norm == "pre" else {"block_norm": norm}
    model = small_model("actionmae", **options)
    x = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))
    for stack in (model.pools[0].encoder, model.handler.encoder, model.handler.decoder):
        expected = x
        for layer in stack.layers:
            expected = normed_before(layer, expected)
        close = torch.allclose(stack(x), expected, atol=1e-5)
        assert close == (norm == "pre")


def test_without_memory_it_is_table_7a(small_model: Callable, small_trainee: Callable, random_batch) -> None:
    """The encoder reads the kept vectors alone, and gradients flow through all that is left."""
    model = small_model("actionmae", memory=0)
    assert model.handler.memory.numel() == 0
    trainee = small_trainee("actionmae", model, memory=0)
    losses = trainee.losses(random_batch.batch(present=torch.ones_like(KEPT)), KEPT.numpy(), 0)
    losses["loss"].backward()
    assert float(losses["reconstruction"].detach()) > 0
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.handler.parameters() if p.numel())
    encoded = model.handler._decode(torch.randn(7, 3, 16), KEPT)[1]
    assert encoded.shape == (7, 3, 16)


@pytest.mark.holds("actionmae", "3.4 every difference between code and paper is an option")
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
    state = {n: v for n, v in paper.state_dict().items() if n not in ("handler.slots", "handler.memory")}
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
