"""What an import brought, what a person should look at, and whether it was enough."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mmcache.store.feature_store import FeatureStore
from mmcache.store.format.layout import Presence
from mmcache.store.ground.errors import TooManyFailures
from mmcache.store.ground.failure_groups import group_lines
from mmcache.store.segments.splits import TRAIN
from mmcache.store.write.token_source import ALL_ZERO

MAX_FAILURES = 0.01  # as in extract
_NAMED = 3


@dataclasses.dataclass(frozen=True)
class Imported:
    """An import that has come to its end.

    Attributes:
        root: the store.
        arrays: names of the token sets that were imported, modality/encoder.
        empty: modalities of which no file belongs to a segment, so that no token set was made.
        notes: what a person should know of the files: how rows and files were matched, what was passed over.
    """

    root: Path
    arrays: list[str]
    empty: list[str]
    notes: list[str]

    def counts(self) -> dict[str, dict[str, int]]:
        """Token set -> how many segments are cached, missing and failed."""
        store = FeatureStore.open(self.root)
        kinds = (Presence.CACHED, Presence.MISSING, Presence.FAILED)
        return {
            name: {kind.name.lower(): int(np.sum(store.present[name] == kind)) for kind in kinds}
            for name in self.arrays
        }

    def warnings(self) -> list[str]:
        """What may be wrong with the tokens and splits of the store: all-zero tokens, failures by reason, no train."""
        store = FeatureStore.open(self.root)
        out = []
        zeros: dict[str, list[str]] = {}
        for line in store.notes:
            name = f"{line['modality']}/{line['encoder']}"
            if name in self.arrays and line["reason"] == ALL_ZERO:
                zeros.setdefault(name, []).append(line["id"])
        for name, ids in zeros.items():
            out.append(
                f"{name}: all tokens of {_segments(ids)} are zero. If these stand for missing ones, leave their files "
                "out (HDF5: 'present' 0) and import into a new store"
            )
        ours = (line for line in store.failures if f"{line['modality']}/{line['encoder']}" in self.arrays)
        out += [f"failed: {group}" for group in group_lines(ours)]
        if TRAIN not in store.meta.splits:
            counts = ", ".join(f"{split} ({count})" for split, count in store.meta.splits.items())
            out.append(f"no segment is in the split 'train', from which `mmcache fuse` learns; there are {counts}")
        return out

    def check(self, allowed: float = MAX_FAILURES) -> None:
        """Raise TooManyFailures where a token set has no tokens at all, or more than `allowed` of its segments failed.

        Args:
            allowed: a share, of the segments that have a file (HDF5: that are present).
        """
        if self.empty:
            raise TooManyFailures(f"nothing was imported of {named(self.empty)}: no file belongs to a segment")
        for name, count in self.counts().items():
            there = count["cached"] + count["failed"]
            if not count["cached"]:
                raise TooManyFailures(
                    f"nothing was imported of {name}: {count['failed']} segments failed, {count['missing']} are "
                    f"missing. {_AGAIN.format(root=self.root)}"
                )
            if count["failed"] > allowed * there:
                raise TooManyFailures(
                    f"{count['failed']} of {there} segments of {name} failed ({count['failed'] / there:.1%}), more "
                    f"than --max-failures allows ({allowed:.1%}). What could be used is in the store; the reasons are "
                    f"in {self.root}/failures.jsonl. {_AGAIN.format(root=self.root)}"
                )


_AGAIN = "Put the files right, then import them into a new store, or remove {root} and run the same command."


def _segments(ids: list[str]) -> str:
    return f"{len(ids)} segment{'s' * (len(ids) != 1)} ({named(ids)})"


def named(names: Iterable[str]) -> str:
    """The first few of some names, as messages show them."""
    names = list(names)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(f"'{name}'" for name in names[:_NAMED]) + more
