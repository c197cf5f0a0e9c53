"""Files of a run that parse but hold a wrong type, size or name: one line that names file and field, never a number."""

import contextlib
import copy
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from mmcache.fuse import Model, evaluate, train
from mmcache.fuse.data.origin import origins_of
from mmcache.fuse.evaluation.measured import Wanted, measure
from mmcache.fuse.options.fields import fields_of, is_place
from mmcache.fuse.options.shared import SHARED, TeacherOptions
from mmcache.fuse.report import make_report
from mmcache.fuse.runs.config import check_content, check_run_config, read_run_config
from mmcache.fuse.runs.files import SEAL, last_epoch, read_metrics, read_summary
from mmcache.fuse.runs.folder import RunFolder
from mmcache.fuse.runs.subsets_file import read_subsets
from mmcache.fuse.sweep.space import Distribution
from mmcache.fuse.sweep.spec import Search
from mmcache.fuse.sweep.study import Study
from mmcache.fuse.teachers.compute import check_fits, teacher_name
from mmcache.store import ConfigError, FeatureStore, MmcacheError

PLACES = [
    (section, field.name)
    for section, kind in {**SHARED, "teacher": TeacherOptions}.items()
    for field in fields_of(kind)
    if is_place(field)
]
WRONG: list[Any] = ["text", -3, 10**12, 2.5, None, True, [], {}, [1, "x"]]


@pytest.fixture(scope="module")
def run(write_oracle_store: Callable[[int, int], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    options = {"epochs": 2, "width": 8, "heads": 2, "k": 4, "batch_size": 16, "device": "cpu"}
    return train("zeros", {**options, "store": write_oracle_store(60, 30), "out": out}).path


@pytest.fixture
def damaged(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "damaged"))


def leaves(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything below `content`, itself apart."""
    parts = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in parts:
        yield (*path, key)
        yield from leaves(value, (*path, key))


def changed(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy with another value at a path; `...` removes it."""
    out = copy.deepcopy(content)
    place = out
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return out


def same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and a == b


def at(content: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        content = content[key]
    return content


def test_any_change_to_config_yaml_but_of_places_is_named(damaged: Path) -> None:
    path = damaged / "config.yaml"
    saved = yaml.safe_load(path.read_text())
    places = [("store",), *(("options", *place) for place in PLACES)]
    count = 0
    for where in leaves(saved):
        if where in places or where[0] == SEAL:
            continue
        for value in ("text", ..., 10**12) if len(where) > 1 else (*WRONG, ...):
            if value is not ... and same(value, at(saved, where)):
                continue
            with pytest.raises(ConfigError, match=r"config\.yaml") as caught:
                check_content(changed(saved, where, value), path)
            assert "\n" not in str(caught.value)
            assert len(str(caught.value)) < 800
            count += 1
    assert count > 300
    assert check_content(saved, path) == saved
    path.write_text(yaml.safe_dump({**saved, "store": "moved.zarr"}))
    assert check_run_config(damaged)["store"] == "moved.zarr", "places may be edited"


def test_modalities_in_another_order_are_another_model(damaged: Path) -> None:
    """Weights are found by the place of a modality; tasks and options are found by name, in any order."""
    path = damaged / "config.yaml"
    saved = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(saved, sort_keys=True))
    assert evaluate(damaged, fresh=True)["n"] == 30
    saved["model"]["modalities"] = dict(reversed(saved["model"]["modalities"].items()))
    path.write_text(yaml.safe_dump(saved, sort_keys=False))
    with pytest.raises(ConfigError, match="model is not what it was when the run was trained"):
        Model.load(damaged)


def readers(folder: Path, store: FeatureStore) -> dict[str, Callable[[], Any]]:
    """Every command that reads a run, short of what costs seconds."""
    return {
        "evaluate": lambda: measure(folder, evaluate(folder), Wanted()),
        "evaluate --fresh": lambda: evaluate(folder, fresh=True),
        "report": lambda: make_report([folder]),
        "predict": lambda: (read_run_config(folder), origins_of(folder), Model.load(folder)),
        "teacher": lambda: (check_fits(folder, store), teacher_name(folder)),
        "init_from": lambda: train(
            "zeros",
            {"init_from": folder, "store": store.path, "width": 8, "heads": 2, "k": 4, "epochs": 1, "device": "cpu"}
            | {"out": folder.with_name("started")},
        ),
        "sweep": lambda: (read_summary(folder / "summary.json"), read_metrics(folder / "metrics.jsonl")),
    }


def use(folder: Path, store: FeatureStore, only: tuple[str, ...] = ()) -> None:
    """Whatever the files hold, each reader ends well or with one of our own errors."""
    for name, read in readers(folder, store).items():
        if only and name not in only:
            continue
        with contextlib.suppress(MmcacheError):
            read()
        shutil.rmtree(folder.with_name("started"), ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("section", ["options", "model", "tokens", "eval_split", "store", "dataset"])
def test_a_config_without_digests_ends_no_reader_in_a_bug(section: str, run: Path, damaged: Path) -> None:
    """Written without digests: what has the right type is believed, and nothing else is."""
    path = damaged / "config.yaml"
    saved = yaml.safe_load(path.read_text())
    store = FeatureStore.open(saved["store"])
    del saved[SEAL]
    only = ("evaluate", "report") if section == "options" else ("evaluate", "report", "predict", "teacher", "init_from")
    for where in ((section,), *((section, *rest) for rest in leaves(saved[section]))):
        for value in (*WRONG, ...):
            new = changed(saved, where, value)
            try:
                check_content(new, path)
            except ConfigError:
                continue  # as every reader begins with
            path.write_text(yaml.safe_dump(new))
            use(damaged, store, only)


@pytest.mark.parametrize("name", ["summary.json", "metrics.jsonl"])
def test_numbers_of_the_wrong_type_or_size_are_named_with_their_field(name: str, damaged: Path) -> None:
    path = damaged / name
    read = read_summary if name == "summary.json" else read_metrics
    lines = [json.loads(line) for line in path.read_text().splitlines()] if name == "metrics.jsonl" else []
    saved = lines[1] if lines else json.loads(path.read_text())
    used = {
        "split",
        "n",
        "subsets",
        "rates",
        "drop",
        "summary",
        "train_seconds",
        "epoch",
        "loss",
        "validation",
        "seconds",
    }
    refused = 0
    for where in leaves(saved):
        if where[0] not in used:
            continue
        for value in ("text", -3, 10**12, [], float("nan"), True):
            new = changed(saved, where, value)
            path.write_text("".join(json.dumps(line) + "\n" for line in (lines[0], new)) if lines else json.dumps(new))
            if where[0] == "split" and value == "text":
                continue
            free = where[0] in ("loss", "seconds", "train_seconds", "n") or where[:1] == ("summary",)
            if free and value in (-3, 10**12) and value is not True:
                continue  # a number that may be
            with pytest.raises(ConfigError, match=name) as caught:
                read(path)
            assert str(where[0]) in str(caught.value)
            assert "\n" not in str(caught.value)
            refused += 1
    assert refused > 15


def test_lines_of_two_commands_in_one_file_are_named(damaged: Path) -> None:
    path = damaged / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], lines[0], lines[1]]))
    with pytest.raises(ConfigError, match=r"line 2 of .*metrics\.jsonl has epoch 0 where 1 is expected"):
        read_metrics(path)
    path.write_text("".join([*lines, '{"epoch": 2, "lo']))
    assert len(read_metrics(path, 2)) == 2, "the line of an epoch that a stop cut short is not looked at"
    path.write_text(lines[0])
    with pytest.raises(ConfigError, match="has 1 lines, and 2 epochs are done"):
        read_metrics(path, 2)


