"""What every strategy must hold (methods.md sections 0 and 5): run for each name in the table.

Assertions 4 and 5, which need a store, are in evaluation/test_masked_runs.py; test_invariants.py counts them all.
"""

from collections.abc import Callable

import pytest
import torch

from mmcache.fuse.network.model import Model
from mmcache.fuse.parts.fusions.transformer import Block
from mmcache.fuse.parts.test_time import TEST_TIME, Adapter, Seen
from mmcache.fuse.strategies import STRATEGIES
from mmcache.fuse.training.objective import Objective
from mmcache.store.load.loader import Batch

NAMES = ["audio", "imu", "rgb"]
# Runs with an epoch of another kind: epoch 0 without labels, or epoch 1 made of episodes.
PHASES = [("mmg", {"align_share": 0.5}, 0), ("mmg", {"prototypes": 1.0, "meta_share": 0.5, "ways": 3, "shots": 1}, 1)]
# All that is random in training, switched on.
RANDOM = {"dropout": 0.2, "attention_dropout": 0.2, "token_dropout": 0.2, "head_dropout": 0.2, "fill_dropout": 0.2}


def poisoned(tokens: dict[str, torch.Tensor], where: torch.Tensor, poison: float) -> dict[str, torch.Tensor]:
    """Tokens in which the modalities of `where` (B, M) hold only poison."""
    out = {name: values.clone() for name, values in tokens.items()}
    for m, name in enumerate(NAMES):
        out[name][where[:, m]] = poison
    return out


def losses_and_gradients(
    model: Model, objective: Objective, batch: Batch, kept: torch.Tensor, epoch: int = 1
) -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:
    """Every part of the loss in one of two epochs, and its gradient by every parameter."""
    objective.zero_grad(set_to_none=True)
    model.zero_grad(set_to_none=True)
    torch.manual_seed(8)
    parts = objective(model, batch, kept.numpy(), epoch)
    parts["loss"].backward()
    every = [*model.parameters(), *objective.parameters()]
    return parts, [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in every]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e30])
def test_absent_tokens_change_no_bit(
    strategy: str, poison: float, small_model: Callable, small_objective: Callable, random_batch
) -> None:
    """Of outputs, of any loss, of any gradient; neither with the law's mask nor with a smaller one."""
    model = small_model(strategy)
    objective = small_objective(strategy, model)
    dirty = poisoned(random_batch.tokens, ~random_batch.present, poison)
    for mode in (torch.enable_grad, torch.inference_mode):  # torch's own layers take another way without gradients
        with mode():
            clean_logits, dirty_logits = (model(t, random_batch.present) for t in (random_batch.tokens, dirty))
        for task in clean_logits:
            assert clean_logits[task].isfinite().all()
            assert torch.equal(clean_logits[task], dirty_logits[task])
    fewer = random_batch.present.clone()
    fewer[-1, 0] = fewer[2, 1] = False
    for kept in (random_batch.present, fewer):
        assert_same_bits(model, objective, random_batch, dirty, kept)


def assert_same_bits(
    model: Model, objective: Objective, random_batch, dirty: dict[str, torch.Tensor], kept: torch.Tensor, epoch: int = 1
) -> None:
    """Losses and gradients are finite, and the same with the dirty tokens as with the clean ones."""
    parts, gradients = losses_and_gradients(model, objective, random_batch.batch(), kept, epoch)
    others, other_gradients = losses_and_gradients(model, objective, random_batch.batch(dirty), kept, epoch)
    assert all(value.isfinite() for value in parts.values())
    assert all(torch.equal(value, others[name]) for name, value in parts.items())
    assert any(gradient.any() for gradient in gradients)
    for one, other in zip(gradients, other_gradients, strict=True):
        assert one.isfinite().all()
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("strategy", "options", "epoch"), [*((name, {}, epoch) for name in STRATEGIES for epoch in (0, 1)), *PHASES]
)
def test_absent_tokens_change_no_bit_in_training_mode(
    strategy: str, options: dict, epoch: int, small_model: Callable, small_objective: Callable, random_batch
) -> None:
    """With everything random that training has, in every kind of epoch."""
    options = {**RANDOM, **options}
    model = small_model(strategy, **options).train()
    objective = small_objective(strategy, model, **options).train()
    dirty = poisoned(random_batch.tokens, ~random_batch.present, float("nan"))
    assert_same_bits(model, objective, random_batch, dirty, random_batch.present, epoch)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e30])
