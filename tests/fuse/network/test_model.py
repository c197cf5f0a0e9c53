"""The model around handler, fusion and head."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mmcache.fuse.network.model import Model
from mmcache.fuse.runs.config import to_yaml
from mmcache.fuse.runs.spec import ModelSpec
from mmcache.store import ConfigError, k_average


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


def test_longer_tokens_are_averaged_as_in_training(small_model: Callable, random_batch) -> None:
    model, present = small_model("mmt"), torch.ones_like(random_batch.present)
    longer = {**random_batch.tokens, "rgb": torch.randn(7, 30, 8, generator=torch.Generator().manual_seed(2))}
    averaged = {**longer, "rgb": torch.from_numpy(k_average(longer["rgb"].numpy(), 7)[0])}
    for task, expected in model(averaged, present).items():
        assert torch.equal(expected, model(longer, present)[task])


@pytest.fixture
def saved_run(small_options: Callable, small_model: Callable, spec: ModelSpec, tmp_path: Path) -> Path:
    """A run folder with what `Model.load` reads."""
    (tmp_path / "config.yaml").write_text(
        to_yaml(small_options("mmt"), spec, {"eval_split": "test", "store": "s.zarr"})
    )
    save_file(small_model("mmt").state_dict(), tmp_path / "model.safetensors")
    return tmp_path


def test_a_saved_model_says_the_same(saved_run: Path, small_model: Callable, random_batch) -> None:
    expected = small_model("mmt")(random_batch.tokens, random_batch.present)
    for task, values in Model.load(saved_run)(random_batch.tokens, random_batch.present).items():
        assert torch.equal(values, expected[task])


def _unsealed(text: str) -> str:
    """As an older version wrote it, without digests."""
    return "format: 2" + text[text.index("\neval_split:") :]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda text: text.replace("  width:", "  breadth:"), "does not know: 'network.breadth'"),
        (lambda text: _unsealed(text).replace("  width:", "  breadth:"), "does not know: 'network.breadth'"),
        (
            lambda text: text.replace("  width: 16", "  width: wide"),
            "does not take: network.width = 'wide': Input should be",
        ),
        (lambda text: "strategy: mmt\n", "options or model are not in it"),
        (lambda text: "a: [1, 2", r"config\.yaml is not YAML"),
        (
            lambda text: text.replace("  width: 16", "  width: 32"),
            "options is not what it was when the run was trained",
        ),
        (lambda text: _unsealed(text).replace("  width: 16", "  width: 32"), "damaged or of another model"),
    ],
)
def test_a_config_that_cannot_be_used_is_named_with_the_reason(
    damage: Callable[[str], str], reason: str, saved_run: Path
) -> None:
    config = saved_run / "config.yaml"
    config.write_text(damage(config.read_text()))
    with pytest.raises(ConfigError, match=reason):
        Model.load(saved_run)


def test_damaged_weights_are_named(saved_run: Path) -> None:
    weights = saved_run / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ConfigError, match=r"model\.safetensors is damaged"):
        Model.load(saved_run)
