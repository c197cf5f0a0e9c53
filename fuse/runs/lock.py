"""One process at a time writes a run's folder. A finished run is only read, and needs no right to write."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from mmcache.fuse.runs.files import SUMMARY_FILE
from mmcache.fuse.runs.progress import Progress
from mmcache.store.ground.lock import InUseError, writer_lock

_WAIT_S = 7 * 24 * 3600.0  # for another process that trains a run that this one builds on
_WHAT = "the run"


@contextlib.contextmanager
def writing_run(path: Path, waiting: Progress | None = None) -> Iterator[None]:
    """Hold the right to write the run in `path`.

    Args:
        waiting: wait for another process that is at it, and tell this progress so; None = raise.

    Raises:
        InUseError: another process is at it.
    """
    with contextlib.ExitStack() as held:
        if not (path / SUMMARY_FILE).exists():
            try:
                held.enter_context(writer_lock(path, what=_WHAT))
            except InUseError as error:
                if waiting is None:
                    raise
                waiting.stage(f"waiting for {path}", [f"another process (pid {error.holder}) is training it"])
                held.enter_context(writer_lock(path, _WAIT_S, what=_WHAT))
        yield
