"""Exceptions raised in the source of plugins, shown with file and line: they are their author's to mend, not ours."""

import contextlib
import traceback
from collections.abc import Iterator
from pathlib import Path

from mmcache.store.ground.errors import ConfigError, MmcacheError

_LONGEST = 300  # characters of an exception's own text
_watched: set[str] = set()  # the files of plugins that this process loaded


class PluginError(ConfigError):
    """A plugin cannot be loaded, is not what was asked for, or failed; the message names its file."""


def watch(path: Path) -> None:
    """From now on, exceptions that pass through this file are shown as the plugin's."""
    _watched.add(str(path))


def fault_in(error: BaseException) -> PluginError | None:
    """`error` with the innermost line of a plugin that it passed through; None where it passed through none."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in _watched]
    if not frames:
        return None
    said = " ".join(str(error).split())[:_LONGEST]
    text = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return PluginError(f"plugin {frames[-1].filename}, line {frames[-1].lineno}, in {frames[-1].name}: {text}")


@contextlib.contextmanager
def plugin_faults() -> Iterator[None]:
    """Turn exceptions raised in a plugin's source into PluginError; all others and our own pass unchanged."""
    try:
        yield
    except MmcacheError:
        raise
    except Exception as error:
        fault = fault_in(error)
        if fault is None:
            raise
        raise fault from error
