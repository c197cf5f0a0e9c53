"""A line of the table of encoders, and the names for weights. Imports nothing heavy: every command reads the table."""

import dataclasses

PRETRAINED, RANDOM = "pretrained", "random"  # values of --weights beside a path
GROUP = "mmcache.encoders"  # the entry points of installed packages that offer encoders
NO_WEIGHTS = "none needed"  # `published` of an encoder without weights


@dataclasses.dataclass(frozen=True)
class EncoderEntry:
    """One line of the table: where an encoder comes from and which modalities it takes."""

    family: str  # module beside this file
    modalities: tuple[str, ...]
    published: str | None  # the data its published weights were trained on, None where there are none, or NO_WEIGHTS
    about: str
