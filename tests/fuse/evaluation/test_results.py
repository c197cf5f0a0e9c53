"""What a subsets table comes to, against figures worked out by hand; and absences of every kind."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mmcache.fuse import Model, evaluate, train
from mmcache.fuse.data.eligible import evaluated_rows
from mmcache.fuse.data.segment_groups import prune
from mmcache.fuse.data.subsets import NATURAL
from mmcache.fuse.evaluation.evaluate import correctness, natural_accuracy, results, subsets_table
from mmcache.fuse.evaluation.inputs import Inputs, stored_sources
from mmcache.fuse.evaluation.measured import Wanted, measure
from mmcache.fuse.evaluation.scoring import score
from mmcache.store import ConfigError, FeatureStore
from mmcache.store.load.loader import Loader

SUBSETS = {"audio", "imu", "rgb", "audio+imu", "audio+rgb", "imu+rgb", "audio+imu+rgb"}


def hand_made() -> pd.DataFrame:
    """Two sensors, four complete segments and one that lacks b; verb 2 of 2 classes, noun unlabelled for s3."""
    rows = []
    for subset, verb, noun in (
        ("a+b", [1, 1, 1, 0], [1, 0, 1, 0]),
        ("a", [1, 0, 0, 0], [1, 0, 0, 0]),
        ("b", [0, 1, 0, 0], [0, 0, 1, 0]),
    ):
        for i in range(4):
            rows.append((f"s{i}", subset, i % 2, verb[i], 0.9, -1 if i == 3 else 0, noun[i], 0.5))
    rows.append(("s4", NATURAL, 0, 1, 0.8, 0, 1, 0.5))
    columns = ["id", "subset", "verb_label", "verb_top1", "verb_confidence", "noun_label", "noun_top1"]
    table = pd.DataFrame(rows, columns=[*columns, "noun_confidence"]).astype({"verb_top1": bool, "noun_top1": bool})
    table["action_top1"] = table["verb_top1"] & table["noun_top1"]
    for task in ("verb", "noun", "action"):
        table[f"{task}_top5"] = True
    ids = table["id"].map({f"s{i}": i for i in range(5)})
    return table.assign(unseen=ids < 2, tail_verb=ids == 0, tail_noun=ids == 2, noun_in_train=ids != 1)


@pytest.mark.holds("shared", "1.4 an action is right where verb and noun are")
def test_figures_of_a_table_made_by_hand() -> None:
    found = results(hand_made(), "r", "validation")
    assert found["n"] == 4
    full = found["subsets"]["a+b"]
    assert full["verb"]["top1"] == 75
    assert full["verb"]["class_mean"] == pytest.approx(100 * (1 + 0.5) / 2)  # labels 0, 1, 0, 1
    assert full["verb"]["ece"] == pytest.approx(15)  # 0.9 sure, 0.75 right
    assert full["noun"]["top1"] == pytest.approx(200 / 3)  # s3 has no noun
    assert full["action"]["top1"] == pytest.approx(200 / 3)
    assert full["action"]["ece"] == pytest.approx(100 * (2 / 3 - 0.45))  # sure of a pair: 0.9 * 0.5
    assert found["subsets"]["a"]["verb"]["top1"] == 25
    curve = found["rates"]["b"]["verb"]
    assert (curve["0"], curve["100"]) == (75, 25)
    assert curve["0"] >= curve["25"] >= curve["50"] >= curve["75"] >= curve["100"]  # without b nothing gets better
    assert found["summary"]["verb"]["mean_delta"] == -50
    assert found["natural"] == {"n": 5, "verb": 80, "noun": 75, "action": 75}
    json.dumps(found, allow_nan=False)


def test_an_action_with_labels_of_its_own_is_a_task_like_others() -> None:
    """NTU, Something-Something and others name their one task so, and have neither verb nor noun."""
    kept = [name for name in hand_made().columns if not name.startswith(("noun_", "action_", "tail_"))]
    verbs = hand_made()[kept]
    actions = verbs.rename(columns=lambda name: name.replace("verb_", "action_"))
    expected, found = results(verbs, "r", "test"), results(actions, "r", "test")
    assert json.dumps(found) == json.dumps(expected).replace('"verb"', '"action"')


def test_parts_of_a_split_follow_the_official_definitions() -> None:
    parts = results(hand_made(), "r", "validation")["groups"]
    assert {task: part["n"] for task, part in parts["unseen"].items()} == {"verb": 2, "noun": 2, "action": 2}
    assert parts["unseen"]["verb"]["subsets"] == {"a": 50, "a+b": 100, "b": 50}
    tail = parts["tail"]
    assert {task: part["n"] for task, part in tail.items()} == {"verb": 1, "noun": 1, "action": 2}
    assert tail["action"]["subsets"] == {"a": 50, "a+b": 100, "b": 0}  # a tail verb (s0) or a tail noun (s2)


def test_a_store_without_groups_has_none() -> None:
    bare = hand_made().drop(columns=["unseen", "tail_verb", "tail_noun", "noun_in_train"])
    assert results(bare, "r", "validation")["groups"] == {}


def test_a_part_with_nobody_in_it_has_no_accuracy() -> None:
    parts = results(hand_made().assign(unseen=False), "r", "validation")["groups"]
    assert parts["unseen"]["verb"] == {"n": 0, "subsets": {"a": None, "a+b": None, "b": None}}


def test_nouns_that_train_never_shows_are_left_out_on_request(run: Path) -> None:
    whole, pruned = evaluate(run), evaluate(run, prune=True)
    assert whole["n"] - pruned["n"] == 4  # every tenth of 40 segments, all of them complete
    table, _ = subsets_table(run)
    kept = table[table["noun_in_train"] & (table["subset"] == "audio+imu+rgb")]
    assert pruned["subsets"]["audio+imu+rgb"]["noun"]["top1"] == pytest.approx(100 * kept["noun_top1"].mean())


def test_pruning_needs_to_know_the_nouns() -> None:
    table = hand_made().drop(columns="noun_in_train")
    with pytest.raises(ConfigError, match="no column 'noun_in_train'"):
        prune(table)


def test_incomplete_segments_are_scored_as_they_are(run: Path) -> None:
    table, split = subsets_table(run)
    assert split == "validation"
    assert set(table["subset"]) == {*SUBSETS, NATURAL}
    natural = table[table["subset"] == NATURAL]
    assert natural["id"].tolist() == ["s060", "s061"]
    assert natural_accuracy(table)["n"] == 40
    assert len(correctness(table, "verb")["rgb"]) == 38


def test_missing_rates_may_count_what_is_missing_by_nature(run: Path) -> None:
    """2 of the 40 segments lack imu for good; the result says what its rates are shares of."""
    complete, natural = evaluate(run), evaluate(run, rates="natural")
    assert (complete["rates_of"], natural["rates_of"]) == ("complete", "natural")
    table, _ = subsets_table(run)
    fixed = table[table["subset"] == NATURAL]["verb_top1"].to_numpy(bool)
    top1 = correctness(table, "verb")
    curve = natural["rates"]["imu"]["verb"]
    assert list(curve) == ["5", "25", "50", "75", "100"]
    assert curve["5"] == pytest.approx(natural["natural"]["verb"]), "nothing is lost but what nature took"
    assert curve["100"] == pytest.approx(100 * np.concatenate([fixed, top1["audio+rgb"]]).mean())
    assert {**natural, "rates": None, "rates_of": None} == {**complete, "rates": None, "rates_of": None}


def test_a_modality_that_a_split_never_has_is_no_part_of_its_subsets(store_path: Path, write_store: Callable) -> None:
    path = write_store(lacking={"imu": list(range(60, 106))})
    trained = train("skip", {"width": 8, "heads": 2, "epochs": 1, "store": path, "out": path.parent / "r"})
    assert set(trained.result["subsets"]) == {"audio", "rgb", "audio+rgb"}
    assert trained.result["n"] == 40


def test_tokens_another_store_lacks_are_absent(run: Path, write_store: Callable[..., Path]) -> None:
    """The same segments without rgb: what is left is scored as the subset without it was."""
    less = write_store(("audio", "imu"))
    found = evaluate(run, store=less)
    assert set(found["subsets"]) == {"audio", "imu", "audio+imu"}
    model, store = Model.load(run), FeatureStore.open(less)
    rows = evaluated_rows(store, "validation", list(stored_sources(model.spec, store).values()))
    batch = Loader(store, ["audio", "imu"], rows).batch(rows)
    present = torch.tensor([[True, True, False]]).expand(len(rows), -1)
    predicted = model(batch.tokens, present)["verb"].argmax(dim=1)
    expected = 100 * (predicted == batch.labels["verb"]).float().mean().item()
    assert found["subsets"]["audio+imu"]["verb"]["top1"] == pytest.approx(expected)
    with pytest.raises(ConfigError, match=r"has no tokens that this run reads: it needs audio/enc_audio"):
        evaluate(run, store=foreign_store(less))


def foreign_store(path: Path) -> Path:
    """A copy whose encoders have other names."""
    copy = path.parent / "foreign.zarr"
    shutil.copytree(path, copy)
    for modality in ("audio", "imu"):
        shutil.rmtree(copy / "tokens" / modality)
    return copy


def test_another_protocol_is_another_division(run: Path) -> None:
    found = evaluate(run, protocol="half")
    assert found["split"] == "test"
    assert found["n"] == 49  # odd rows of train and validation, less s061, which has no imu
    assert evaluate(run, protocol="half", split="train")["split"] == "train"
    with pytest.raises(ConfigError, match=r"unknown protocol .* Known: half"):
        evaluate(run, protocol="quarter")
    assert evaluate(run)["split"] == "validation"  # the run's own answers were left alone


def test_scoring_does_not_depend_on_how_rows_come(run: Path, store_path: Path) -> None:
    model, store = Model.load(run), FeatureStore.open(store_path)
    rows = store.rows("validation")
    one = score(model, store, rows, 8)
    other = score(model, store, rows[::-1].copy(), 8)
    for task in ("verb", "noun", "action"):
        for subset, values in correctness(one, task).items():
            np.testing.assert_array_equal(values, correctness(other, task)[subset])
    assert Inputs(model, store, rows, 8, "cpu", None).present.sum() == 3 * 40 - 2


def test_no_complete_segment_is_an_error_with_advice() -> None:
    table = hand_made()
    with pytest.raises(ConfigError, match="no segment of split 'x' has all modalities"):
        results(table[table["subset"] == NATURAL], "r", "x")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("subsets.parquet", r"subsets\.parquet is damaged .*--fresh"),
        ("summary.json", r"summary\.json is not JSON.*remove"),
    ],
)
def test_damaged_results_of_a_run_are_named_with_what_to_do(name: str, said: str, run: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(run, tmp_path / "damaged"))
    whole = (damaged / name).read_bytes()
    (damaged / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match=said):
        measure(damaged, evaluate(damaged), Wanted())
    if name == "subsets.parquet":
        evaluate(damaged, fresh=True)
        assert evaluate(damaged)["rates"] == evaluate(run)["rates"]
