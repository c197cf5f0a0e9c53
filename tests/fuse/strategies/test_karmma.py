"""The invariants of KARMMA's learned tokens (methods.md 3.2).

Its loss is in test_objective.py, its teacher in test_teacher.py, k-Average in tests/store.
"""

from collections.abc import Callable

import torch


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
