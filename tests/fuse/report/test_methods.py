"""What is one method, and what stands in one section."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import yaml

from mmcache.fuse.report.read.found import find_runs
from mmcache.fuse.report.read.methods import Section, sections_of


def sections(folder: Path) -> list[Section]:
    return sections_of(find_runs([folder])[0])[0]


def labels(section: Section) -> set[str]:
    return {method.label for method in section.methods}


def test_seeds_are_one_method_and_other_options_another(write_run: Callable[..., Path], tmp_path: Path) -> None:
    for seed in (2, 0, 10):
        write_run(f"a{seed}", "karmma", seed, drop=0.5, device="cuda")
    write_run("b", "karmma", 0, drop=0.3, lr=1e-3, device="cpu")
    write_run("c", "zeros", lr=1e-2)
    (section,) = sections(tmp_path / "runs")
    assert labels(section) == {"karmma drop=0.5 lr=0.0001", "karmma drop=0.3 lr=0.001", "zeros"}
    (many,) = [method for method in section.methods if len(method.runs) > 1]
    assert many.seeds == [0, 2, 10]


def test_options_that_are_no_numbers_are_told_in_a_label(write_run: Callable[..., Path], tmp_path: Path) -> None:
    write_run("a", "mmt", train_missing={"audio": 0.25}, positions=False)
    write_run("b", "mmt", group="person")
    (section,) = sections(tmp_path / "runs")
    assert labels(section) == {
        "mmt group=none positions=false train_missing=audio:0.25",
        "mmt group=person positions=true train_missing=none",
    }


def test_an_option_that_one_alone_has_is_told_of_that_one(write_run: Callable[..., Path], tmp_path: Path) -> None:
    """With --target the sampler is another one, which has the option."""
    write_run("a", "mmt")
    write_run("b", "mmt", target="rgb")
    (section,) = sections(tmp_path / "runs")
    assert labels(section) == {"mmt sampler=bernoulli_keep_one", "mmt sampler=target_only target=rgb"}


def test_the_same_options_and_seed_twice_are_one_run(write_run: Callable[..., Path], tmp_path: Path) -> None:
    write_run("a")
    write_run("b")
    (section,), left_out = sections_of(find_runs([tmp_path / "runs"])[0])
    assert [len(method.runs) for method in section.methods] == [1]
    assert [(out.path.name, out.kind) for out in left_out] == [("b", "repeated")]
    assert str(tmp_path / "runs" / "a") in left_out[0].reason


def test_other_encoders_are_another_method(write_run: Callable[..., Path], tmp_path: Path) -> None:
    write_run("a")
    config = write_run("b") / "config.yaml"
    saved = yaml.safe_load(config.read_text().replace("enc_rgb", "enc_new"))
    del saved["sha256"]
    config.write_text(yaml.safe_dump(saved))
    (section,) = sections(tmp_path / "runs")
    assert labels(section) == {"skip rgb=enc_rgb", "skip rgb=enc_new"}


def test_students_of_different_teachers_are_different_methods(write_run: Callable[..., Path], tmp_path: Path) -> None:
    for strategy in ("skip", "mmt"):
        for seed in range(2):
            teacher = write_run(f"teacher-{strategy}-{seed}", strategy, seed)
            write_run(f"student-of-{strategy}-{seed}", "karmma", seed, teacher=str(teacher))
    (section,) = sections(tmp_path / "runs")
    assert labels(section) == {"karmma teacher=skip", "karmma teacher=mmt", "skip", "mmt"}
    assert all(len(method.runs) == 2 for method in section.methods)


def test_teachers_that_a_label_does_not_tell_apart_are_numbered(write_run: Callable[..., Path], tmp_path: Path) -> None:
    for i, lr in enumerate((0.01, 0.02)):
        teacher = write_run(f"teacher-{i}", "skip", lr=lr)
        write_run(f"student-{i}", "karmma", teacher=str(teacher))
    (section,) = sections(tmp_path / "runs")
    assert labels(section) == {"karmma teacher=skip #1", "karmma teacher=skip #2", "skip lr=0.01", "skip lr=0.02"}


def test_recipes_have_sections_of_their_own(write_run: Callable[..., Path], tmp_path: Path) -> None:
    """Methods of different recipes share no table, even where all their options are the same."""
    for recipe in ("published", "matched"):
        for strategy in ("mmt", "zeros"):
            write_run(f"{strategy}-{recipe}", strategy, recipe=recipe)
    found = sections(tmp_path / "runs")
    assert [(section.recipe, labels(section)) for section in found] == [
        ("matched", {"mmt", "zeros"}),
        ("published", {"mmt", "zeros"}),
    ]
    assert len({section.data for section in found}) == 1
    assert [section.title.rpartition(", ")[2] for section in found] == ["matched recipe", "published recipe"]
    options = [
        run.options for section in found for method in section.methods if method.label == "zeros" for run in method.runs
    ]
    assert {**options[0], "recipe": ""} == {**options[1], "recipe": "", "out": options[0]["out"]}


def test_other_data_are_another_section(write_run: Callable[..., Path], tmp_path: Path) -> None:
    write_run("usual")
    write_run("other-division", protocol="ek90")
    write_run("other-split", split="test")
    write_run("other-modalities", modalities=("audio", "rgb"))
    write_run("other-segments", n=59, lacking=7)
    relabelled = write_run("other-labels") / "subsets.parquet"
    table = pd.read_parquet(relabelled)
    others = {name: (table[name] + 1) % 4 for name in ("verb_label", "verb_pred")}
    table.assign(**others).to_parquet(relabelled)
    write_run("other-data", dataset="ego4d-ar")
    write_run("the-same", "zeros")
    found = sections(tmp_path / "runs")
    assert sorted(len(section.methods) for section in found) == [1] * 6 + [2]
    assert len({section.title for section in found}) == 5  # segments and labels are not told by a title


def test_action_is_the_main_task(many_runs: Path) -> None:
    first, second = sections(many_runs)
    assert {first.tasks, second.tasks} == {("action", "verb", "noun"), ("action",)}
