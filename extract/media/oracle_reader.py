"""Tokens of the data set oracle, drawn rather than read."""

import dataclasses

from mmcache.common.oracle_world import NAME, Oracle
from mmcache.extract.media.base.requests import MediaRequest, Reading
from mmcache.extract.media.base.source import Source
from mmcache.store.ground.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class OracleSource(Source):
    """What the tokens of one modality are drawn from; `entry` becomes the segment's id."""

    world: Oracle = dataclasses.field(default_factory=Oracle)
    modality: str = ""
    seed: int = 0


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


def check_source(source: Source) -> OracleSource:
    """The source of one segment. Raises ConfigError for one that is not the oracle's."""
    if not isinstance(source, OracleSource):
        raise ConfigError(f"media of kind {NAME} come from the data set {NAME} alone")
    return source
