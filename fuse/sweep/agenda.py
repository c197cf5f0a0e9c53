"""What Ray Tune asks for more work: hands out groups of trials as soon as what they build on is finished."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.search import Searcher

from mmcache.fuse.sweep.board import Board
from mmcache.fuse.sweep.events import ENDS, WAITING
from mmcache.fuse.sweep.groups import OFF, Request, form_groups, pack_requests
from mmcache.fuse.sweep.study import Study
from mmcache.fuse.sweep.trials import Planner, Trial
from mmcache.fuse.sweep.worker import GROUP
from mmcache.store.ground.errors import ConfigError


@dataclasses.dataclass
class _Asked:
    """A point of a study whose trials are under way: one a seed."""

    study: Study
    number: int
    trials: list[str]


class Losses(Callback):
    """Tells the agenda of groups that Ray Tune has given up."""

    def __init__(self, lose: Callable[[str, str], None]) -> None:
        self._lose = lose

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        path = Path(trial.error_file or "")
        self._lose(trial.trial_id, path.read_text() if path.is_file() else "")

    def __reduce__(self) -> Any:
        return Callback, ()


class Agenda(Searcher):
    """Teachers come first, then what is ready, in the order of the sweep; a worker goes on with whatever is next.

    A searcher to Ray Tune, which asks it for a config whenever there is room for one more worker.

    Args:
        pack: see form_groups.
        studies: (study, store, strategy) of the searches; more of their points are chosen as trials end.
        workers: how many groups there is room for.
        at_once: points of one study under way.
        stops_early: whether a trial that ends without news of it was ended by the scheduler.
    """

    def __init__(
        self,
        planner: Planner,
        board: Board,
        pack: str | int,
        studies: list[tuple[Study, Path, str]],
        workers: int,
        at_once: int,
        stops_early: bool,
    ) -> None:
        super().__init__(metric="validation", mode="max")
        self._planner, self._board, self._pack = planner, board, pack
        self._workers = workers
        self._studies, self._at_once, self._stops_early = studies, at_once, stops_early
        self._asked: list[_Asked] = []
        self._groups: dict[str, list[Trial]] = {}  # Tune's id of a group -> its trials
        for study, store, strategy in studies:
            for number in range(study.chosen):
                self._take_up(study, store, strategy, number)
        self._tell_studies()

    def suggest(self, trial_id: str) -> Any:
        """The next group; None where others must end before there is one, FINISHED where no more will come."""
        ready = self._board.ready()
        self._tell_studies()
        if not ready and self._choose_points():
            ready = self._board.ready()
        if ready:
            ready.sort(key=lambda trial: trial.role == "trial")  # stable: the sweep's order otherwise
            first = [trial for trial in ready if (trial.role == "trial") == (ready[0].role == "trial")]
            group = form_groups(first, OFF if self._stops_early else self._pack, self._workers)[0]
            self._groups[trial_id] = group
            for trial in group:
                self._board.start(trial)
            return {GROUP: pack_requests([Request.of(trial, self._planner.trials) for trial in group])}
        waiting = any(standing.state == WAITING for standing in self._board.standings.values())
        return None if waiting or self._asked else Searcher.FINISHED

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        for event in result.get("events", []):
            self._board.take(event)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if result is not None:
            self.on_trial_result(trial_id, result)
        if not error and self._stops_early:
            for trial in self._groups.get(trial_id, []):
                self._board.stop_early(trial.identity)
        self._tell_studies()

    def lose(self, trial_id: str, error: str) -> None:
        """Note that a group's workers died too often; `error` is what Ray says of the last."""
        said = [line for line in error.splitlines() if line.strip()]
        for trial in self._groups.get(trial_id, []):
            self._board.fail(
                trial.identity,
                "its worker died again and again, perhaps for want of memory: give it more `resources`, or run fewer "
                f"at once. (Ray: {said[-1].strip()[:200] if said else 'no reason'})",
            )
        self._tell_studies()

    def _choose_points(self) -> bool:
        """Have the studies choose points, as many as may be under way; whether there is anything new."""
        any_new = False
        for study, store, strategy in self._studies:
            while sum(asked.study is study for asked in self._asked) < self._at_once:
                chosen = study.next_point()
                if chosen is None:
                    break
                self._take_up(study, store, strategy, chosen[0])
                any_new = True
        return any_new

    def _take_up(self, study: Study, store: Path, strategy: str, number: int) -> None:
        try:
            seeds = self._planner.spec.seeds
            trials = [self._planner.make(strategy, store, study.point(number), seed) for seed in seeds]
        except ConfigError as error:  # a combination of values that does not go together
            self._board.notes.append(f"{strategy}, {study.point(number)}: {error}")
            study.tell(number, None)
            return
        try:
            self._planner.make_controls(trials)
        except ConfigError as error:
            self._board.notes.append(str(error))
        for trial in self._planner.trials.values():
            self._board.add(trial)
        self._asked.append(_Asked(study, number, [trial.identity for trial in trials]))

    def _tell_studies(self) -> None:
        """Tell the studies of the points whose trials have all ended."""
        for asked in list(self._asked):
            if all(self._board.standings[name].state in ENDS for name in asked.trials):
                values = [self._board.objective(name) for name in asked.trials]
                known = [value for value in values if value is not None]
                asked.study.tell(asked.number, sum(known) / len(known) if len(known) == len(values) else None)
                self._asked.remove(asked)

    def __reduce__(self) -> Any:
        """Tune writes its searchers into its records; this one leaves nothing there."""
        return Searcher, ()

    def __deepcopy__(self, memo: dict[int, Any]) -> "Agenda":
        return self

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the run folders say how far the sweep is."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, as of `save`."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing, as of `save`."""
