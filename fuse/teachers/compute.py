"""Compute the logits of a trained run for every segment, view and modality subset once, and cache them in the store."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mmcache.fuse.data.subsets import subset_name, subsets
from mmcache.fuse.network.model import Model
from mmcache.fuse.runs.config import options_of, read_run_config, spec_of
from mmcache.fuse.runs.files import WEIGHTS_FILE
from mmcache.fuse.teachers.cached_logits import CachedLogits
from mmcache.store.feature_store import FeatureStore
from mmcache.store.format.teacher_logits import LogitsCache, has_logits_cache
from mmcache.store.ground.errors import ConfigError, Problems
from mmcache.store.ground.lock import writer_lock
from mmcache.store.load.loader import Loader

_BATCH = 128


def teacher_name(run: Path) -> str:
    """The strategy and a digest of the weights: the name of its logits in the cache, which no other teacher has."""
    strategy = read_run_config(run)["options"]["strategy"]
    digest = hashlib.sha256((run / WEIGHTS_FILE).read_bytes()).hexdigest()[:12]
    return f"{strategy}-{digest}"


def check_fits(run: Path, store: FeatureStore) -> None:
    """Raise ConfigError, naming everything that differs, unless the tokens of `store` fit the teacher `run`."""
    saved = read_run_config(run)
    problems = Problems()
    for name, (encoder, _, width) in saved["model"]["modalities"].items():
        if (name, encoder) not in store.arrays:
            problems.add(f"teacher {run} needs {name} tokens of {encoder}, which {store.path} does not have")
        elif store.tokens[f"{name}/{encoder}"].shape[3] != width:
            problems.add(f"teacher {run} needs {name} tokens of width {width}")
    _note_classes(run, store, problems)
    problems.raise_if_any()


def _check_classes(run: Path, store: FeatureStore) -> None:
    problems = Problems()
    _note_classes(run, store, problems)
    problems.raise_if_any()


def _note_classes(run: Path, store: FeatureStore, problems: Problems) -> None:
    tasks = read_run_config(run)["model"]["tasks"]
    for task, classes in tasks.items():
        if task in store.tasks and store.tasks[task] != classes:
            problems.add(f"teacher {run} has other {task} classes than {store.path}")
    if not set(tasks) & set(store.tasks):
        problems.add(f"teacher {run} shares no task with {store.path}")


@dataclasses.dataclass(frozen=True)
class _Source:
    """Where a teacher's tokens lie: a store, and for each segment of the student's store its row there, -1 for none."""

    store: FeatureStore
    rows: NDArray[np.int64]


def _source(run: Path, store: FeatureStore) -> _Source:
    """The student's store if it has the teacher's tokens, else the store the teacher was trained on.

    Raises:
        ConfigError: neither has what the teacher needs, or their classes differ.
    """
    try:
        check_fits(run, store)
        return _Source(store, np.arange(len(store)))
    except ConfigError as error:
        own = Path(read_run_config(run)["store"])
        if own.absolute() == store.path.absolute() or not own.exists():
            raise
        other = FeatureStore.open(own)
        try:
            check_fits(run, other)
            _check_classes(run, store)
        except ConfigError:
            raise error from None
    places = {name: row for row, name in enumerate(other.segments["id"])}
    rows = np.array([places.get(name, -1) for name in store.segments["id"]], np.int64)
    if (rows < 0).all():
        raise ConfigError(f"teacher {run} learned from {own}, which shares no segment id with {store.path}")
    return _Source(other, rows)


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where a teacher's logits lie in the cache, and their shape."""

    run: Path
    source: _Source
    modalities: list[str]
    classes: dict[str, int]
    views: int

    def open(self) -> LogitsCache:
        """The cache, made where there is none."""
        masks = subsets(len(self.modalities))
        attributes = {
            "modalities": self.modalities,
            "subsets": [subset_name(mask, self.modalities) for mask in masks],
            "run": self.run.name,
        }
        store = self.source.store
        return LogitsCache(store.path, self._name, len(store), self.views, len(masks), self.classes, attributes)

    def is_whole(self) -> bool:
        return has_logits_cache(self.source.store.path, self._name) and not self.open().missing_blocks()

    @property
    def _name(self) -> str:
        return teacher_name(self.run) + (f"-{self.views}-views" if self.views > 1 else "")


def _place(run: Path, store: FeatureStore) -> _Place:
    """Raises ConfigError where the teacher does not fit the store."""
    source, spec = _source(run, store), spec_of(read_run_config(run))
    sources = spec.sources.values()
    classes = {task: len(labels) for task, labels in spec.tasks.items() if task in source.store.tasks}
    return _Place(run, source, spec.names, classes, max(source.store.tokens[name].shape[1] for name in sources))


