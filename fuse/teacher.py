"""Teachers: a trained run's answers for every modality subset, cached once and looked up ever after."""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mmcache.fuse.evaluation import model_sources
from mmcache.fuse.masks import subset_index, subset_name, subsets
from mmcache.fuse.model import WEIGHTS_FILE, Model, config_of, read_run_config
from mmcache.store.errors import Problems
from mmcache.store.feature_store import FeatureStore
from mmcache.store.loader import Loader
from mmcache.store.lock import writer_lock
from mmcache.store.logits import LogitsCache

_BATCH = 128


def teacher_name(run: Path) -> str:
    """The strategy and a digest of the weights: another teacher never answers in this one's name."""
    strategy = read_run_config(run)["options"]["strategy"]
    digest = hashlib.sha256((run / WEIGHTS_FILE).read_bytes()).hexdigest()[:12]
    return f"{strategy}-{digest}"


def check_fits(run: Path, store: FeatureStore) -> None:
    """Raise ConfigError, naming everything that differs, unless the teacher `run` can answer for `store`."""
    saved = read_run_config(run)
    problems = Problems()
    for name, (encoder, _, width) in saved["model"]["modalities"].items():
        if (name, encoder) not in store.arrays:
            problems.add(f"teacher {run} needs {name} tokens of {encoder}, which {store.path} does not have")
        elif store.tokens[f"{name}/{encoder}"].shape[3] != width:
            problems.add(f"teacher {run} needs {name} tokens of width {width}")
    for task, classes in saved["model"]["tasks"].items():
        if task in store.tasks and store.tasks[task] != classes:
            problems.add(f"teacher {run} has other {task} classes than {store.path}")
    if not set(saved["model"]["tasks"]) & set(store.tasks):
        problems.add(f"teacher {run} shares no task with {store.path}")
    problems.raise_if_any()


@dataclasses.dataclass(frozen=True)
class TeacherAnswers:
    """Cached logits, ready to be looked up.

    Attributes:
        modalities: the teacher's, in the order of its subset bits.
        logits: task -> (N, S, C) float16, NaN where there is no answer.
    """

    modalities: list[str]
    logits: dict[str, NDArray[np.float16]]

    def look_up(
        self, rows: NDArray[np.int64], kept: NDArray[np.bool_], modalities: list[str]
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """What the teacher says of each row when it sees what is kept.

        Args:
            rows: (B,).
            kept: (B, M) columns in the order of the student's `modalities`; those the teacher has not are ignored.

        Returns:
            Task -> (B, C) float32 logits, and (B,) bool: whether there is an answer.
        """
        seen = np.zeros((len(rows), len(self.modalities)), bool)
        for j, name in enumerate(self.modalities):
            if name in modalities:
                seen[:, j] = kept[:, modalities.index(name)]
        index = subset_index(seen)
        answers = {
            task: torch.from_numpy(logits[rows, index].astype(np.float32)) for task, logits in self.logits.items()
        }
        known = torch.from_numpy(index >= 0)
        for values in answers.values():
            known = known & values.isfinite().all(dim=1)
        return answers, known


def cached_answers(
    run: Path,
    store: FeatureStore,
    device: str,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> TeacherAnswers:
    """The teacher's logits for every segment and subset, computed where the store does not have them yet.

    An interrupted computation continues; a finished one is only read.

    Raises:
        ConfigError: the teacher does not fit the store.
        StoreError: the store is being written by another process.
    """
    check_fits(run, store)
    model = Model.load(run, device)
    names = model.spec.names
    masks = subsets(len(names))
    classes = {task: len(labels) for task, labels in model.spec.tasks.items() if task in store.tasks}
    attributes = {
        "modalities": names,
        "subsets": [subset_name(mask, names) for mask in masks],
        "run": run.name,
    }
    with writer_lock(store.path):
        cache = LogitsCache(store.path, teacher_name(run), len(store), 1, len(masks), classes, attributes)
        blocks = cache.missing_blocks()
        if blocks:
            sources = model_sources(model)
            rows = np.concatenate([np.arange(block.start, block.stop) for block in blocks])
            loader = Loader(store, sources, rows, k=config_of(read_run_config(run)).k, device=device)
            for i, block in enumerate(blocks):
                cache.write_block(block, _answer(model, loader, block, masks, classes))
                progress(i + 1, len(blocks))
    return TeacherAnswers(names, {task: cache.read(task) for task in classes})


@torch.inference_mode()
def _answer(
    model: Model, loader: Loader, block: range, masks: NDArray[np.bool_], classes: dict[str, int]
) -> dict[str, NDArray[np.float16]]:
    """Task -> (rows, 1, S, C) for one block of rows."""
    out = {task: np.full((len(block), 1, len(masks), count), np.nan, np.float16) for task, count in classes.items()}
    for batch in loader.in_order(batch_size=_BATCH, rows=np.arange(block.start, block.stop)):
        tokens = dict(zip(model.spec.names, batch.tokens.values(), strict=True))
        lengths = dict(zip(model.spec.names, batch.lengths.values(), strict=True))
        for s, mask in enumerate(masks):
            wanted = torch.from_numpy(mask).to(batch.present.device)
            # Only segments that have the whole subset: a smaller one has a place of its own.
            has = (batch.present | ~wanted).all(dim=1).nonzero().squeeze(1)
            if not len(has):
                continue
            logits = model(
                {name: value[has] for name, value in tokens.items()},
                batch.present[has],
                wanted.expand(len(has), -1),
                {name: value[has] for name, value in lengths.items()},
            )
            places = batch.rows[has.cpu().numpy()] - block.start
            for task in classes:
                out[task][places, 0, s] = logits[task].cpu().numpy()
    return out
