"""What every strategy's model must hold (methods.md sections 0 and 5), and the fills' own invariants."""

import dataclasses
from collections.abc import Callable

import pytest
import torch

from mmcache.fuse.fills import FILLS
from mmcache.fuse.losses import cross_entropy
from mmcache.fuse.model import Model, ModelSpec
from mmcache.fuse.strategies import STRATEGIES
from mmcache.store import k_average

NAMES = ["audio", "imu", "rgb"]


def gradients(model: Model, tokens: dict[str, torch.Tensor], kept: torch.Tensor, labels: dict) -> list[torch.Tensor]:
    model.zero_grad(set_to_none=True)
    outputs = model.outputs(tokens, None, kept)
    cross_entropy(outputs, labels, smoothing=0.1, each=model.head.each).backward()
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e30])
def test_absent_tokens_change_no_bit(strategy: str, poison: float, small_model: Callable, random_batch) -> None:
    model, batch = small_model(strategy), random_batch
    poisoned = {}
    for m, name in enumerate(NAMES):
        poisoned[name] = batch.tokens[name].clone()
        poisoned[name][~batch.present[:, m]] = poison
    clean, dirty = model(batch.tokens, batch.present), model(poisoned, batch.present)
    for task in clean:
        assert clean[task].isfinite().all()
        assert torch.equal(clean[task], dirty[task])
    expected = gradients(model, batch.tokens, batch.present, batch.labels)
    for one, other in zip(expected, gradients(model, poisoned, batch.present, batch.labels), strict=True):
        assert torch.equal(one, other)


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
def test_a_modality_nobody_has_may_be_left_out(strategy: str, small_model: Callable, random_batch) -> None:
    model, batch = small_model(strategy), random_batch
    present = batch.present.clone()
    present[:, 1] = False
    present[:, 0] = True
    without = {name: tokens for name, tokens in batch.tokens.items() if name != "imu"}
    expected, got = model(batch.tokens, present), model(without, present)
    for task in expected:
        assert torch.equal(expected[task], got[task])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_order_of_modalities_does_not_matter(
    strategy: str, small_model: Callable, spec: ModelSpec, random_batch
) -> None:
    """Inputs, masks and per-modality parameters permuted together leave the logits unchanged."""
    order = [2, 0, 1]
    model, batch = small_model(strategy), random_batch
    names = [NAMES[i] for i in order]
    permuted_spec = dataclasses.replace(spec, modalities={name: spec.modalities[name] for name in names})
    permuted = small_model(strategy, permuted_spec)
    state = model.state_dict()
    moved = {}
    for key, value in state.items():
        for prefix in ("projectors", "positions", "fill.missing", "fill.modality_token", "fill.specific_tokens"):
            if key.startswith(prefix + "."):
                old, _, rest = key.removeprefix(prefix + ".").partition(".")
                key = f"{prefix}.{order.index(int(old))}" + (f".{rest}" if rest else "")
        for prefix in ("head.norms", "head.tasks") if strategy == "mmt" else ():
            if key.startswith(prefix + "."):
                old, _, rest = key.removeprefix(prefix + ".").partition(".")
                key = f"{prefix}.{order.index(int(old))}.{rest}"
        moved[key] = value[order] if key == "modality_embedding" else value
    permuted.load_state_dict(moved)
    expected, got = model(batch.tokens, batch.present), permuted(batch.tokens, batch.present[:, order])
    for task in expected:
        torch.testing.assert_close(expected[task], got[task], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_segment_with_nothing_is_refused(strategy: str, small_model: Callable, random_batch) -> None:
    present = random_batch.present.clone()
    present[2] = False
    with pytest.raises(ValueError, match="at least one modality"):
        small_model(strategy)(random_batch.tokens, present)


def test_a_mask_of_the_wrong_shape_is_refused(small_model: Callable, random_batch) -> None:
    with pytest.raises(ValueError, match=r"present must be \(B, 3\)"):
        small_model("zeros")(random_batch.tokens, random_batch.present[:, :2])


def test_skipped_tokens_are_as_good_as_removed(small_model: Callable, spec: ModelSpec, random_batch) -> None:
    """ModDrop's invariant: attention-masked equals token-removed to 1e-5."""
    model, batch = small_model("karmma-teacher"), random_batch
    only = torch.tensor([[True, False, True]]).expand(7, -1)
    smaller_spec = dataclasses.replace(spec, modalities={n: spec.modalities[n] for n in ("audio", "rgb")})
    smaller = small_model("karmma-teacher", smaller_spec)
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("projectors.1.")}
    smaller.load_state_dict({k.replace("projectors.2.", "projectors.1."): v for k, v in state.items()})
    expected = smaller({n: batch.tokens[n] for n in ("audio", "rgb")}, torch.ones(7, 2, dtype=torch.bool))
    got = model(batch.tokens, only)
    for task in expected:
        torch.testing.assert_close(expected[task], got[task], rtol=1e-5, atol=1e-5)


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


