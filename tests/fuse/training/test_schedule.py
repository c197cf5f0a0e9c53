"""What a run can be told of its schedule, its data and its logs."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mmcache.fuse import train
from mmcache.fuse.parts.losses.cross_entropy import class_weights
from mmcache.fuse.runs.progress import Silent
from mmcache.fuse.training.train import TrainedRun, train_layers
from mmcache.store import ConfigError, FeatureStore, Presence
from mmcache.store.format.shard_file import crc32c, read_index

QUICK = {"width": 16, "heads": 2, "k": 6, "epochs": 2, "warmup": 0.0, "batch_size": 8, "device": "cpu"}


def run(store: Path, out: Path, strategy: str = "dropout", **options: Any) -> TrainedRun:
    return train(strategy, {**QUICK, "store": store, "out": out, **options})


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model.safetensors")


def poison(path: Path, modality: str, encoder: str, split: str) -> None:
    """Make tokens NaN on disk, behind the back of the checksums, which training does not read."""
    store = FeatureStore.open(path)
    array = store.tokens[f"{modality}/{encoder}"]
    shards, slots = array.grid.locate(store.rows(split, [modality]), 0)
    for shard, slot in zip(shards.tolist(), slots.tolist(), strict=True):
        index = read_index(array.shard_path(shard), array.grid.slots_per_shard)
        assert index is not None
        with open(array.shard_path(shard), "r+b") as file:
            file.seek(int(index[slot, 0]))
            values = b"\xff" * array.chunk_bytes  # 0xffff is NaN
            file.write(values + crc32c(values))


def test_two_half_batches_are_a_whole_one(store_copy: Path, tmp_path: Path) -> None:
    whole = run(store_copy, tmp_path / "a", clip=0.0, batch_size=8)
    halves = run(store_copy, tmp_path / "b", clip=0.0, batch_size=4, accumulate=2)
    for ours, theirs in zip(metrics(halves.path), metrics(whole.path), strict=True):
        assert ours["lr"] == theirs["lr"]
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=2e-3)
    for name, value in weights(halves.path).items():
        torch.testing.assert_close(value, weights(whole.path)[name], atol=2e-3, rtol=0.05)


def test_training_ends_when_nothing_gets_better(store_copy: Path, tmp_path: Path) -> None:
    stopped = run(store_copy, tmp_path / "a", epochs=40, patience=3, lr=1e-9, lr_end=1e-9)
    figures = [
        line["validation"].get("action", next(iter(line["validation"].values()))) for line in metrics(stopped.path)
    ]
    assert len(figures) < 40
    assert max(figures[-3:]) <= max(figures[:-3])
    assert json.loads((stopped.path / "summary.json").read_text())["epochs"] == len(figures)
    again = run(store_copy, tmp_path / "b", epochs=len(figures), lr=1e-9, lr_end=1e-9)
    assert weights(again.path).keys() == weights(stopped.path).keys()


def test_a_nan_among_the_tokens_is_blamed_on_its_modality(store_copy: Path, tmp_path: Path) -> None:
    poison(store_copy, "imu", "imu_demo", "train")
    with pytest.raises(ConfigError, match=r"epoch 0, batch \d+ \(step \d+\); the tokens of imu hold NaN") as caught:
        run(store_copy, tmp_path / "a", "zeros", train_on="all")
    assert "store verify" in str(caught.value)


def test_a_modality_that_training_is_made_to_lack_is_never_looked_at(store_copy: Path, tmp_path: Path) -> None:
    """With its tokens NaN, training goes bit by bit as it does with them sound."""
    options = {"train_missing": {"imu": 1.0}, "epochs": 1, "sampler": "bernoulli_keep_one", "drop": 0.5}
    sound = run(store_copy, tmp_path / "a", "actionmae", **options)
    assert len(FeatureStore.open(store_copy).rows("train", ["imu"])) > 10
    poison(store_copy, "imu", "imu_demo", "train")
    blind = run(store_copy, tmp_path / "b", "actionmae", **options)
    assert metrics(blind.path)[0]["loss"] == metrics(sound.path)[0]["loss"]
    assert all(torch.equal(value, weights(sound.path)[name]) for name, value in weights(blind.path).items())


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ({"flow": 0.5}, "unknown modality to miss 'flow'"),
        ({"rgb": 0.9, "audio": 0.9, "imu": 0.9}, "lower the rates"),
    ],
)
def test_rates_that_cannot_be_are_refused(
    rates: dict[str, float], message: str, epic_store: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(epic_store, tmp_path / "a", train_missing=rates)


def test_class_weights_make_rare_classes_count_more() -> None:
    labels = torch.tensor([0] * 8 + [1] * 2 + [-1] * 5)
    inverse, root = (class_weights(labels, 3, kind) for kind in ("inverse", "root"))
    assert inverse[1] / inverse[0] == pytest.approx(4)
    assert root[1] / root[0] == pytest.approx(2)
    for found in (inverse, root):
        assert found[2] == 0
        assert (8 * found[0] + 2 * found[1]) / 10 == pytest.approx(1)


def test_class_weights_change_what_is_learned(epic_store: Path, tmp_path: Path) -> None:
    plain = run(epic_store, tmp_path / "a")
    weighted = run(epic_store, tmp_path / "b", class_weights="inverse")
    assert metrics(weighted.path)[0]["loss"] != metrics(plain.path)[0]["loss"]


def tensorboard_events(data: bytes) -> list[Any]:
    """The events of a file as TensorFlow's records have them: length, its checksum, bytes, their checksum."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    found = []
    while data:
        size = int.from_bytes(data[:8], "little")
        for start, stop in ((0, 8), (12, 12 + size)):
            assert data[stop : stop + 4] == masked_crc32c(data[start:stop]).to_bytes(4, "little")
        found.append(Event.FromString(data[12 : 12 + size]))
        data = data[16 + size :]
    return found


