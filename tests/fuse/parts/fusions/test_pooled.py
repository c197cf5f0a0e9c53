"""sum, concat, mlp and late fusion (methods.md section 0)."""

import itertools
from collections.abc import Callable

import pytest
import torch

from mmcache.fuse.parts.fusions import Concat, Sum
from mmcache.fuse.parts.part import NoOptions, Shape

TOKENS = [torch.randn(2, n, 16, generator=torch.Generator().manual_seed(n)) for n in (5, 4, 7)]
SUBSETS = [subset for size in (1, 2, 3) for subset in itertools.combinations(range(3), size)]
SHAPE = Shape((5, 4, 7), 16)
POOLED = {"sum": "linear", "concat": "linear", "mlp": "linear", "late": "per_modality"}


def masks(subset: tuple[int, ...]) -> list[torch.Tensor]:
    return [torch.full((2, x.shape[1]), m in subset) for m, x in enumerate(TOKENS)]


@pytest.mark.holds("shared", "0 sum fusion adds what is present")
@pytest.mark.parametrize("subset", SUBSETS)
def test_sum_is_the_sum_of_what_is_there(subset: tuple[int, ...]) -> None:
    model = Sum(SHAPE, NoOptions())
    expected = sum(model.layers[m](TOKENS[m].mean(dim=1)) for m in subset)
    torch.testing.assert_close(model(TOKENS, masks(subset)).cls, expected)


@pytest.mark.holds("shared", "0 concat uses its weight slices and |S| / M of the bias")
@pytest.mark.parametrize("subset", SUBSETS)
def test_concat_uses_its_weight_slices_and_its_share_of_the_bias(subset: tuple[int, ...]) -> None:
    model = Concat(SHAPE, NoOptions())
    slices = model.layer.weight.split(16, dim=1)
    expected = sum(TOKENS[m].mean(dim=1) @ slices[m].T for m in subset) + model.layer.bias * len(subset) / 3
    torch.testing.assert_close(model(TOKENS, masks(subset)).cls, expected)


@pytest.mark.holds("shared", "0 late fusion is the mean of unimodal logits")
def test_late_fusion_is_the_mean_of_unimodal_logits(small_model: Callable, random_batch) -> None:
    model = small_model("skip", fusion="late", head="per_modality")
    everything = torch.ones_like(random_batch.present)
    together = model(random_batch.tokens, everything)
    alone = []
    for m in range(3):
        only = torch.zeros_like(everything)
        only[:, m] = True
        alone.append(model(random_batch.tokens, everything, keep=only))
    for task, values in together.items():
        torch.testing.assert_close(values, torch.stack([one[task] for one in alone]).mean(dim=0))


@pytest.mark.parametrize(("fusion", "head"), POOLED.items())
@pytest.mark.parametrize(
    ("strategy", "handler"),
    [
        ("zeros", "skip"),
        ("zeros", "zeros"),
        ("zeros", "token"),
        ("zeros", "proxy"),
        ("karmma", "karmma"),
        ("actionmae", "reconstruct"),
        ("shaspec", "shaspec"),
    ],
)
def test_every_handler_goes_with_them_in_any_order_of_modalities(
    fusion: str, head: str, strategy: str, handler: str, check_any_order: Callable
) -> None:
    check_any_order(strategy, fusion=fusion, head=head, handler=handler)
