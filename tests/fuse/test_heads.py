"""Which vectors of a segment count, and what is averaged over them."""

from collections.abc import Callable

import pytest
import torch

from mmcache.fuse.parts.heads.heads import HEADS, Outputs


def test_probabilities_may_be_averaged_instead_of_logits() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, 5, generator=generator)
    valid = torch.tensor([[True, True, True], [True, False, True], [False, False, True], [True, True, False]])
    got = Outputs({"verb": logits}, valid, average="probabilities").mean()["verb"]
    expected = torch.stack([logits[i][valid[i]].softmax(dim=-1).mean(dim=0) for i in range(4)])
    torch.testing.assert_close(got.softmax(dim=-1), expected)
    torch.testing.assert_close(got.exp(), expected)


@pytest.mark.parametrize("strategy", ["karmma", "mmt"])
@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_a_missing_modality_s_vector_need_not_count(
    strategy: str, average: str, small_model: Callable, random_batch
) -> None:
    model = small_model(strategy, average_missing=False, average=average)
    outputs = model.outputs(random_batch.tokens, None, random_batch.present)
    assert torch.equal(outputs.valid[:, -3:], random_batch.present)
    full = small_model(strategy, average=average).outputs(random_batch.tokens, None, random_batch.present)
    assert full.valid.all()
    for task, logits in outputs.logits.items():
        assert torch.equal(logits, full.logits[task])
        differs = (outputs.mean()[task] != full.mean()[task]).any(dim=1)
        assert torch.equal(differs, ~random_batch.present.all(dim=1))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("fusion", ["transformer", "mbt"])
def test_every_head_gives_logits_for_every_task(head: str, fusion: str, small_model: Callable, random_batch) -> None:
    model = small_model("skip", head=head, fusion=fusion)
    outputs = model.outputs(random_batch.tokens, None, random_batch.present)
    assert outputs.features.shape == (*outputs.valid.shape, model.head.features)
    assert {task: x.shape for task, x in outputs.mean().items()} == {"verb": (7, 3), "noun": (7, 4)}
    assert all(x.isfinite().all() for x in outputs.mean().values())


def test_gap_counts_every_token_the_same(small_model: Callable, random_batch) -> None:
    model = small_model("skip", head="gap", fusion="late")
    everything = torch.ones_like(random_batch.present)
    fused = model.trace(random_batch.tokens, None, everything).fused
    expected = model.head.tasks["verb"](torch.cat(fused.tokens, dim=1).mean(dim=1))
    torch.testing.assert_close(model(random_batch.tokens, everything)["verb"], expected)
