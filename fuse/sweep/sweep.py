"""A sweep from its spec to its results: plan, connect, share the tokens, let Ray Tune hand out the trials.

The run folders are the truth: what is finished there is never trained again, and what was begun goes on from its last
epoch. Tune's own records are kept in a folder that is thrown away.
"""

import dataclasses
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from mmcache.common.interrupts import Interrupted
from mmcache.common.ray_link import connected
from mmcache.fuse.runs.folder import BUILT_ON_FILE
from mmcache.fuse.sweep.board import Board, Standing
from mmcache.fuse.sweep.events import ENDS
from mmcache.fuse.sweep.groups import AUTO, OFF
from mmcache.fuse.sweep.nodes import check_nodes
from mmcache.fuse.sweep.sharing import object_store_bytes, portions, put_tokens
from mmcache.fuse.sweep.spec import SPEC_FILE, SweepSpec, saved_spec
from mmcache.fuse.sweep.trials import Planner
from mmcache.fuse.training.stores import newest_store
from mmcache.store.files.atomic import atomic_write
from mmcache.store.ground.errors import ConfigError
from mmcache.store.ground.lock import writer_lock

_DONE_FILE = "sweep.done"  # holds the identity of the sweep that was finished last
_TUNE_FOLDER = ".tune"
_DEATHS = 4  # of workers under one group, before it counts as failed


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A sweep that is planned.

    Attributes:
        out: its folder, absolute.
        planner: its trials; those of a search come while it runs.
    """

    spec: SweepSpec
    out: Path
    planner: Planner

    def board(self, changed: Callable[[Standing], None]) -> Board:
        """How all trials known so far stand."""
        board = Board(changed, self.spec.search.task if self.spec.search is not None else None)
        for trial in self.planner.trials.values():
            board.add(trial)
        return board


def plan_sweep(spec: SweepSpec, out: Path | None = None, name: str = "sweep") -> Sweep:
    """Resolve every trial against its store.

    Args:
        out: the sweep's folder; None = runs/<name>-<identity>.

    Raises:
        ConfigError: everything that is wrong, named once.
    """
    # Where they lie is written down with the sweep: later, another one may be the newest.
    notes: list[str] = []
    spec = dataclasses.replace(spec, stores=[path.absolute() for path in spec.stores or [newest_store(notes)]])
    folder = (out or Path("runs") / f"{name}-{spec.identity}").absolute()
    planner = Planner(spec, folder)
    planner.notes += notes
    planner.make_all()
    return Sweep(spec, folder, planner)


def run_sweep(
    sweep: Sweep,
    changed: Callable[[Standing], None] = lambda standing: None,
    *,
    address: str | None = None,
    resume: bool = False,
    pack: str | int = AUTO,
) -> Board:
    """Train what is not trained yet.

    Args:
        changed: told of every trial whose standing changes.
        address: of a Ray cluster; None = this machine alone.
        resume: go on in a folder where a sweep was begun, be it another one.
        pack: auto, off, or how many trials are trained together at most.

    Returns:
        How every trial ended.

    Raises:
        ConfigError: the folder holds an unfinished other sweep, or the cluster cannot be used.
        StoreError: another process is at the same sweep.
        Interrupted: Ctrl-C or SIGTERM.
    """
    if pack not in (AUTO, OFF) and not (isinstance(pack, int) and pack >= 1):
        raise ConfigError(f"--pack {pack}: expected auto, off, or a number from 1 up")
    sweep.out.parent.mkdir(parents=True, exist_ok=True)
    with writer_lock(sweep.out, what="the sweep"):
        _claim(sweep, resume)
        _list_built_on(sweep)
        board = sweep.board(changed)
        if not board.all_ended or sweep.spec.search is not None:
            _train(sweep, board, address, pack)
        _list_built_on(sweep)
        if all(standing.state in ENDS for standing in board.standings.values()):
            atomic_write(sweep.out / _DONE_FILE, sweep.spec.identity.encode())
    return board


def _claim(sweep: Sweep, resume: bool) -> None:
    """Write the spec into the sweep's folder, if that is free for it."""
    out, path = sweep.out, sweep.out / SPEC_FILE
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out} is a file; name a folder")
    if not path.exists():
        if resume:
            raise ConfigError(f"--resume: no sweep was begun in {out}. Leave --resume out to begin it.")
        if out.exists() and any(out.iterdir()):
            raise ConfigError(f"{out} holds other files; give another --out")
    elif not resume:
        held = saved_spec(out).identity
        done = (out / _DONE_FILE).read_bytes().decode(errors="replace") if (out / _DONE_FILE).is_file() else None
        if held not in (sweep.spec.identity, done):
            raise ConfigError(
                f"{out} holds another sweep that is not finished. Give another --out; or --resume, to run this sweep "
                "there and keep what is trained already."
            )
    out.mkdir(parents=True, exist_ok=True)
    atomic_write(path, yaml.safe_dump(sweep.spec.plain(), sort_keys=False).encode())


