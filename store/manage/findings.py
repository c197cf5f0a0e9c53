"""The findings of `verify`, and what `repair` does about each."""

import dataclasses
import enum


class RepairAction(enum.Enum):
    """What `repair` does about a finding."""

    NOTHING = "nothing can be done"
    COPY = "the file is restored from its spare copy, or the spare copy from the file"
    CHUNK = "the chunk of a small array is rebuilt"
    ROWS = "the segments are marked to be done again"
    REMOVE = "the chunk is removed and computed again by the next fuse"
    COUNT = "the root's coverage is counted again"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing wrong with a store.

    Attributes:
        where: modality/encoder, or a file's name.
        segments: ids of the segments concerned; empty where the finding concerns no segment.
        file: the damaged file, as a path in the store, where one is known.
        rows: the rows of `segments`.
    """

    where: str
    segments: tuple[str, ...]
    problem: str
    action: RepairAction = RepairAction.NOTHING
    file: str = ""
    rows: tuple[int, ...] = ()

    def __str__(self) -> str:
        shown = ""
        if len(self.segments) == 1:
            shown = f" segment {self.segments[0]}"
        elif self.segments:
            shown = f" segments {self.segments[0]} to {self.segments[-1]} ({len(self.segments)})"
        return f"{self.where}{shown}: {self.problem}"

    def to_json(self) -> dict[str, object]:
        return {
            "where": self.where,
            "segments": list(self.segments),
            "problem": self.problem,
            "repair": self.action.value,
        }
