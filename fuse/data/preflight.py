"""What can be said of a run before it starts: errors where it could not be evaluated, and notes for a person."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmcache.fuse.data.rows import Rows, choose_rows
from mmcache.fuse.data.segment_groups import novel_rows
from mmcache.fuse.data.validation import validation_split
from mmcache.fuse.options.options import Options
from mmcache.store.feature_store import FeatureStore
from mmcache.store.ground.errors import Problems, StoreError
from mmcache.store.segments.folds import group_column


def look_ahead(options: Options, store: FeatureStore, modalities: Sequence[str], eval_split: str) -> list[str]:
    """Choose the rows of a run that is not started yet, and see what will come of them.

    Args:
        modalities: as `check_store` has approved them.

    Returns:
        Notes, see preflight.

    Raises:
        ConfigError: see choose_rows and preflight.
    """
    resolved = [store.resolve(name) for name in modalities]
    sources = {modality: f"{modality}/{encoder}" for modality, encoder in resolved}
    return preflight(options, store, sources, choose_rows(options, store, sources, eval_split), eval_split)


def preflight(options: Options, store: FeatureStore, sources: dict[str, str], rows: Rows, eval_split: str) -> list[str]:
    """What a person should know before training.

    Args:
        sources: modality -> name of its token array.

    Raises:
        ConfigError: training never has a modality that the test has; no test segment has every modality; or the
            segments cannot be grouped as asked. Everything that is wrong is named.
    """
    present = store.presence_matrix(list(sources.values()))
    problems, notes = Problems(), list[str]()
    _check_sensors(store, list(sources), present, rows, eval_split, problems, notes)
    _check_complete(list(sources), present[rows.evaluated], eval_split, problems)
    problems.raise_if_any()
    notes += _on_labels(store, rows, eval_split)
    notes += _on_selection(options, store, rows, eval_split)
    notes += [note for name, source in sources.items() if (note := _averaged_twice(options, store, name, source))]
    return notes


def learned_tasks(store: FeatureStore) -> dict[str, list[str]]:
    """The tasks that a run has heads for, with their classes: those that some segment of train has a label of."""
    of_train = (store.segments["split"] == "train").to_numpy()
    return {task: names for task, names in store.tasks.items() if (store.labels(task)[of_train] >= 0).any()}


def _check_sensors(
    store: FeatureStore,
    names: list[str],
    present: NDArray[np.bool_],
    rows: Rows,
    eval_split: str,
    problems: Problems,
    notes: list[str],
) -> None:
    """Modalities that all of train or all of the test lacks. What `train_missing` takes away is asked for."""
    of_train = np.asarray(present[store.rows("train")].any(axis=0))
    tested = present[rows.evaluated]
    for m, name in enumerate(names):
        count, others = int(tested[:, m].sum()), [other for other in names if other != name]
        if not of_train[m] and count:
            hint = f"leave it out: --modalities {','.join(others)}" if others else "extract it for train too"
            problems.add(
                f"no segment of 'train' in {store.path} has {name}, and {count} of '{eval_split}' have: what a model "
                f"predicts from it would be chance; {hint}"
            )
        elif not count:
            also = "" if of_train[m] else " or 'train'"
            notes.append(f"no segment of '{eval_split}'{also} has {name}: results are those of the other modalities")


def _check_complete(names: list[str], present: NDArray[np.bool_], eval_split: str, problems: Problems) -> None:
    """Whether any of the test segments (n, M) has every modality that occurs among them."""
    occurring = np.asarray(present.any(axis=0))
    if (present | ~occurring).all(axis=1).any():
        return
    every = [name for name, occurs in zip(names, occurring, strict=True) if occurs]
    patterns = np.unique(present, axis=0)
    counts = [int((present | ~pattern).all(axis=1).sum()) for pattern in patterns]
    best = max(range(len(patterns)), key=lambda i: (patterns[i].sum() > 1, counts[i]))
    chosen = ",".join(name for name, kept in zip(names, patterns[best], strict=True) if kept)
    problems.add(
        f"none of the {len(present)} segments of '{eval_split}' has all of {', '.join(every)}, so subsets could not be "
        f"compared on equal terms. Train with fewer: --modalities {chosen} is whole in {counts[best]} of them; or "
        "report on another --eval-split"
    )


def _on_labels(store: FeatureStore, rows: Rows, eval_split: str) -> list[str]:
    """Tasks and classes that cannot be learned, or cannot be tested."""
    notes = []
    learned = learned_tasks(store)
    for task in store.tasks:
        labels = store.labels(task)
        tested = labels[rows.evaluated]
        if task not in learned:
            notes.append(f"no segment of 'train' has a label of {task}: the run has no {task} head")
        elif not (tested >= 0).any():
            notes.append(f"no segment of '{eval_split}' has a label of {task}: it is trained and not reported")
        else:
            known = np.unique(labels[rows.train])
            strange = (tested >= 0) & ~np.isin(tested, known)
            if strange.any():
                notes.append(
                    f"{len(np.unique(tested[strange]))} {task} classes of '{eval_split}' have no segment to learn from "
                    f"({int(strange.sum())} of {int((tested >= 0).sum())} segments): none of these can be right"
                )
    novel = novel_rows(store.segments) & (store.segments["split"] == eval_split).to_numpy()
    if novel.any():
        left = "are the only ones there" if novel[rows.evaluated].any() else "are not in the top-1 accuracy"
        notes.append(
            f"{int(novel.sum())} segments of '{eval_split}' have novel classes and {left}: "
            f"`mmcache evaluate RUN --few-shot` measures them by episodes"
        )
    return notes


def _on_selection(options: Options, store: FeatureStore, rows: Rows, eval_split: str) -> list[str]:
    """What picks the epoch although another would be expected to, or is not as far from train as asked."""
    notes = []
    there = validation_split(store, eval_split, options.data.protocol)
    if there is not None and options.data.validation is None and rows.picked_on != there:
        notes.append(f"'{there}' has no labelled segment with tokens, so a part of train picks the epoch")
    if options.data.group is not None:
        learned, picking = (
            set(group_column(store.segments.iloc[r], options.data.group)) for r in (rows.train, rows.validation)
        )
        shared = learned & picking
        if shared:
            listed = ", ".join(sorted(shared)[:3])
            notes.append(f"{len(shared)} of '{rows.picked_on}', as {options.data.group} {listed}, are in 'train' too")
    return notes


def _averaged_twice(options: Options, store: FeatureStore, name: str, source: str) -> str | None:
    """A note where means of tokens are averaged again, which is not the same as averaging once."""
    array = store.tokens[source]
    try:
        first, before = array.fingerprint.k, array.fingerprint.preprocessing.get("reduced_from")
    except StoreError:  # others wrote it, and do not say how
        return None
    count = array.shape[2]
    if first is not None and count == first and options.data.k < count:
        return (
            f"the {count} tokens of {name} are means already (--k {first} when they were cached); --k {options.data.k} "
            f"averages them again, which is not the same as --k {options.data.k} when they are extracted"
        )
    earlier = before.get("k") if isinstance(before, dict) else None
    if earlier is not None and first is not None and first < earlier:
        return (
            f"the {count} tokens of {source} were averaged twice, to {earlier} and then to {first}, which is not the "
            f"same as --k {first} when they are extracted"
        )
    return None