def _list_built_on(sweep: Sweep) -> None:
    """List the runs that only others build on: no table of results has them."""
    names = [trial.folder.name for trial in sweep.planner.trials.values() if trial.role != "trial"]
    atomic_write(sweep.out / BUILT_ON_FILE, "".join(f"{name}\n" for name in names).encode())


def _train(sweep: Sweep, board: Board, address: str | None, pack: str | int) -> None:
    resources = sweep.spec.resources
    wanted = portions(sweep.planner)
    _quieten()
    with connected(address, object_store_bytes(wanted)) as ray:
        has_gpus = ray.cluster_resources().get("GPU", 0) > 0
        gpus = float(has_gpus) if resources.gpus is None else resources.gpus
        room = check_nodes(ray, sweep.out, sweep.planner.stores, resources.cpus, gpus)
        at_once = min(room, resources.concurrent or room)
        tokens = put_tokens(ray, wanted)
        interrupted = _tune(sweep, board, tokens, gpus, at_once, pack)
    if interrupted:
        ended = sum(standing.state in ENDS for standing in board.standings.values())
        raise Interrupted(
            f"stopped with {ended} of {len(board.standings)} trials ended. What was done is kept in {sweep.out}; the "
            "same command goes on from there."
        )


def _tune(
    sweep: Sweep, board: Board, tokens: dict[Path, list[Any]], gpus: float, at_once: int, pack: str | int
) -> bool:
    """Let Ray Tune run what is left; whether it was interrupted."""
    from ray import tune

    from mmcache.fuse.sweep.agenda import Agenda, Losses
    from mmcache.fuse.sweep.worker import GroupWorker, Shared

    spec = sweep.spec
    studies = _studies(sweep)
    points = max(1, at_once // max(1, len(studies)))
    agenda = Agenda(sweep.planner, board, pack, studies, at_once, points, spec.asha is not None)
    shared = Shared(
        tokens=tokens,
        threads=max(1, int(spec.resources.cpus)),
        task=spec.search.task if spec.search is not None else None,
        in_step=spec.asha is not None,
        always=isinstance(pack, int),
    )
    folder = sweep.out / _TUNE_FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    worker = tune.with_resources(
        tune.with_parameters(GroupWorker, shared=shared), {"cpu": spec.resources.cpus, "gpu": gpus}
    )
    tuner = tune.Tuner(
        worker,
        tune_config=tune.TuneConfig(
            search_alg=agenda,
            scheduler=_scheduler(sweep),
            num_samples=-1,
            max_concurrent_trials=at_once,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=str(folder),
            failure_config=tune.FailureConfig(max_failures=_DEATHS - 1),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # run folders are what goes on
            callbacks=[Losses(agenda.lose)],
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    except KeyboardInterrupt:
        return True
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return False


def _scheduler(sweep: Sweep) -> Any:
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

    asha = sweep.spec.asha
    if asha is None:
        return FIFOScheduler()
    longest = max((trial.options.optimiser.epochs for trial in sweep.planner.samples), default=1)
    return ASHAScheduler(
        time_attr="epoch",
        metric="validation",
        mode="max",
        max_t=max(longest, asha.grace),
        grace_period=asha.grace,
        reduction_factor=asha.factor,
        stop_last_trials=False,  # they are to be evaluated
    )


def _studies(sweep: Sweep) -> list[Any]:
    from mmcache.fuse.sweep.study import Study

    search = sweep.spec.search
    if search is None:
        return []
    out = []
    for number, store in enumerate(sweep.planner.stores):
        for strategy in sweep.spec.strategies:
            name = f"{strategy}-{number}"
            out.append((Study(search, sweep.out / "search" / f"{name}.jsonl", name), store, strategy))
    return out


def _quieten() -> None:
    """Tune says much that is told better by the board."""
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["TUNE_DISABLE_STRICT_METRIC_CHECKING"] = "1"  # teachers report none, so that none stops them early
    os.environ["TUNE_PRINT_ALL_TRIAL_ERRORS"] = "0"
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "100000"
    os.environ["TUNE_WARN_THRESHOLD_S"] = "1000"
    os.environ["TUNE_FORCE_TRIAL_CLEANUP_S"] = "15"
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # the run folders need no goodbye
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"
    for name in ("ray.tune", "ray.train", "ray.air"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
