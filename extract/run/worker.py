"""An extract worker: it decodes on threads, encodes on its device, and writes whole shards.

This is a plain class; the pipeline makes Ray actors of it. Decoding the next segments overlaps with encoding the
current ones.
"""

import dataclasses
import faulthandler
import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmcache.common.plugin_faults import fault_in, plugin_faults
from mmcache.extract.encoders import build_encoder
from mmcache.extract.encoders.base.encoder import Encoder
from mmcache.extract.encoders.base.views import part_of_view, view_of
from mmcache.extract.media import MediaError, NoMedia, read_media
from mmcache.extract.media.base.source import Source
from mmcache.extract.media.sample_media import sample_media
from mmcache.extract.planning.media_stamps import MediaStamp, stamp_of
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.format.layout import Presence
from mmcache.store.ground.errors import StoreError, UnstorableTokens
from mmcache.store.write.shard_commit import ShardCommit
from mmcache.store.write.token_writer import TokenWriter

PATIENCE_S = 300.0
_NETWORK_DISK_S = 5.0  # a network disk may show a new file this late
_MOST_MB = 3300.0  # larger files hold many segments, so reading one takes no longer
_AHEAD = 2  # batches being decoded beyond the one being encoded


@dataclasses.dataclass(frozen=True)
class Job:
    """One segment to process; without a source, it is missing.

    A `settled` segment is cached already: it is encoded with its window, but not written. `failed` is the reason if
    reading it kills or hangs workers; such a segment is not read again.
    """

    row: int
    segment: str
    start_s: float
    stop_s: float
    source: Source | None
    settled: bool = False
    failed: str | None = None


@dataclasses.dataclass(frozen=True)
class ShardTask:
    """One shard of one token array: the unit of work."""

    root: Path
    modality: str
    encoder: str
    weights: str
    k: int | None
    shard: int
    # Whole windows, rows ascending. The last bits of tokens depend on which segments are encoded together, so a window
    # always has the same rows, whichever of them a run has to process.
    windows: tuple[tuple[Job, ...], ...]
    views: int = 1
    mirrors: bool = False  # whether augmented views may be mirrored
    more: dict[str, Any] = dataclasses.field(default_factory=dict)  # further preprocessing, for the fingerprint
    encoder_sha256: str = ""  # what the source of a plugin must hash to here; "" for an encoder of mmcache
    patience_s: float = PATIENCE_S  # how long reading one view may take, plus a second for each MB of its files

    @property
    def to_settle(self) -> int:
        return sum(not job.settled for window in self.windows for job in window)


@dataclasses.dataclass
class Outcome:
    """The result of reading one segment: media (V, ...) ready to encode, or the reason for their absence."""

    job: Job
    status: Presence
    media: torch.Tensor | None = None
    note: str | None = None
    stamp: MediaStamp | None = None  # size and time of the files it was read from