def test_events_for_tensorboard_are_written_when_asked_for(epic_store: Path, tmp_path: Path) -> None:
    asked = run(epic_store, tmp_path / "a", tensorboard=True)
    (events,) = asked.path.glob("events.out.tfevents.*")
    first, begun, *rest = tensorboard_events(events.read_bytes())
    assert first.file_version == "brain.Event:2"
    assert begun.session_log.status == begun.session_log.START
    said = {(event.step, value.tag): value.simple_value for event in rest for value in event.summary.value}
    for line in metrics(asked.path):
        assert said[line["epoch"], "loss"] == pytest.approx(line["loss"])
        assert said[line["epoch"], "validation/verb"] == pytest.approx(line["validation"]["verb"])
    plain = run(epic_store, tmp_path / "b")
    assert not list(plain.path.glob("events.*"))
    assert weights(asked.path).keys() == weights(plain.path).keys()
    assert all(torch.equal(value, weights(plain.path)[name]) for name, value in weights(asked.path).items())


def test_the_run_folder_has_curves_and_costs(epic_store: Path, tmp_path: Path) -> None:
    finished = run(epic_store, tmp_path / "a")
    drawing = (finished.path / "curves.svg").read_text()
    assert drawing.lstrip().startswith("<?xml")
    cost = json.loads((finished.path / "summary.json").read_text())["cost"]
    assert set(cost["subsets"]) == set(finished.result["subsets"])
    assert all(figures["flops"] > 0 for figures in cost["subsets"].values())


def test_a_protocol_trains_and_reports_on_its_own_division(store_copy: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown protocol"):
        run(store_copy, tmp_path / "a", protocol="xview")


def test_resume_insists_that_there_is_something_to_go_on_with(epic_store: Path, tmp_path: Path) -> None:
    layers = {"flags": {**QUICK, "store": epic_store, "out": tmp_path / "a"}}
    with pytest.raises(ConfigError, match="--resume: no run of these options was begun"):
        train_layers("dropout", layers, Silent(), resume=True)
    first = train_layers("dropout", layers, Silent())
    assert train_layers("dropout", layers, Silent(), resume=True).was_finished
    assert first.path == tmp_path / "a"


def test_a_store_that_lacks_a_modality_altogether_is_trained_on_what_it_has(store_copy: Path, tmp_path: Path) -> None:
    store = FeatureStore.open(store_copy)
    assert (store.present["imu"] == Presence.CACHED).any()
    result = run(store_copy, tmp_path / "a", modalities=["rgb", "audio"]).result
    assert set(result["subsets"]) == {"audio", "rgb", "audio+rgb"}


def test_bf16_trains_and_differs_from_fp32_by_rounding_alone(epic_store: Path, tmp_path: Path) -> None:
    exact = metrics(run(epic_store, tmp_path / "a", precision="fp32").path)
    rounded = metrics(run(epic_store, tmp_path / "b", precision="bf16").path)
    for ours, theirs in zip(rounded, exact, strict=True):
        assert ours["loss"] != theirs["loss"]
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=0.05)
