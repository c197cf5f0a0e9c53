"""Errors that a user may cause. Each says what came, what is allowed, and what to do; none shows a traceback."""

import difflib
from collections.abc import Iterable


class MmcacheError(Exception):
    """An error with a message for the user. `exit_code` is the exit code of the command."""

    exit_code = 1


class ConfigError(MmcacheError):
    """A request that cannot be met: a wrong name, a missing folder, options that contradict each other."""

    exit_code = 2


class StoreError(MmcacheError):
    """A store cannot be read or written: damaged, foreign, newer than this code, or in use."""


class NoStoreError(StoreError):
    """There is no store where one was asked for."""

    exit_code = 2


class StoreMismatchError(StoreError):
    """The existing store has other segments, shapes or dtypes than the tokens to be written."""

    exit_code = 2


class FingerprintError(StoreMismatchError):
    """The existing tokens were made with other settings than the tokens to be written."""


class UnstorableTokens(StoreError):
    """The tokens of one segment cannot be stored: not finite, or too large for the dtype. Only that segment fails."""


class UnknownTokensError(ConfigError, KeyError):
    """The store has no tokens of that name. Also a KeyError, because FeatureStore.tokens is a mapping."""

    __str__ = Exception.__str__  # KeyError would show the message in quotes


class TooManyFailures(MmcacheError):
    """The run finished, but more segments failed than `--max-failures` allows."""

    exit_code = 3


class Problems:
    """Collects configuration mistakes, so that the user sees all of them at once."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def add(self, message: str) -> None:
        self.messages.append(message)

    def check_name(self, what: str, name: str, allowed: Iterable[str]) -> bool:
        """Add a problem when `name` is unknown, with the nearest allowed name. Returns whether it is known."""
        allowed = list(allowed)
        if name in allowed:
            return True
        self.add(unknown_name(what, name, allowed))
        return False

    def raise_if_any(self) -> None:
        if len(self.messages) == 1:
            raise ConfigError(self.messages[0])
        if self.messages:
            lines = "\n".join(f"  {i}. {m}" for i, m in enumerate(self.messages, 1))
            raise ConfigError(f"{len(self.messages)} things to put right:\n{lines}")


_MANY = 40  # with more names than this, the message shows the nearest one alone


def unknown_name(what: str, name: str, allowed: Iterable[str]) -> str:
    """The message for an unknown name: the nearest known name, and all known names unless there are many."""
    allowed = sorted(allowed)
    near = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    if near and len(allowed) > _MANY:
        return f"unknown {what} '{name}'.{hint}"
    return f"unknown {what} '{name}'.{hint} Known: {', '.join(allowed) or 'none'}."