def cache_logits(
    run: Path,
    store: FeatureStore,
    device: str,
    progress: Callable[[int, int], None] = lambda done, total: None,
    wait_s: float = 0.0,
) -> None:
    """Compute the teacher's logits for every segment, view and subset, where they are not cached yet.

    They are cached in the store that has the teacher's tokens: the student's, or the one the teacher was trained on.
    An interrupted computation continues; a finished one is only read, and needs no right to write.

    Args:
        wait_s: seconds to wait for another writer of the store.

    Raises:
        ConfigError: the teacher does not fit the store.
        StoreError: the store is still being written by another process.
    """
    place = _place(run, store)
    if place.is_whole():
        return
    source = place.source
    with writer_lock(source.store.path, wait_s):
        cache = place.open()
        blocks = cache.missing_blocks()
        if not blocks:
            return
        model, masks = Model.load(run, device), subsets(len(place.modalities))
        rows = np.concatenate([np.arange(block.start, block.stop) for block in blocks])
        loader = _loader(run, model, source.store, rows, device)
        for i, block in enumerate(blocks):
            views = [_logits(model, loader, block, masks, place.classes, view) for view in range(place.views)]
            joined = {task: np.concatenate([one[task] for one in views], 1) for task in place.classes}
            cache.write_block(block, joined)
            progress(i + 1, len(blocks))


def cached_logits(
    run: Path,
    store: FeatureStore,
    device: str,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> CachedLogits:
    """The teacher's logits for every segment, view and subset, computed where they are not cached yet.

    Where the teacher's tokens are those of another store, its rows are matched by segment id.

    Raises:
        ConfigError: the teacher does not fit the store.
        StoreError: logits are missing, and the store is being written by another process.
    """
    cache_logits(run, store, device, progress)
    place = _place(run, store)
    cache = place.open()
    shared = [task for task in place.classes if task in store.tasks]
    logits = {task: np.stack([cache.read(task, view) for view in range(place.views)], axis=1) for task in shared}
    matched = {task: _matched(values, place.source.rows) for task, values in logits.items()}
    return CachedLogits(place.modalities, matched)


def _matched(values: NDArray[np.float16], rows: NDArray[np.int64]) -> NDArray[np.float16]:
    """(N', V, S, C) of a teacher's store -> (N, ...) of the student's, NaN where a segment is not in both."""
    if len(rows) == len(values) and (rows == np.arange(len(rows))).all():
        return values
    out = values[rows]
    out[rows < 0] = np.nan
    return out


def _loader(run: Path, model: Model, store: FeatureStore, rows: NDArray[np.int64], device: str) -> Loader:
    return Loader(
        store, list(model.spec.sources.values()), rows, k=options_of(read_run_config(run)).data.k, device=device
    )


@torch.inference_mode()
def teacher_features(
    run: Path,
    store: FeatureStore,
    rows: NDArray[np.int64],
    device: str,
    seen: Mapping[str, NDArray[np.bool_]] | None = None,
) -> torch.Tensor:
    """(N, F) penultimate features of the teacher with full sight of each of `rows`; NaN for other rows.

    Args:
        seen: modality -> (N,) bool, the segments in which it may see it; None, or one not named, in all.

    Raises:
        ConfigError: the teacher does not fit the store.
    """
    source = _source(run, store)
    model = Model.load(run, device)
    out = torch.full((len(store), model.head.features), float("nan"))
    wanted = rows[source.rows[rows] >= 0]
    there = source.rows[wanted]
    has_any = source.store.presence_matrix(list(model.spec.sources.values()))[there].any(axis=1)
    wanted, there = wanted[has_any], there[has_any]
    loader = _loader(run, model, source.store, there, device)
    done = 0
    for batch in loader.in_order(batch_size=_BATCH, rows=there):
        here = wanted[done : done + len(batch.rows)]
        allowed = [
            seen[n][here] if seen is not None and n in seen else np.ones(len(here), bool) for n in model.spec.names
        ]
        present = batch.present & torch.from_numpy(np.stack(allowed, axis=1)).to(batch.present.device)
        vectors = model.outputs(batch.tokens, batch.lengths, present).penultimate().cpu()
        vectors[~present.any(dim=1).cpu()] = torch.nan  # it sees no modality
        out[torch.from_numpy(here)] = vectors
        done += len(batch.rows)
    return out


@torch.inference_mode()
def _logits(
    model: Model, loader: Loader, block: range, masks: NDArray[np.bool_], classes: dict[str, int], view: int
) -> dict[str, NDArray[np.float16]]:
    """Task -> (rows, 1, S, C) for one block of rows in one view."""
    out = {task: np.full((len(block), 1, len(masks), count), np.nan, np.float16) for task, count in classes.items()}
    for batch in loader.in_order(batch_size=_BATCH, rows=np.arange(block.start, block.stop), view=view):
        for s, mask in enumerate(masks):
            wanted = torch.from_numpy(mask).to(batch.present.device)
            # Only segments that have the whole subset: a smaller one has a place of its own.
            has = (batch.present | ~wanted).all(dim=1).nonzero().squeeze(1)
            if not len(has):
                continue
            logits = model(
                {name: value[has] for name, value in batch.tokens.items()},
                batch.present[has],
                wanted.expand(len(has), -1),
                {name: value[has] for name, value in batch.lengths.items()},
            )
            places = batch.rows[has.cpu().numpy()] - block.start
            for task in classes:
                out[task][places, 0, s] = logits[task].cpu().numpy()
    return out
