"""What every strategy must hold (methods.md sections 0 and 5): run for each name in the table.

Assertions 4 and 5, which need a store, are in evaluation/test_masked_runs.py; test_invariants.py counts them all.
"""

from collections.abc import Callable

import pytest
import torch

from mmcache.fuse.network.passes import Sample
from mmcache.fuse.parts.test_time import TEST_TIME, Adapter, Seen
from mmcache.fuse.strategies import STRATEGIES
from mmcache.fuse.training.trainee import Trainee
from mmcache.store.load.loader import Batch

NAMES = ["audio", "imu", "rgb"]
# Runs with an epoch of another kind: epoch 0 without labels, or epoch 1 made of episodes.
PHASES = [("mmg", {"align_share": 0.5}, 0), ("mmg", {"prototypes": 1.0, "meta_share": 0.5, "ways": 3, "shots": 1}, 1)]
# All that is random in training, switched on.
RANDOM = {"dropout": 0.2, "attention_dropout": 0.2, "token_dropout": 0.2, "head_dropout": 0.2, "proxy_dropout": 0.2}


def poisoned(tokens: dict[str, torch.Tensor], where: torch.Tensor, poison: float) -> dict[str, torch.Tensor]:
    """Tokens in which the modalities of `where` (B, M) hold only poison."""
    out = {name: values.clone() for name, values in tokens.items()}
    for m, name in enumerate(NAMES):
        out[name][where[:, m]] = poison
    return out


def losses_and_gradients(
    trainee: Trainee, batch: Batch, kept: torch.Tensor, epoch: int = 1
) -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:
    """Every part of the loss in one of two epochs, and its gradient by every parameter."""
    trainee.zero_grad(set_to_none=True)
    torch.manual_seed(8)
    parts = trainee.losses(batch, kept.numpy(), epoch)
    parts["loss"].backward()
    return parts, [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in trainee.parameters()]


@pytest.mark.holds("every", "0 the tokens of an absent modality change no bit of output, loss or gradient")
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e30])
def test_absent_tokens_change_no_bit(
    strategy: str, poison: float, small_model: Callable, small_trainee: Callable, random_batch
) -> None:
    """Of outputs, of any loss, of any gradient; neither with the sampler's mask nor with a smaller one."""
    model = small_model(strategy)
    trainee = small_trainee(strategy, model)
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
        assert_same_bits(trainee, random_batch, dirty, kept)


def assert_same_bits(
    trainee: Trainee, random_batch, dirty: dict[str, torch.Tensor], kept: torch.Tensor, epoch: int = 1
) -> None:
    """Losses and gradients are finite, and the same with the dirty tokens as with the clean ones."""
    parts, gradients = losses_and_gradients(trainee, random_batch.batch(), kept, epoch)
    others, other_gradients = losses_and_gradients(trainee, random_batch.batch(dirty), kept, epoch)
    assert all(value.isfinite() for value in parts.values())
    assert all(torch.equal(value, others[name]) for name, value in parts.items())
    assert any(gradient.any() for gradient in gradients)
    for one, other in zip(gradients, other_gradients, strict=True):
        assert one.isfinite().all()
        assert torch.equal(one, other)


@pytest.mark.holds("every", "0 the tokens of an absent modality change no bit of output, loss or gradient")
@pytest.mark.parametrize(
    ("strategy", "options", "epoch"), [*((name, {}, epoch) for name in STRATEGIES for epoch in (0, 1)), *PHASES]
)
def test_absent_tokens_change_no_bit_in_training_mode(
    strategy: str, options: dict, epoch: int, small_model: Callable, small_trainee: Callable, random_batch
) -> None:
    """With everything random that training has, in every kind of epoch."""
    model = small_model(strategy, also=RANDOM, **options)
    trainee = small_trainee(strategy, model, also=RANDOM, **options).train()
    dirty = poisoned(random_batch.tokens, ~random_batch.present, float("nan"))
    assert_same_bits(trainee, random_batch, dirty, random_batch.present, epoch)


@pytest.mark.holds("every", "0 the tokens of an absent modality change no bit of output, loss or gradient")
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e30])
def test_absent_tokens_change_no_bit_of_what_is_averaged_or_adapted(
    strategy: str, poison: float, small_model: Callable, random_batch
) -> None:
    """Tokens longer than in training, lengths of what is absent, and a model that adapts while it is tested."""
    model, present = small_model(strategy), random_batch.present
    longer = {name: torch.cat([tokens, tokens.flip(1)], dim=1) for name, tokens in random_batch.tokens.items()}
    dirty = poisoned(longer, ~present, poison)
    lengths = {name: torch.full((7,), tokens.shape[1]) for name, tokens in longer.items()}
    others = {n: torch.where(present[:, m], lengths[n], 1) for m, n in enumerate(NAMES)}
    expected, got = model(longer, present, lengths=lengths), model(dirty, present, lengths=others)
    assert all(torch.equal(values, got[task]) for task, values in expected.items())
    clean, dirtied = ([Seen(t, present), Seen(t, present)] for t in (longer, dirty))
    for step in TEST_TIME.values():
        adapters = (Adapter(model, step.loss, step.Options(adapt_lr=0.05)) for _ in range(2))
        answers = (adapter.predict(batches) for adapter, batches in zip(adapters, (clean, dirtied), strict=True))
        for one, other in zip(*answers, strict=True):
            assert all(torch.equal(values, other[task]) for task, values in one.items())


