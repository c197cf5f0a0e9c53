"""ModDrop's invariants (methods.md 3.16). That masked is as good as removed is in test_controls.py."""

from pathlib import Path

import pytest

from mmcache.fuse import train

QUICK = {"width": 16, "heads": 2, "k": 6, "epochs": 2, "warmup": 0.0, "batch_size": 8, "device": "cpu"}


@pytest.mark.holds("moddrop", "3.16 p = 0 is plain training")
def test_without_dropping_it_is_plain_training_with_the_same_seed(store_copy: Path, tmp_path: Path) -> None:
    plain = train("skip", {**QUICK, "store": store_copy, "out": tmp_path / "plain", "train_on": "all"})
    weights = (plain.path / "model.safetensors").read_bytes()
    for drop, same in ((0.0, True), (0.5, False)):
        run = train("moddrop", {**QUICK, "store": store_copy, "out": tmp_path / f"p{drop}", "drop": drop})
        assert ((run.path / "model.safetensors").read_bytes() == weights) == same
