"""Tokens of the data set oracle, drawn rather than read."""

import dataclasses

from mmcache.extract.datasets.dataset import Source
from mmcache.extract.datasets.oracle_dataset import check_source
from mmcache.extract.media.requests import MediaRequest, Reading


@dataclasses.dataclass(frozen=True)
class OracleRequest(MediaRequest):
    """As many tokens of a segment; another part of it is another draw."""

    tokens: int


def read_oracle(source: Source, want: OracleRequest) -> Reading:
    """(tokens, 8) float32, a function of the source, the segment's id and the part asked for."""
    drawn = check_source(source)
    low, high = want.part
    draw = "" if want.part == (0.0, 1.0) else f"{low!r}-{high!r}"
    return Reading(drawn.world.tokens(drawn.entry, drawn.seed, drawn.modality, want.tokens, draw))
