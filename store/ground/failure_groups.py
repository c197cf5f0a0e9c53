"""Group failures by reason: reasons that differ only in a name or a number become one line."""

import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import Any

from mmcache.store.ground.text import printable

_SHOWN = 3  # names shown of each group
_MANY = 5  # with more groups than this, reasons that end alike are joined
_TAIL = 3  # least number of words that a shared ending has
_VARIES = "…"
_ELLIPSES = re.compile(rf"{_VARIES}(?: {_VARIES})+")
_QUOTED = re.compile(r"(?<!\w)(?:'[^'\n]{1,200}'|\"[^\"\n]{1,200}\")(?!\w)")
_NAME = re.compile(r"\d|[/\\]|\.\w{1,8}\W*$")  # in a word that may differ: a number, a path, a file name


@dataclasses.dataclass(frozen=True)
class Group:
    """Failures of one kind.

    Attributes:
        where: modality/encoder, or another place that the caller groups by.
        reason: the words that all reasons share, with … for those that differ.
        names: ids of the segments that failed.
    """

    where: str
    reason: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        """One line: where, reason, how many, and the first three names."""
        shown = ", ".join(self.names[:_SHOWN])
        if len(self.names) > _SHOWN:
            shown = f"{len(self.names)} segments, such as {shown}"
        return printable(f"{self.where}: {self.reason} ({shown})" if shown else f"{self.where}: {self.reason}")

    def to_json(self) -> dict[str, Any]:
        return {
            "where": self.where,
            "reason": self.reason,
            "count": len(self.names),
            "segments": list(self.names[:_SHOWN]),
        }


def group_lines(lines: Iterable[dict[str, Any]]) -> list[Group]:
    """Group lines of failures.jsonl or notes.jsonl; the largest group comes first."""
    return group_reasons((f"{line['modality']}/{line['encoder']}", line["reason"], [line["id"]]) for line in lines)


def group_reasons(told: Iterable[tuple[str, str, Sequence[str]]]) -> list[Group]:
    """Group (where, reason, names of segments); the largest group comes first."""
    alike: dict[tuple[str, str], list[tuple[str, Sequence[str]]]] = {}
    for where, reason, names in told:
        alike.setdefault((where, _masked(reason, names)), []).append((reason, names))
    if len(alike) > _MANY:
        by_tail: dict[tuple[str, str], list[tuple[str, Sequence[str]]]] = {}
        for (where, masked), members in alike.items():
            by_tail.setdefault((where, _tail(masked)), []).extend(members)
        alike = by_tail
    groups = [
        Group(
            where, _in_common([reason for reason, _ in members]), tuple(name for _, names in members for name in names)
        )
        for (where, _), members in alike.items()
    ]
    return sorted(groups, key=lambda group: -len(group.names))


def _masked(reason: str, names: Sequence[str]) -> str:
    """The reason with … for numbers, paths, file names, quoted text and names of segments."""
    words = _QUOTED.sub(_VARIES, reason).split()
    own = set(names)
    marked = [_VARIES if _NAME.search(word) or word.strip("',:;()") in own else word for word in words]
    return _ELLIPSES.sub(_VARIES, " ".join(marked))


def _tail(masked: str) -> str:
    """The text after the first …, for names of several words; the whole reason when that text is short."""
    tail = masked.partition(_VARIES)[2].lstrip(f"{_VARIES} ")
    return tail if len(tail.split()) >= _TAIL else masked


def _in_common(reasons: list[str]) -> str:
    """The words that all reasons share at their start and their end, with … between them."""
    if len(set(reasons)) == 1:
        return reasons[0]
    split = [reason.split() for reason in reasons]
    if len({len(words) for words in split}) == 1:
        kept = [words[0] if len(set(words)) == 1 else _VARIES for words in zip(*split, strict=True)]
    else:
        ends = [list(reversed(words)) for words in split]
        start, end = _leading(split), _leading(ends)
        kept = [*start, _VARIES, *reversed(end)]
    return _ELLIPSES.sub(_VARIES, " ".join(kept))


def _leading(split: list[list[str]]) -> list[str]:
    """The first words that all of the texts share."""
    found = []
    for words in zip(*split, strict=False):  # as long as the shortest
        if len(set(words)) > 1:
            break
        found.append(words[0])
    return found