class ExtractWorker:
    """Runs shard tasks one after another, and keeps the last encoder loaded.

    Args:
        threads: CPU threads for decoding, and for the network when there is no GPU.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        torch.set_num_threads(threads)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._loaded: tuple[tuple[str, str, str], Encoder] | None = None
        self._done = 0  # segments of the running task, for the progress bar
        self._stamps: dict[Source, MediaStamp | None] = {}  # of the running task; many segments share a file
        self._reads: dict[int, float] = {}  # row being read -> when it is overdue, on the monotonic clock
        self._stopping = False

    def missing_files(self, probe: Path, token: str, media: list[Path]) -> list[str]:
        """The paths among store and media that this process cannot find; waits some seconds for network disks."""
        until = time.monotonic() + _NETWORK_DISK_S
        while True:
            same_disk = probe.is_file() and probe.read_text() == token
            lacking = [
                *([] if same_disk else [str(probe.parent.parent)]),
                *(str(path) for path in media if not path.exists()),
            ]
            if not lacking or time.monotonic() > until:
                return lacking
            time.sleep(0.2)

    def prepare(
        self, encoder: str, weights: str, k: int | None, more: dict[str, Any] | None = None, sha256: str = ""
    ) -> Fingerprint:
        """Load an encoder and return the fingerprint of its tokens.

        Args:
            more: further preprocessing, for the fingerprint.
            sha256: what the source of a plugin must hash to.

        Raises:
            WeightsError: its weights cannot be loaded.
            PluginError: a plugin cannot be loaded here, or its source differs.
        """
        return self._encoder(encoder, weights, sha256).fingerprint(k, more)

    def record_crashes(self, path: Path) -> None:
        """Let the interpreter write to `path` why this process ends if it crashes."""
        self._trace = open(path, "wb")  # noqa: SIM115 - stays open while the process runs
        faulthandler.enable(self._trace, all_threads=False)

    def measure(self, task: ShardTask) -> float:
        """Seconds per segment, measured on the first window of `task`. Writes nothing."""
        encoder = self._encoder(task.encoder, task.weights, task.encoder_sha256)
        began = time.perf_counter()
        first = dataclasses.replace(task, windows=task.windows[:1])
        count = sum(len(window) for window in first.windows)
        for window in self._windows(first, encoder):
            self._encode(encoder, window)
        return (time.perf_counter() - began) / max(1, count)

    def control(self, task: ShardTask) -> None:
        """Encode noise with the encoder of `task`: if the worker survives this, the encoder is not what kills it."""
        encoder = self._encoder(task.encoder, task.weights, task.encoder_sha256)
        with plugin_faults():
            encoder.encode(encoder.preprocess(sample_media(encoder.info.request))[None])

    def progress(self) -> tuple[int, list[int]]:
        """Segments done of the running task, and the rows whose reading takes longer than allowed."""
        now = time.monotonic()
        return self._done, [row for row, until in list(self._reads.items()) if now > until]

    def stop(self) -> None:
        """Stop the running task after the current window; finished segments are kept."""
        self._stopping = True

    def run(self, task: ShardTask) -> int:
        """Encode and commit one shard, or the part finished when `stop` is called. Returns the number of segments."""
        self._done = 0
        encoder = self._encoder(task.encoder, task.weights, task.encoder_sha256)
        writer = TokenWriter(task.root, task.modality, encoder.info.name)
        encoder.fingerprint(task.k, task.more).check_same(writer.fingerprint, writer.path)
        with ShardCommit(writer, task.shard) as commit:
            for window in self._windows(task, encoder):
                self._settle(commit, window, self._encode(encoder, window))
                self._done += sum(not outcome.job.settled for outcome in window)
                if self._stopping:
                    break
        return self._done

    def _encoder(self, name: str, weights: str, sha256: str) -> Encoder:
        key = (name, weights, sha256)
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = None  # free the last one first
            self._loaded = key, build_encoder(name, weights, sha256).to(self._device)
        return self._loaded[1]

    def _windows(self, task: ShardTask, encoder: Encoder) -> Iterator[list[Outcome]]:
        """Yield the outcomes of each window in turn, while the next windows are being decoded."""
        self._stamps.clear()
        with ThreadPoolExecutor(self._threads, thread_name_prefix="mmcache-decode") as pool:
            pending: deque[list[Future[Outcome]]] = deque()
            windows = iter(task.windows)
            try:
                while True:
                    while len(pending) <= _AHEAD and (window := next(windows, None)) is not None:
                        pending.append([pool.submit(self._load, job, encoder, task) for job in window])
                    if not pending:
                        return
                    yield [future.result() for future in pending.popleft()]
            finally:
                for futures in pending:
                    for future in futures:
                        future.cancel()

    def _load(self, job: Job, encoder: Encoder, task: ShardTask) -> Outcome:
        """Read and preprocess one segment; also return size and time of its files from before the reading."""
        if job.source is None:
            return Outcome(job, Presence.MISSING)
        if job.source not in self._stamps:
            self._stamps[job.source] = stamp_of(job.source)
        before = self._stamps[job.source]
        if job.failed is not None:
            return Outcome(job, Presence.FAILED, note=job.failed, stamp=before)
        return dataclasses.replace(self._read(job, job.source, encoder, task), stamp=before)

    def _read(self, job: Job, source: Source, encoder: Encoder, task: ShardTask) -> Outcome:
        """Read one segment. Any failure becomes the segment's reason, never an exception."""
        try:
            views, note = [], None
            patience_s = task.patience_s + min(_MOST_MB, sum(map(_megabytes, source.paths)))
            for view in range(task.views):
                self._reads[job.row] = time.monotonic() + patience_s
                request = dataclasses.replace(encoder.info.request, part=part_of_view(job.segment, view))
                reading = read_media(source.of_segment(job.segment), job.start_s, job.stop_s, request)
                drawn = view_of(job.segment, view, task.mirrors)
                views.append(encoder.preprocess(reading.array, drawn, task.modality))
                note = note or reading.note
            return Outcome(job, Presence.CACHED, torch.stack(views), note)
        except NoMedia as reason:
            return Outcome(job, Presence.MISSING, note=str(reason))
        except (MediaError, StoreError) as reason:
            return Outcome(job, Presence.FAILED, note=str(reason))
        except Exception as error:  # an unexpected error of a decoder costs this segment only
            if fault := fault_in(error):
                return Outcome(job, Presence.FAILED, note=str(fault))
            return Outcome(job, Presence.FAILED, note=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        finally:
            self._reads.pop(job.row, None)

    def _encode(self, encoder: Encoder, window: list[Outcome]) -> NDArray[np.floating] | None:
        """(b, V, n, D) tokens of the window's segments that have media, one view at a time."""
        ready = [outcome.media for outcome in window if outcome.media is not None]
        if not ready:
            return None
        media = torch.stack(ready)  # (b, V, ...)
        with plugin_faults():
            return np.stack([encoder.encode(media[:, view]) for view in range(media.shape[1])], axis=1)

    def _settle(self, commit: ShardCommit, window: list[Outcome], tokens: NDArray[np.floating] | None) -> None:
        encoded = iter(tokens if tokens is not None else ())
        for outcome in window:
            job = outcome.job
            values = next(encoded) if outcome.media is not None else None
            if job.settled:
                continue
            if values is not None:
                try:
                    commit.put(job.row, values)
                except UnstorableTokens as reason:
                    outcome.status, outcome.note = Presence.FAILED, f"the encoder gave {reason}"
            if outcome.status == Presence.FAILED:
                commit.failed(job.row)
            elif outcome.status == Presence.MISSING:
                commit.missing(job.row)
            if outcome.note is not None:
                commit.report(job.segment, outcome.status, outcome.note)
            if outcome.stamp is not None:
                commit.source(job.segment, outcome.status, outcome.stamp.bytes, outcome.stamp.mtime_ns)


def _megabytes(path: Path) -> float:
    """The size of a file, by which its reading is given time; 0 if the file does not exist."""
    try:
        return os.stat(path).st_size / 1e6
    except OSError:
        return 0.0
