"""A worker: a process that keeps torch, the stores and their tokens loaded, and trains group after group."""

import dataclasses
import queue
import threading
import time
from pathlib import Path
from typing import Any

import torch
from ray import tune

from mmcache.fuse.sweep.events import FAILED, FINISHED, Event, Teller
from mmcache.fuse.sweep.groups import Request, reason_of, run_group, unpack_requests
from mmcache.store.feature_store import FeatureStore
from mmcache.store.load.batch_source import SharedTokens

GROUP = "group"  # the key of Tune's config that holds the requests, as JSON
_TELL_EVERY_S = 0.2
_END_S = 10.0  # how long a group may take to end when it is told to


@dataclasses.dataclass(frozen=True)
class Shared:
    """What all workers of a sweep get.

    Attributes:
        tokens: store -> references to SharedTokens in Ray's shared memory.
        threads: of torch.
        task: whose accuracy on what picks the epoch is told; None = the one that picks the epoch.
        always: train groups as one even where one after another would be faster.
        in_step: train no epoch before the scheduler has said that the trial goes on.
    """

    tokens: dict[Path, list[Any]]
    threads: int
    task: str | None
    in_step: bool
    always: bool = False


class _Ended(BaseException):
    """Raised in a training to end it; its folder keeps what was done up to the last epoch."""


class GroupWorker(tune.Trainable):
    """Ray Tune's side of a worker: a group is trained in a thread, `step` hands over what it told meanwhile."""

    _held: bool = False  # an epoch that the scheduler has not answered yet

    def setup(self, config: dict[str, Any], shared: Shared | None = None) -> None:
        assert shared is not None
        self._shared = shared
        self._stores: dict[tuple[Path, str | None], FeatureStore] = {}
        torch.set_num_threads(shared.threads)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next group; False where the one before would not end, so that another process must."""
        if not self._end():
            return False
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Wait for news of the group; the news, and `done` when there will be no more."""
        if self._held:
            self._held = False
            self._go.release()
        events: list[Event] = []
        until = time.monotonic() + _TELL_EVERY_S
        while True:
            try:
                event = self._events.get(timeout=max(0.0, until - time.monotonic()) if events else None)
            except queue.Empty:
                break
            if event is None:
                return {"events": events, "done": True}
            events.append(event)
            if event.get("held"):
                self._held = True  # until the next step, which comes if the scheduler wants it to
                break
        figures = {name: events[-1][name] for name in ("epoch", "validation") if self._held}
        return {"events": events, "done": False, **figures}

    def cleanup(self) -> None:
        self._end()

    def _begin(self, config: dict[str, Any]) -> None:
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._go = threading.Semaphore(0)
        self._held = False
        self._told_to_end = threading.Event()
        requests = unpack_requests(config[GROUP])
        self._thread = threading.Thread(target=self._train, args=(requests,), daemon=True)
        self._thread.start()

    def _end(self) -> bool:
        """End the group if it is under way; whether it has ended."""
        self._told_to_end.set()
        self._go.release()
        self._thread.join(_END_S)
        return not self._thread.is_alive()

    def _train(self, requests: list[Request]) -> None:
        try:
            for request, outcome in run_group(requests, self._open, self._progress, self._shared.always):
                failed = isinstance(outcome, Exception)
                told = {"state": FAILED, "reason": reason_of(outcome)} if failed else {"state": FINISHED}  # type: ignore[arg-type]
                self._events.put({"identity": request.identity, **told})
        except _Ended:
            return
        self._events.put(None)

    def _progress(self, request: Request) -> Teller:
        held = self._shared.in_step and request.stoppable
        return Teller(request.identity, request.folder, self._shared.task, held, self._tell)

    def _tell(self, event: Event) -> None:
        self._events.put(event)
        if event.get("held"):
            self._go.acquire()
        if self._told_to_end.is_set():
            raise _Ended

    def _open(self, path: Path, protocol: str | None) -> FeatureStore:
        key = (path, protocol)
        if key not in self._stores:
            import ray

            store = FeatureStore.open(path, protocol=protocol)
            held: list[SharedTokens] = ray.get(self._shared.tokens.get(path, []))
            store.shared_tokens = held
            self._stores[key] = store
        return self._stores[key]
