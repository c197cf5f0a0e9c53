"""Predictions for splits without labels, in the format of the EPIC challenges: a zip with test.json in it."""

import dataclasses
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmcache.fuse.data.reported_split import reported_split
from mmcache.fuse.evaluation.inputs import Inputs, stored_sources
from mmcache.fuse.network.model import Model
from mmcache.fuse.runs.config import options_of, read_run_config
from mmcache.store.feature_store import FeatureStore
from mmcache.store.files.atomic import atomic_write
from mmcache.store.ground.errors import ConfigError

MEMBER = "test.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # of the zip's member: the same predictions are the same bytes
_DIGITS = 5


@dataclasses.dataclass(frozen=True)
class Challenge:
    """What a challenge wants.

    Attributes:
        tasks: task -> what the file calls it.
        levels: supervision levels of pretraining, labels and data (sls_pt, sls_tl, sls_td), those of the official
            script: image and video, full temporal, train and validation.
    """

    name: str
    version: str
    tasks: Mapping[str, str]
    levels: tuple[int, int, int] = (2, 3, 4)


# data set -> challenge
CHALLENGES = {
    "epic": Challenge("action_recognition", "0.2", {"verb": "verb", "noun": "noun"}),
    "epic-sounds": Challenge("audio_based_interaction_recognition", "0.1", {"sound": "interaction"}),
}


@dataclasses.dataclass(frozen=True)
class Submission:
    """What was written.

    Attributes:
        n: segments in the file: all of the split.
        blind: ids of those without any cached tokens, for which every class has the score 0.
    """

    path: Path
    challenge: str
    n: int
    blind: list[str]


def write_submission(
    run: str | Path,
    path: Path,
    split: str = "test",
    store: str | Path | None = None,
    device: str = "cpu",
    levels: tuple[int, int, int] | None = None,
) -> Submission:
    """Predict every segment of a split from whatever it has.

    Args:
        levels: sls_pt, sls_tl and sls_td, each 0 to 5; None = the challenge's.

    Raises:
        ConfigError: the data set has no challenge, the model lacks a task of it, or the split is unknown or empty.
    """
    run = Path(run)
    saved = read_run_config(run)
    opened = FeatureStore.open(store or saved["store"])
    challenge = _challenge(opened, saved["model"]["tasks"])
    if path.suffix != ".zip":
        raise ConfigError(f"--submission {path}: the challenge takes a zip; give it a name such as {path.stem}.zip")
    if levels is not None and not all(0 <= level <= 5 for level in levels):
        raise ConfigError(f"supervision levels {levels}: each goes from 0 to 5")
    model = Model.load(run, device)
    sources = list(stored_sources(model.spec, opened).values())
    split = reported_split(split, opened)  # says it when there is no such split
    seen = opened.rows(split, sources)
    ids = opened.segments["id"].to_numpy()
    wanted = ids[(opened.segments["split"] == split).to_numpy()]
    if not len(seen):
        raise ConfigError(f"no segment of split '{split}' of {opened.path} has cached tokens; extract it first")
    scores = _scores(model, opened, seen, options_of(saved).data.k, device)
    level_names = ("sls_pt", "sls_tl", "sls_td")
    document: dict[str, Any] = {"version": challenge.version, "challenge": challenge.name}
    document |= dict(zip(level_names, levels or challenge.levels, strict=True))
    if challenge.name == "audio_based_interaction_recognition":
        document["t_mod"] = 0 if model.spec.names == ["audio"] else 1
    places = {name: place for place, name in enumerate(ids[seen])}
    document["results"] = {
        name: {
            called: _by_class(scores[task][places[name]] if name in places else np.zeros(scores[task].shape[1]))
            for task, called in challenge.tasks.items()
        }
        for name in wanted
    }
    _write_zip(path, document)
    return Submission(path, challenge.name, len(wanted), [name for name in wanted if name not in places])


def _challenge(store: FeatureStore, tasks: Mapping[str, list[str]]) -> Challenge:
    if store.meta.dataset not in CHALLENGES:
        raise ConfigError(
            f"{store.path} holds the data set '{store.meta.dataset}', which has no challenge; "
            f"those that have one: {', '.join(CHALLENGES)}"
        )
    challenge = CHALLENGES[store.meta.dataset]
    lacking = [task for task in challenge.tasks if task not in tasks]
    if lacking:
        raise ConfigError(
            f"the challenge {challenge.name} needs {' and '.join(lacking)}; the run predicts {', '.join(tasks)}"
        )
    return challenge


@torch.inference_mode()
def _scores(
    model: Model, store: FeatureStore, rows: NDArray[np.int64], k: int, device: str
) -> dict[str, NDArray[np.float32]]:
    """Task -> (n, C) logits."""
    parts: dict[str, list[NDArray[np.float32]]] = {}
    for batch in Inputs(model, store, rows, k, device, None).batches():
        for task, logits in model(batch.tokens, batch.present, lengths=batch.lengths).items():
            parts.setdefault(task, []).append(logits.float().cpu().numpy())
    return {task: np.concatenate(values) for task, values in parts.items()}


def _by_class(scores: NDArray[np.floating]) -> dict[str, float]:
    return {str(label): round(float(value), _DIGITS) for label, value in enumerate(scores)}


def _write_zip(path: Path, document: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        member = zipfile.ZipInfo(MEMBER, _EPOCH)
        member.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(member, json.dumps(document))
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, buffer.getvalue())
