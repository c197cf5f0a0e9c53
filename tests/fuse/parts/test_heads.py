"""Which vectors of a segment count, and what is averaged over them."""

from collections.abc import Callable

import pytest
import torch

from mmcache.fuse.network.model import Model
from mmcache.fuse.parts.fusions import Fused
from mmcache.fuse.parts.heads import HEADS, Outputs
from mmcache.fuse.parts.heads.base import module_name
from mmcache.fuse.parts.heads.linear import Linear
from mmcache.fuse.parts.part import Shape
from mmcache.fuse.runs.spec import ModelSpec


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
    fused = model.fuse(model.handle(model.encode(random_batch.tokens, None, everything)))
    expected = model.head.tasks["task_verb"](torch.cat(fused.tokens, dim=1).mean(dim=1))
    torch.testing.assert_close(model(random_batch.tokens, everything)["verb"], expected)


def test_any_task_has_a_module_of_its_own() -> None:
    """Names that no module can have, that differ in case or by a sign alone, each get another name."""
    tasks = ["class", "keys", "items", "a.b", "a_b", "a-b", "A_b", "", "é", "task", "type", "a_2e_b"]
    names = [module_name(task) for task in tasks]
    assert len(set(names)) == len(tasks)
    assert all(name.isidentifier() for name in names)
    head = Linear(Shape((3,), 4), dict.fromkeys(tasks, 2), Linear.Options())
    fused = Fused(torch.ones(1, 4), [], [])
    assert list(head(fused).logits) == tasks


def test_heads_are_found_by_their_tasks_in_any_order(small_options: Callable, spec: ModelSpec, random_batch) -> None:
    """A config.yaml that lists the tasks in another order still loads each head's own weights."""
    torch.manual_seed(0)
    model = Model(spec, small_options("mmt")).eval()
    turned = Model(ModelSpec(spec.modalities, dict(reversed(spec.tasks.items()))), small_options("mmt")).eval()
    turned.load_state_dict(model.state_dict())
    expected, got = (each(random_batch.tokens, random_batch.present) for each in (model, turned))
    assert all(torch.equal(values, got[task]) for task, values in expected.items())