def test_absent_tokens_change_no_bit_of_what_is_averaged_or_adapted(
    strategy: str, poison: float, small_model: Callable, small_config: Callable, random_batch
) -> None:
    """Tokens longer than in training, lengths of what is absent, and a model that adapts while it is tested."""
    model, present = small_model(strategy), random_batch.present
    longer = {name: torch.cat([tokens, tokens.flip(1)], dim=1) for name, tokens in random_batch.tokens.items()}
    dirty = poisoned(longer, ~present, poison)
    lengths = {name: torch.full((7,), tokens.shape[1]) for name, tokens in longer.items()}
    others = {n: torch.where(present[:, m], lengths[n], 1) for m, n in enumerate(NAMES)}
    expected, got = model(longer, present, lengths=lengths), model(dirty, present, lengths=others)
    assert all(torch.equal(values, got[task]) for task, values in expected.items())
    config = small_config("midl", adapt_lr=0.05)
    clean, dirtied = ([Seen(t, present), Seen(t, present)] for t in (longer, dirty))
    for loss in TEST_TIME.values():
        answers = (Adapter(model, loss, config).predict(batches) for batches in (clean, dirtied))
        for one, other in zip(*answers, strict=True):
            assert all(torch.equal(values, other[task]) for task, values in one.items())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_dropped_tokens_never_reach_the_prediction(strategy: str, small_model: Callable, random_batch) -> None:
    """In training, what is present but not kept may be learned from, and is never predicted from."""
    model, everything = small_model(strategy), torch.ones_like(random_batch.present)
    other = poisoned(random_batch.tokens, ~random_batch.present, 3.0)
    one, two = (
        model.trace(tokens, None, random_batch.present, everything).outputs for tokens in (random_batch.tokens, other)
    )
    plain = model.outputs(random_batch.tokens, None, random_batch.present)
    for task, logits in plain.logits.items():
        assert torch.equal(one.logits[task], logits)
        assert torch.equal(two.logits[task], logits)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_dropped_is_as_good_as_absent(strategy: str, small_model: Callable, random_batch) -> None:
    model, batch = small_model(strategy), random_batch
    everything = torch.ones_like(batch.present)
    absent, dropped = model(batch.tokens, batch.present), model(batch.tokens, everything, keep=batch.present)
    for task in absent:
        assert torch.equal(absent[task], dropped[task])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_logits_do_not_depend_on_the_rest_of_the_batch(strategy: str, small_model: Callable, random_batch) -> None:
    model, batch = small_model(strategy), random_batch
    together = model(batch.tokens, batch.present)
    for i in range(len(batch.present)):
        alone = model({n: t[i : i + 1] for n, t in batch.tokens.items()}, batch.present[i : i + 1])
        for task in together:
            torch.testing.assert_close(alone[task][0], together[task][i], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_logits_do_not_depend_on_the_masks_of_other_rows(strategy: str, small_model: Callable, random_batch) -> None:
    """With and without gradients: the same row among rows that are masked otherwise."""
    model, batch = small_model(strategy), random_batch
    for mode in (torch.enable_grad, torch.inference_mode):
        with mode():
            for i in range(len(batch.present)):
                others = batch.present.roll(3, dims=0)
                others[i] = batch.present[i]
                one, other = model(batch.tokens, batch.present), model(batch.tokens, others)
                for task in one:
                    torch.testing.assert_close(one[task][i], other[task][i], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_modality_nobody_has_may_be_left_out(strategy: str, small_model: Callable, random_batch) -> None:
    model, batch = small_model(strategy), random_batch
    present = batch.present.clone()
    present[:, 1] = False
    present[:, 0] = True
    without = {name: tokens for name, tokens in batch.tokens.items() if name != "imu"}
    expected, got = model(batch.tokens, present), model(without, present)
    # Where its tokens are left out, sums have fewer terms, and round otherwise; elsewhere not a bit changes.
    tolerance = 1e-5 if model.fill.leaves_out else 0.0
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_order_of_modalities_does_not_matter(strategy: str, check_any_order: Callable) -> None:
    check_any_order(strategy)


def neutral(model: Model) -> None:
    """Give a strategy that says something of what is there too the parameters with which it says nothing."""
    strategy_fill = type(model.fill).__name__
    with torch.no_grad():
        if strategy_fill == "KarmmaFill":  # t = s = 0
            for parameter in model.fill.parameters():
                parameter.zero_()
        if strategy_fill == "ShaSpecFill":  # a shared encoder that leaves tokens as they are, nothing specific
            for block in (block for block in model.fill.modules() if isinstance(block, Block)):
                for layer in (block.out, block.mlp[-1]):
                    layer.weight.zero_()
                    layer.bias.zero_()
            model.fill.join.weight.zero_()
            model.fill.join.bias.zero_()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_with_nothing_missing_a_strategy_is_its_plain_fusion(
    strategy: str, small_model: Callable, random_batch
) -> None:
    """Cross-method assertion 1: delta = 1 leaves no trace of the fill (KARMMA with t = s = 0, MAP with L_p = 0)."""
    everything = torch.ones_like(random_batch.present)
    options = {"prompt_length": 0} if strategy.startswith("map") else {}
    model = small_model(strategy, **options)
    without = {"reconstruction": 0.0, "shared": 0.0, "specific": 0.0}
    plain = small_model(strategy, fill="skip", **without, **options)
    plain.load_state_dict({n: value for n, value in model.state_dict().items() if not n.startswith("fill.")})
    neutral(model)
    for task, expected in plain(random_batch.tokens, everything).items():
        assert torch.equal(expected, model(random_batch.tokens, everything)[task])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_segment_with_nothing_is_refused(strategy: str, small_model: Callable, random_batch) -> None:
    present = random_batch.present.clone()
    present[2] = False
    with pytest.raises(ValueError, match="at least one modality"):
        small_model(strategy)(random_batch.tokens, present)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_padding_past_a_length_changes_nothing(strategy: str, small_model: Callable, random_batch) -> None:
    model, batch = small_model(strategy), random_batch
    present = torch.ones_like(batch.present)
    lengths = {"audio": torch.tensor([5, 4, 3, 2, 1, 5, 5])}
    longer = {**batch.tokens, "audio": batch.tokens["audio"].clone()}
    for i, n in enumerate(lengths["audio"]):
        longer["audio"][i, n:] += 100.0
    expected, got = model(batch.tokens, present, lengths=lengths), model(longer, present, lengths=lengths)
    for task in expected:
        torch.testing.assert_close(expected[task], got[task], rtol=1e-4, atol=1e-5)