def test_fills_agree_with_plain_fusion_when_nothing_is_missing(small_model: Callable, random_batch) -> None:
    """Cross-method assertion 1: with all modalities present, a fill that is not needed changes nothing."""
    options = {
        "positions": False,
        "modality_embedding": False,
        "head": "shared",
        "ffn_ratio": 1.0,
        "label_smoothing": 0,
    }
    everything = torch.ones_like(random_batch.present)
    plain = small_model("zeros", fill="skip", **options)
    for fill in FILLS:
        model = small_model("zeros", fill=fill, **options)
        model.load_state_dict(plain.state_dict(), strict=False)
        if fill == "karmma":  # KARMMA's invariant: t = s = 0
            for parameter in model.fill.parameters():
                torch.nn.init.zeros_(parameter)
        for task, expected in plain(random_batch.tokens, everything).items():
            assert torch.equal(expected, model(random_batch.tokens, everything)[task]), fill


def test_mmt_token_is_untouched_by_complete_segments(small_model: Callable, random_batch) -> None:
    model = small_model("mmt")
    everything = torch.ones_like(random_batch.present)
    gradients(model, random_batch.tokens, everything, random_batch.labels)
    for token in model.fill.missing:
        assert token.grad is None or not token.grad.any()
    gradients(model, random_batch.tokens, random_batch.present, random_batch.labels)
    assert all(token.grad is not None and token.grad.any() for token in model.fill.missing)


def test_zeros_with_an_unbiased_projector_are_mmt_with_zero_tokens(small_model: Callable, random_batch) -> None:
    zeros = small_model("mmt", fill="zeros")
    mmt = small_model("mmt")
    mmt.load_state_dict(zeros.state_dict(), strict=False)
    with torch.no_grad():
        for model in (zeros, mmt):
            for projector in model.projectors:
                projector.bias.zero_()
        for token in mmt.fill.missing:
            token.zero_()
    for task, expected in zeros(random_batch.tokens, random_batch.present).items():
        torch.testing.assert_close(expected, mmt(random_batch.tokens, random_batch.present)[task])


def test_karmma_s_mode_missing_adds_nothing_to_what_is_there(small_model: Callable, random_batch) -> None:
    """With s only where missing, changing s changes segments that lack something, and no other."""
    model = small_model("karmma", s_mode="missing")
    before = model(random_batch.tokens, random_batch.present)
    with torch.no_grad():
        for token in model.fill.specific_tokens:
            token.add_(1.0)
    after = model(random_batch.tokens, random_batch.present)
    complete = random_batch.present.all(dim=1)
    for task in before:
        changed = (before[task] != after[task]).any(dim=1)
        assert torch.equal(changed, ~complete)


def test_karmma_keeps_the_number_of_tokens(small_model: Callable, random_batch) -> None:
    """A missing modality is fed as n_m tokens: every vector counts in the average, whatever is missing."""
    outputs = small_model("karmma").outputs(random_batch.tokens, None, random_batch.present)
    assert outputs.valid.all()
    assert outputs.valid.shape == (7, 1 + 3)
    skipped = small_model("karmma-teacher").outputs(random_batch.tokens, None, random_batch.present)
    assert torch.equal(skipped.valid[:, 1:], random_batch.present)


def test_longer_tokens_are_averaged_as_in_training(small_model: Callable, random_batch) -> None:
    model, present = small_model("mmt"), torch.ones_like(random_batch.present)
    longer = {**random_batch.tokens, "rgb": torch.randn(7, 30, 8, generator=torch.Generator().manual_seed(2))}
    averaged = {**longer, "rgb": torch.from_numpy(k_average(longer["rgb"].numpy(), 7)[0])}
    for task, expected in model(averaged, present).items():
        assert torch.equal(expected, model(longer, present)[task])
