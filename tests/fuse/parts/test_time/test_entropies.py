"""TENT, SHOT and ETA: what each minimises."""

import math
from collections.abc import Callable

import pytest
import torch

from mmcache.fuse.parts.test_time import TEST_TIME, Seen
from mmcache.fuse.parts.test_time.adapter import entropy
from mmcache.fuse.parts.test_time.options import AdaptOptions

OPTIONS = AdaptOptions()


class Says(torch.nn.Module):
    """A model that says the same of whatever it sees."""

    def __init__(self, *tasks: torch.Tensor) -> None:
        super().__init__()
        self.tasks = torch.nn.ParameterList(tasks)

    def forward(self, tokens: object, present: object, lengths: object = None) -> dict[str, torch.Tensor]:
        return {str(i): logits for i, logits in enumerate(self.tasks)}


def loss(step: str, *tasks: torch.Tensor) -> torch.Tensor:
    model = Says(*tasks)
    return (
        TEST_TIME[step].loss(model, model, Seen({}, torch.ones(len(tasks[0]), 2, dtype=torch.bool)), OPTIONS).detach()
    )


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(6, 5, generator=torch.Generator().manual_seed(0))


def test_tent_is_the_mean_entropy_and_tasks_are_summed(logits: torch.Tensor) -> None:
    mean = entropy(logits.log_softmax(dim=-1)).mean()
    torch.testing.assert_close(loss("tent", logits), mean)
    torch.testing.assert_close(loss("tent", logits, logits), 2 * mean)


def test_shot_is_smallest_where_predictions_are_sure_and_of_every_class() -> None:
    diverse, same = 60 * torch.eye(4), 60 * torch.eye(4)[:1].expand(4, -1)
    assert float(loss("shot", diverse)) == pytest.approx(-math.log(4), abs=1e-5)
    assert float(loss("shot", same)) == pytest.approx(0.0, abs=1e-5)


def test_eta_learns_from_what_is_sure_enough_alone() -> None:
    sure, unsure = torch.tensor([[4.0, 0, 0, 0]]), torch.tensor([[0.1, 0, 0, 0]])
    of_sure = entropy(sure.log_softmax(dim=-1)).item()
    margin = 0.4 * math.log(4)
    assert of_sure < margin < entropy(unsure.log_softmax(dim=-1)).item()
    weighted = math.exp(margin - of_sure) * of_sure
    assert float(loss("eta", sure)) == pytest.approx(weighted)
    assert float(loss("eta", torch.cat([sure, unsure]))) == pytest.approx(weighted)
    assert float(loss("eta", unsure)) == 0.0


@pytest.mark.parametrize("step", ["tent", "shot", "eta"])
def test_steps_lower_the_loss(step: str, small_model: Callable, adapter: Callable, random_batch) -> None:
    model = small_model("midl")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("head.") and parameter.ndim == 2:
                parameter.mul_(8)  # answers sure enough for eta
    adapting = adapter(model, step, adapt_lr=0.002)
    seen = Seen(random_batch.tokens, random_batch.present)

    def now() -> float:
        return float(TEST_TIME[step].loss(adapting.model, model, seen, OPTIONS).detach())

    before = now()
    adapting.adapt([seen] * 10)
    assert now() < before


def test_eta_learns_from_nothing_where_nothing_is_sure(logits: torch.Tensor) -> None:
    model = Says(torch.nn.Parameter(0.01 * logits))
    value = TEST_TIME["eta"].loss(model, model, Seen({}, torch.ones(6, 2, dtype=torch.bool)), OPTIONS)
    value.backward()
    (answers,) = model.parameters()
    assert not answers.grad.any()
