"""Copy tokens into a store from another place: a file, a folder, or another token set of the same store."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmcache.store.format import layout
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.format.layout import Presence
from mmcache.store.ground.errors import ConfigError, UnstorableTokens
from mmcache.store.write.add_tokens import add_tokens
from mmcache.store.write.shard_commit import ShardCommit
from mmcache.store.write.token_writer import TokenWriter

Progress = Callable[[str, int, int], None]  # name, rows done, rows in all
ALL_ZERO = "all of its tokens are zero"  # a note; many releases write zeros for missing features


def no_progress(name: str, done: int, total: int) -> None:
    """Progress that prints nothing."""


@dataclasses.dataclass(frozen=True)
class TokenSource:
    """The tokens of one modality to be written.

    Attributes:
        shape: (V, T, D) of a segment.
        status: (N,) Presence of each row: CACHED = `read` has its tokens, TO_DO = not known yet.
        read: row -> ((V, n, D) floats, (V,) lengths where they vary). Raises UnstorableTokens with the reason
            when the tokens cannot be used.
        ids: (N,) segment ids.
        reasons: id -> reason, for rows whose status is FAILED.
        retry_failed: whether to try rows again that failed before.
    """

    modality: str
    fingerprint: Fingerprint
    shape: tuple[int, int, int]
    dtype: str
    variable_length: bool
    status: NDArray[np.uint8]
    read: Callable[[int], tuple[NDArray[np.floating], NDArray[np.integer] | None]]
    ids: list[str]
    reasons: dict[str, str] = dataclasses.field(default_factory=dict)
    retry_failed: bool = False


def write_source(root: Path, source: TokenSource, shard_bytes: int, progress: Progress) -> str:
    """Write the missing rows of a source to the store at `root`, shard by shard; returns the name of the token set.

    After a kill at any moment, the same call continues and ends with the same bytes. The caller must hold the writer
    lock, and call finish_reports afterwards.
    """
    views, tokens, width = source.shape
    writer = add_tokens(
        root,
        source.modality,
        source.fingerprint,
        tokens,
        width,
        views=views,
        dtype=source.dtype,
        shard_bytes=shard_bytes,
        variable_length=source.variable_length,
    )
    done = writer.presence()
    to_do = (done != source.status) & (source.status != Presence.TO_DO)
    if not source.retry_failed:
        to_do &= done != Presence.FAILED
    for shard in range(writer.grid.n_shards):
        rows = writer.grid.rows(shard)
        wanted = np.flatnonzero(to_do[rows.start : rows.stop]) + rows.start
        if len(wanted):
            _write_shard(writer, shard, wanted.tolist(), source)
        progress(writer.name, rows.stop, len(to_do))
    return writer.name


def _write_shard(writer: TokenWriter, shard: int, rows: list[int], source: TokenSource) -> None:
    with ShardCommit(writer, shard) as commit:
        for row in rows:
            status, reason = Presence(int(source.status[row])), None
            if status == Presence.CACHED:
                try:
                    tokens, lengths = source.read(row)
                    commit.put(row, tokens, lengths)
                    if not tokens.any():
                        commit.report(source.ids[row], Presence.CACHED, ALL_ZERO)
                except UnstorableTokens as error:
                    status, reason = Presence.FAILED, str(error)
            elif status == Presence.FAILED:
                reason = source.reasons.get(source.ids[row], "failed in the source of these tokens")
            if status == Presence.FAILED:
                commit.failed(row)
                commit.report(source.ids[row], Presence.FAILED, reason or "")
            elif status == Presence.MISSING:
                commit.missing(row)


def check_dtype(dtype: str | None, default: str) -> str:
    """The requested storage dtype, None = the default. Raises ConfigError for an unknown one."""
    if dtype is not None and dtype not in layout.TOKEN_DTYPES:
        raise ConfigError(f"--dtype {dtype}: allowed are {', '.join(layout.TOKEN_DTYPES)}")
    return dtype or default
