"""Strategies and fusions of one's own: the examples go through every command, and nothing is imported unasked."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from mmcache.common.plugins import PluginError
from mmcache.fuse import Model, evaluate, train
from mmcache.fuse.deploy.export import export_run
from mmcache.fuse.options import components
from mmcache.fuse.options.components import name_plugins
from mmcache.fuse.options.recipes import MATCHED
from mmcache.fuse.options.resolve import resolve_options
from mmcache.fuse.packing.groups import why_alone
from mmcache.fuse.report import make_report, render
from mmcache.fuse.sweep.groups import Request, pack_requests, unpack_requests
from mmcache.fuse.sweep.spec import make_spec
from mmcache.fuse.sweep.trials import Planner
from mmcache.store.ground.errors import ConfigError

PLUGINS = Path(__file__).parents[3] / "examples" / "plugins"
STRATEGY, FUSION = f"{PLUGINS / 'consistency.py'}:Consistency", f"{PLUGINS / 'gated.py'}:GatedSum"
SMALL = {"width": 16, "heads": 2, "epochs": 3, "batch_size": 8, "k": 4, "device": "cpu"}


@pytest.fixture(autouse=True)
def nothing_named() -> Iterator[None]:
    """Each test begins as a new command does: with no plugin named."""
    components._named.clear()
    yield
    components._named.clear()


@pytest.fixture(scope="module")
def store(write_small_store: Callable[..., Path]) -> Path:
    return write_small_store(["train"] * 24 + ["test"] * 12)


@pytest.fixture
def run(store: Path, tmp_path: Path) -> Path:
    return train(STRATEGY, {**SMALL, "store": store, "out": tmp_path / "mine", "agreement": 0.3}).path


def options(**more: Any) -> Any:
    return resolve_options(STRATEGY, {"test": {**SMALL, **more}})


def test_a_strategy_has_its_options_and_no_others() -> None:
    made = options(agreement=0.25)
    assert made.own.agreement == 0.25
    assert made.name == made.strategy == "Consistency"
    assert why_alone(made) is None
    with pytest.raises(ConfigError, match=r"s_mode.* belongs to the handler karmma \(strategy karmma\)"):
        options(s_mode="missing")
    with pytest.raises(ConfigError, match="agreement"):
        resolve_options("mmt", {"test": {"agreement": 0.3}})
    assert resolve_options(STRATEGY, {}, MATCHED).masks.sampler == "bernoulli_keep_one"


def test_its_term_counts_after_the_first_epochs(run: Path) -> None:
    from mmcache.fuse.runs.files import METRICS_FILE, read_metrics

    lines = read_metrics(run / METRICS_FILE)
    assert ["agreement" in line for line in lines] == [False, True, True]
    assert all(line["loss"] == pytest.approx(line["ce"] + 0.3 * line.get("agreement", 0.0), rel=1e-5) for line in lines)


def test_a_run_is_read_only_where_its_plugin_is_named(run: Path, tmp_path: Path) -> None:
    assert "Consistency" in evaluate(run)["run"] or evaluate(run)["n"] == 12  # the kept table needs no network
    components._named.clear()
    with pytest.raises(
        ConfigError, match=r"nothing is imported because a run says so.*--plugin path/to/file\.py:Consistency"
    ):
        Model.load(run)
    name_plugins([STRATEGY])
    assert evaluate(run, fresh=True)["n"] == 12
    other = tmp_path / "consistency.py"
    other.write_text((PLUGINS / "consistency.py").read_text() + "# changed\n")
    name_plugins([f"{other}:Consistency"])
    with pytest.raises(ConfigError, match="of another source"):
        Model.load(run)


def test_reports_and_files_for_other_runtimes(run: Path, tmp_path: Path) -> None:
    assert "Consistency" in render(make_report([run], "mine"), "md")
    exported = export_run(run, tmp_path / "mine.pt2")
    assert exported.difference < 1e-4
    assert exported.metadata["strategy"] == "Consistency"


def test_a_fusion(store: Path, tmp_path: Path) -> None:
    flags = {**SMALL, "fusion": FUSION, "head": "linear", "gate_bias": 1.0, "store": store, "out": tmp_path / "gated"}
    del flags["heads"]
    with pytest.raises(ConfigError, match="heads is not used"):
        train("dropout", {**flags, "heads": 2})
    run = train("dropout", flags).path
    model = Model.load(run)
    assert type(model.fusion).__name__ == "GatedSum"
    components._named.clear()
    with pytest.raises(ConfigError, match=r"its fusion is the plugin 'GatedSum'"):
        Model.load(run)


def test_modalities_in_another_order_change_nothing(store: Path, tmp_path: Path) -> None:
    flags = {**SMALL, "fusion": FUSION, "head": "linear", "store": store, "out": tmp_path / "gated"}
    del flags["heads"]
    run = train("moddrop", flags).path
    model, other = Model.load(run), Model.load(run)
    other.permute([1, 0])
    tokens = {name: torch.randn(3, t, d) for name, (_, t, d) in model.spec.modalities.items()}
    present = torch.tensor([[True, True], [True, False], [False, True]])
    expected, got = model(tokens, present), other(tokens, present.flip(1))
    assert all(torch.allclose(values, got[task], atol=1e-5) for task, values in expected.items())


def test_a_sweep_ships_the_plugin_to_its_workers(store: Path, tmp_path: Path) -> None:
    content = {"strategies": ["mmt", STRATEGY], "stores": [str(store)], "with_controls": True, "fuse": SMALL}
    planner = Planner(make_spec(content, "test"), tmp_path / "out")
    planner.make_all()
    labels = {trial.method for trial in planner.trials.values()}
    assert labels == {"mmt", "Consistency", "dropout (control of mmt)", "moddrop (control of Consistency)"}
    packed = pack_requests([Request.of(trial, planner.trials) for trial in planner.trials.values()])
    components._named.clear()  # a worker is another process
    requests = unpack_requests(packed)
    assert {request.options.name for request in requests} == {"mmt", "Consistency", "dropout", "moddrop"}
    assert [request.identity for request in requests] == list(planner.trials)


def test_a_worker_refuses_another_source(store: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(PLUGINS / "consistency.py", tmp_path / "mine.py"))
    content = {"strategies": [f"{copy}:Consistency"], "stores": [str(store)], "fuse": SMALL}
    planner = Planner(make_spec(content, "test"), tmp_path / "out")
    planner.make_all()
    packed = pack_requests([Request.of(trial, planner.trials) for trial in planner.trials.values()])
    copy.write_text(copy.read_text() + "# changed\n")
    with pytest.raises(PluginError, match="has other source here"):
        unpack_requests(packed)


def test_what_is_no_strategy_is_named(tmp_path: Path) -> None:
    other = tmp_path / "other.py"
    other.write_text("class Other:\n    pass\n")
    with pytest.raises(ConfigError, match="cannot be used as strategy: it is no subclass of Strategy"):
        resolve_options(f"{other}:Other", {})
    with pytest.raises(ConfigError, match=r"has no 'Missing'\. It defines: Other"):
        resolve_options(f"{other}:Missing", {})


def test_examples_are_short() -> None:
    for path in PLUGINS.glob("*.py"):
        assert len(path.read_text().splitlines()) < 60, path
