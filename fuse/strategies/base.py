"""What a strategy is: a preset of options. Every one of them can be overridden by its flag."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Strategy:
    """A named point on the axes fusion x fill x keep-mask law x losses x test-time step.

    Attributes:
        about: one line for `mmcache list strategies`.
        source: where it was published.
        options: FuseConfig options that differ from the dataclass defaults.
        teacher: the strategy of the teacher to train first when none is given; None = no teacher.
        teacher_each: train one such teacher a modality.
        start: the strategy of the run to train first and start from when none is given; None = from nothing.
    """

    about: str
    source: str
    options: dict[str, Any]
    teacher: str | None = None
    teacher_each: bool = False
    start: str | None = None
