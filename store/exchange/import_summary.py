"""The result of an import: counts, warnings, and whether too many segments failed."""

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
class ImportSummary:
    """The result of a finished import.

    Attributes:
        root: the store.
        arrays: names of the token sets that were imported, modality/encoder.
        empty: modalities without a token set, because no file of theirs belongs to a segment.
        notes: lines for the user on how rows and files were matched, and which files were skipped.
    """

    root: Path
    arrays: list[str]
    empty: list[str]
    notes: list[str]

    def counts(self) -> dict[str, dict[str, int]]:
        """Token set -> number of cached, missing and failed segments."""
        store = FeatureStore.open(self.root)
        kinds = (Presence.CACHED, Presence.MISSING, Presence.FAILED)
        return {
            name: {kind.name.lower(): int(np.sum(store.present[name] == kind)) for kind in kinds}
            for name in self.arrays
        }

    def warnings(self) -> list[str]:
        """Warnings for the user: all-zero tokens, failures by reason, a store without the split train."""
        store = FeatureStore.open(self.root)
        out = []
        zeros: dict[str, list[str]] = {}
        for line in store.notes:
            name = f"{line['modality']}/{line['encoder']}"
            if name in self.arrays and line["reason"] == ALL_ZERO:
                zeros.setdefault(name, []).append(line["id"])
        for name, ids in zeros.items():
            out.append(
                f"{name}: all tokens of {_segments(ids)} are zero. If these mark missing tokens, leave their files "
                "out (HDF5: 'present' 0) and import into a new store"
            )
        ours = (line for line in store.failures if f"{line['modality']}/{line['encoder']}" in self.arrays)
        out += [f"failed: {group}" for group in group_lines(ours)]
        if TRAIN not in store.meta.splits:
            counts = ", ".join(f"{split} ({count})" for split, count in store.meta.splits.items())
            out.append(f"no segment is in the split 'train', from which `mmcache fuse` learns; there are {counts}")
        return out

    def check(self, allowed: float = MAX_FAILURES) -> None:
        """Raise TooManyFailures when a token set is empty, or more than the share `allowed` of its segments failed.

        Args:
            allowed: share of the segments that have a file (HDF5: that are present).
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
                    f"than --max-failures allows ({allowed:.1%}). The usable tokens are in the store; the reasons are "
                    f"in {self.root}/failures.jsonl. {_AGAIN.format(root=self.root)}"
                )


_AGAIN = "Correct the files, then import them into a new store, or remove {root} and run the same command."


def _segments(ids: list[str]) -> str:
    return f"{len(ids)} segment{'s' * (len(ids) != 1)} ({named(ids)})"


def named(names: Iterable[str]) -> str:
    """The first few of `names` for a message, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(f"'{name}'" for name in names[:_NAMED]) + more
