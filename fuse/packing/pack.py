"""A group of runs, trained as one where there are several."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmcache.fuse.data.reported_split import reported_split
from mmcache.fuse.data.validation import splits_read
from mmcache.fuse.evaluation.cost import costs
from mmcache.fuse.evaluation.evaluate import evaluate
from mmcache.fuse.packing.training import PackedTraining
from mmcache.fuse.runs.folder import RunFolder, own_randomness
from mmcache.fuse.runs.progress import Progress
from mmcache.fuse.training.device import usable_device
from mmcache.fuse.training.loop import Training
from mmcache.fuse.training.store_checks import modalities_of
from mmcache.fuse.training.train import RunRequest, TrainedRun, make_training
from mmcache.store.ground.errors import MmcacheError
from mmcache.store.load.loader import Loader

_WORTH_IT = 1.05  # times faster than one after another


def train_pack(
    requests: Sequence[RunRequest], progresses: Sequence[Progress], *, always: bool = True
) -> list[TrainedRun | MmcacheError]:
    """Train runs of one `groups.pack_key` as one; what is finished already is only read.

    Every run gets the folder that it would get alone, and the same results to floating-point tolerance. An interrupted
    pack goes on where it stopped, together or each run alone.

    Args:
        progresses: one a run.
        always: false = as one only where a few steps of it turn out faster than those of one run after another, which
            on CPUs they are for small networks alone.

    Returns:
        For each request the run, or why there is none: one that fails does not stop the others.
    """
    out: dict[int, TrainedRun | MmcacheError] = {}
    waiting: dict[int, RunFolder] = {}
    for i, request in enumerate(requests):
        try:
            folder = RunFolder(request.path, request.identity)
            if folder.finished:
                out[i] = TrainedRun(folder.path, evaluate(folder.path), was_finished=True)
            else:
                waiting[i] = folder
        except MmcacheError as error:
            out[i] = error
    with own_randomness():
        out |= _train(requests, waiting, progresses, always)
    return [out[i] for i in range(len(requests))]


def _train(
    requests: Sequence[RunRequest], folders: dict[int, RunFolder], progresses: Sequence[Progress], always: bool
) -> dict[int, TrainedRun | MmcacheError]:
    out: dict[int, TrainedRun | MmcacheError] = {}
    members: dict[int, Training] = {}
    loader: Loader | None = None
    cost: dict[str, Any] | None = None
    for i, folder in folders.items():
        try:
            if loader is None and len(folders) > 1:
                loader = _shared_loader(requests[i])
            members[i] = make_training(requests[i], folder, progresses[i], loader)
        except MmcacheError as error:
            out[i] = error
    pack = PackedTraining(list(members.values())) if len(members) > 1 else None
    if pack is not None and (always or pack.gain() > _WORTH_IT):
        for i, result in zip(members, pack.run(), strict=True):
            if isinstance(result, MmcacheError):
                out[i] = result
            else:
                out[i] = TrainedRun(folders[i].path, result, was_finished=False)
        return out
    for i, member in members.items():
        try:
            cost = cost or costs(member.model)  # they have one shape
            out[i] = TrainedRun(folders[i].path, member.run(cost), was_finished=False)
        except MmcacheError as error:
            out[i] = error
    return out


def _shared_loader(request: RunRequest) -> Loader:
    """One loader for all runs of a pack, with every row that any of them may ask for."""
    options, store = request.options, request.store
    sources = [f"{m}/{e}" for m, e in map(store.resolve, modalities_of(options, store))]
    splits = splits_read(store, reported_split(options.data.eval_split, store), options.data.protocol)
    return Loader(
        store,
        sources,
        np.concatenate([store.rows(split, sources) for split in splits]),
        k=options.data.k,
        resident=options.run.resident,
        device=usable_device(options.run.device),
    )