TABLE: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "no complete segment is whole": lambda t: t.drop(index=t.index[0]),
    "twice": lambda t: pd.concat([t, t.iloc[:1]]),
    "confidence_above_one": lambda t: t.assign(class_confidence=t["class_confidence"] + 1),
    "confidence_nan": lambda t: t.assign(class_confidence=np.float32("nan")),
    "top1_turned": lambda t: t.assign(class_top1=~t["class_top1"]),
    "top1_text": lambda t: t.assign(class_top1="True"),
    "top1_numbers": lambda t: t.assign(class_top1=t["class_top1"].astype(int)),
    "label_too_large": lambda t: t.assign(class_label=10**6),
    "label_text": lambda t: t.assign(class_label=t["class_label"].astype(str)),
    "id_numbers": lambda t: t.assign(id=range(len(t))),
    "subset_unknown": lambda t: t.assign(subset=t["subset"] + "+smell"),
    **{f"without {name}": lambda t, name=name: t.drop(columns=name) for name in ("id", "subset", "class_top5")},
}


@pytest.mark.parametrize("edit", TABLE.values(), ids=TABLE)
def test_a_table_that_is_not_what_scoring_writes_gives_no_numbers(
    edit: Callable[[pd.DataFrame], pd.DataFrame], damaged: Path
) -> None:
    path, saved = damaged / "subsets.parquet", check_run_config(damaged)
    whole = read_subsets(path, saved)
    edit(whole).to_parquet(path, index=False)
    with pytest.raises(ConfigError, match=r"subsets\.parquet is damaged .*`mmcache evaluate --fresh` makes it again"):
        evaluate(damaged)
    evaluate(damaged, fresh=True)
    pd.testing.assert_frame_equal(read_subsets(path, saved), whole)


