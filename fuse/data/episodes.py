"""Few-shot episodes: W classes, each with supports and queries, seen through two sets of modalities (MMG-Ego4D)."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mmcache.fuse.data.subsets import subsets
from mmcache.fuse.options.fields import Count, option
from mmcache.store.ground.errors import ConfigError
from mmcache.store.load.streams import Stream


@dataclass(frozen=True)
class EpisodeOptions:
    """Few-shot episodes."""

    few_shot_task: str | None = option(
        None, "Task whose classes the episodes tell apart; the first where none is named."
    )
    ways: Annotated[int, Field(ge=2)] = option(5, "Classes of an episode.")
    shots: Count = option(5, "Supports of a class.")
    queries: Count = option(5, "Queries of a class.")


@dataclass(frozen=True)
class Episodes:
    """The episodes of an epoch.

    Attributes:
        task: whose classes they tell apart; None = the first.
    """

    task: str | None
    ways: int
    shots: int
    queries: int

    @property
    def size(self) -> int:
        """Segments of an episode."""
        return self.ways * (self.shots + self.queries)

    def count(self, segments: int) -> int:
        """Episodes of an epoch that has so many segments: about as many segments."""
        return max(1, segments // self.size)

    def draw(self, rows: NDArray[np.int64], labels: NDArray[np.integer], seed: int, epoch: int) -> NDArray[np.int64]:
        """(E, size) rows; see draw_episodes."""
        count = self.count(len(rows))
        return draw_episodes(rows, labels, self.ways, self.shots, self.queries, count, seed, epoch)

    def masks(self, present: NDArray[np.bool_], seed: int, epoch: int, episode: int) -> NDArray[np.bool_]:
        """(B, M) keep mask of one episode; see episode_masks."""
        return episode_masks(present, self.ways * self.shots, seed, epoch, episode)


def draw_episodes(
    rows: NDArray[np.int64],
    labels: NDArray[np.integer],
    ways: int,
    shots: int,
    queries: int,
    count: int,
    seed: int,
    epoch: int,
) -> NDArray[np.int64]:
    """(count, W * (shots + queries)) rows: all supports, class by class, then all queries.

    Args:
        rows: (n,) rows to draw from, with labels (n,), -1 where unlabelled.

    Raises:
        ConfigError: fewer than `ways` classes have enough rows.
    """
    each = shots + queries
    found, counts = np.unique(labels[labels >= 0], return_counts=True)
    usable = found[counts >= each]
    if len(usable) < ways:
        raise ConfigError(
            f"episodes of {ways} classes with {shots} + {queries} segments each: only {len(usable)} of {len(found)} "
            "classes in the training split have that many. Lower --set ways, shots or queries."
        )
    members = {label: rows[labels == label] for label in usable}
    episodes = np.empty((count, ways * each), np.int64)
    for i in range(count):
        random = np.random.default_rng((seed, epoch, Stream.EPISODES, i))
        chosen = random.choice(usable, ways, replace=False)
        drawn = np.stack([random.choice(members[label], each, replace=False) for label in chosen])
        episodes[i] = np.concatenate([drawn[:, :shots].ravel(), drawn[:, shots:].ravel()])
    return episodes


def episode_masks(
    present: NDArray[np.bool_], n_supports: int, seed: int, epoch: int, episode: int
) -> NDArray[np.bool_]:
    """(B, M) keep mask of one episode: supports see one random set of modalities, queries another.

    How the sets are drawn is UNSURE in the paper: here uniformly, once an episode. A segment that has nothing of its
    set is seen with what it has.
    """
    random = np.random.default_rng((seed, epoch, Stream.EPISODES, episode, 1))
    masks = subsets(present.shape[1])
    drawn = masks[random.integers(len(masks), size=2)]
    wanted = np.where(np.arange(len(present))[:, None] < n_supports, drawn[0], drawn[1])
    keep = present & wanted
    return np.where(keep.any(axis=1, keepdims=True), keep, present)