@pytest.mark.holds("every", "0 losses may learn from what was dropped, predictions do not")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_dropped_tokens_never_reach_the_prediction(strategy: str, small_model: Callable, random_batch) -> None:
    """In training, what is present but not kept may be learned from, and is never predicted from."""
    model, everything = small_model(strategy), torch.ones_like(random_batch.present)
    other = poisoned(random_batch.tokens, ~random_batch.present, 3.0)
    one, two = (
        model.training_pass(Sample(tokens, {}, everything, random_batch.present, {}, {}), "complete").outputs
        for tokens in (random_batch.tokens, other)
    )
    plain = model.outputs(random_batch.tokens, None, random_batch.present)
    for task, logits in plain.logits.items():
        assert torch.equal(one.logits[task], logits)
        assert torch.equal(two.logits[task], logits)


@pytest.mark.holds("every", "0 losses may learn from what was dropped, predictions do not")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_dropped_is_as_good_as_absent(strategy: str, small_model: Callable, random_batch) -> None:
    model, batch = small_model(strategy), random_batch
    everything = torch.ones_like(batch.present)
    absent, dropped = model(batch.tokens, batch.present), model(batch.tokens, everything, keep=batch.present)
    for task in absent:
        assert torch.equal(absent[task], dropped[task])


@pytest.mark.holds("every", "5.2 logits do not depend on the other rows and their masks")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_logits_do_not_depend_on_the_rest_of_the_batch(strategy: str, small_model: Callable, random_batch) -> None:
    model, batch = small_model(strategy), random_batch
    together = model(batch.tokens, batch.present)
    for i in range(len(batch.present)):
        alone = model({n: t[i : i + 1] for n, t in batch.tokens.items()}, batch.present[i : i + 1])
        for task in together:
            torch.testing.assert_close(alone[task][0], together[task][i], rtol=1e-4, atol=1e-5)


@pytest.mark.holds("every", "5.2 logits do not depend on the other rows and their masks")
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


@pytest.mark.holds("every", "1.1 training sets may be incomplete, and a sensor may be nowhere at test")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_modality_nobody_has_may_be_left_out(strategy: str, small_model: Callable, random_batch) -> None:
    model, batch = small_model(strategy), random_batch
    present = batch.present.clone()
    present[:, 1] = False
    present[:, 0] = True
    without = {name: tokens for name, tokens in batch.tokens.items() if name != "imu"}
    expected, got = model(batch.tokens, present), model(without, present)
    # Where its tokens are left out, sums have fewer terms, and round otherwise; elsewhere not a bit changes.
    tolerance = 1e-5 if model.skips_missing else 0.0
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.holds("every", "5.3 the order of modalities does not matter")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_order_of_modalities_does_not_matter(strategy: str, check_any_order: Callable) -> None:
    check_any_order(strategy)


@pytest.mark.holds("every", "5.1 with nothing missing a strategy is its plain fusion")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_with_nothing_missing_a_strategy_is_its_plain_fusion(
    strategy: str, small_model: Callable, random_batch
) -> None:
    """delta = 1 leaves no trace of the handler (KARMMA with t = s = 0, MAP with L_p = 0)."""
    everything = torch.ones_like(random_batch.present)
    model = small_model(strategy, also={"prompt_length": 0})
    without = {"reconstruction": 0.0, "shared": 0.0, "specific": 0.0}
    plain = small_model(strategy, handler="skip", also=without)
    plain.load_state_dict({n: value for n, value in model.state_dict().items() if not n.startswith("handler.")})
    model.handler.neutralise()
    for task, expected in plain(random_batch.tokens, everything).items():
        assert torch.equal(expected, model(random_batch.tokens, everything)[task])


@pytest.mark.holds("every", "5.6 a segment with nothing is an error")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_segment_with_nothing_is_refused(strategy: str, small_model: Callable, random_batch) -> None:
    present = random_batch.present.clone()
    present[2] = False
    with pytest.raises(ValueError, match="at least one modality"):
        small_model(strategy)(random_batch.tokens, present)


@pytest.mark.holds("every", "0 padding past a length changes nothing")
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