def test_notes_of_pandas_that_are_damaged_are_named(damaged: Path) -> None:
    path, saved = damaged / "subsets.parquet", check_run_config(damaged)
    table = pq.read_table(path)
    notes = table.schema.metadata[b"pandas"]
    assert b'"numpy_type"' in notes
    damaged_notes = {b"pandas": notes.replace(b'"numpy_type"', b'"numpy_typo"')}
    pq.write_table(table.replace_schema_metadata(damaged_notes), path)
    with pytest.raises(ConfigError, match=r"is damaged .*what pandas has noted of its columns lacks .*numpy_type"):
        read_subsets(path, saved)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda name, tensor: {}, "is not in it"),
        (lambda name, tensor: {name: tensor.double()}, "float64, and the model has"),
        (lambda name, tensor: {name: tensor[..., :1].contiguous()}, "and the model has"),
        (lambda name, tensor: {name: tensor * torch.nan}, "holds NaN or infinity"),
        (lambda name, tensor: {name: tensor, "other": tensor.clone()}, "other is no tensor of the model"),
    ],
    ids=["missing", "type", "shape", "nan", "more"],
)
def test_weights_of_the_wrong_type_or_size_are_named(edit: Callable, said: str, damaged: Path) -> None:
    path = damaged / "model.safetensors"
    tensors = load_file(path)
    name = next(name for name, tensor in tensors.items() if tensor.ndim == 2 and tensor.shape[1] > 1)
    tensor = tensors.pop(name)
    save_file({**tensors, **edit(name, tensor)}, path)
    with pytest.raises(ConfigError, match=rf"model\.safetensors is damaged.*{said}") as caught:
        Model.load(damaged)
    assert "train again" in str(caught.value)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("option", "value"), [("width", 10**9), ("depth", 10**9), ("ffn_ratio", 1e12)])
def test_an_absurd_size_takes_no_memory(option: str, value: float, damaged: Path) -> None:
    path = damaged / "config.yaml"
    saved = yaml.safe_load(path.read_text())
    del saved[SEAL]
    saved["options"]["network"][option] = value
    path.write_text(yaml.safe_dump(saved))
    with pytest.raises(
        ConfigError, match=r"belongs to another model|is damaged or of another model|describes no network"
    ):
        Model.load(damaged)


@pytest.mark.parametrize(
    "line", ["[1]", "{}", '{"lr": "x", "n": 3}', '{"lr": 1e9, "n": 3}', '{"lr": 0.01, "n": 2.5}', "{", "[" * 99_999]
)
def test_points_of_a_search_that_are_none_are_named(line: str, tmp_path: Path) -> None:
    search = Search(4, {"lr": Distribution(loguniform=(1e-3, 1e-1)), "n": Distribution(integer=(1, 5))})
    path = tmp_path / "zeros-0.jsonl"
    path.write_text(f'{{"lr": 0.01, "n": 3}}\n{line}\n')
    with pytest.raises(ConfigError, match=r"^line 2 of .*zeros-0\.jsonl is"):
        Study(search, path, "zeros-0")


@pytest.mark.parametrize("name", ["config.yaml", "model.safetensors"])
def test_a_finished_run_that_lost_a_file_is_not_called_unfinished(name: str, damaged: Path) -> None:
    (damaged / name).unlink()
    with pytest.raises(ConfigError, match=rf"{name} is gone\). Restore it, or remove the run's folder"):
        read_run_config(damaged)


@pytest.mark.parametrize("kind", ["FIFO", "device", "folder"])
def test_no_file_of_a_run_is_waited_for(kind: str, run: Path, damaged: Path) -> None:
    """What is no regular file is an error in words, whichever file of a run it stands for."""
    makes = {"FIFO": os.mkfifo, "device": lambda p: p.symlink_to("/dev/zero"), "folder": Path.mkdir}
    saved = read_run_config(run)
    identity = (run / "identity").read_text()
    readers: dict[str, Callable[[Path], Any]] = {
        "config.yaml": lambda path: read_run_config(path.parent),
        "model.safetensors": lambda path: read_run_config(path.parent),
        "summary.json": read_summary,
        "metrics.jsonl": last_epoch,
        "subsets.parquet": lambda path: read_subsets(path, saved),
        "identity": lambda path: RunFolder(path.parent, identity),
    }
    assert set(readers) == {path.name for path in damaged.iterdir()} - {"curves.svg"}
    for name, read in readers.items():
        path = damaged / name
        path.unlink()
        makes[kind](path)
        with pytest.raises(MmcacheError, match=name if name != "identity" else "holds another run or other files"):
            read(path)
        path.rmdir() if kind == "folder" else path.unlink()
        shutil.copy(run / name, path)
