"""Errors a user may meet. Each says what came, what was allowed, and what to do; none ends in a traceback."""

import difflib
from collections.abc import Iterable


class MmcacheError(Exception):
    """A failure with a message meant for the user. `exit_code` is what the command line returns for it."""

    exit_code = 1


class ConfigError(MmcacheError):
    """Something asked for cannot be: a wrong name, a missing folder, options that contradict each other."""

    exit_code = 2


class StoreError(MmcacheError):
    """A store cannot be read or written: damaged, foreign, newer than this code, or in use."""


class NoStoreError(StoreError):
    """There is no store where one was asked for."""

    exit_code = 2


class StoreMismatchError(StoreError):
    """A sound store holds something else than what was to be written to it: other segments, shapes or types."""

    exit_code = 2


class FingerprintError(StoreMismatchError):
    """Tokens made one way were about to be mixed with tokens made another way."""


class UnstorableTokens(StoreError):
    """One segment's tokens cannot be stored: not finite, or too large for the dtype. Its loss, not the run's."""


class UnknownTokensError(ConfigError, KeyError):
    """A store has no tokens of that name; a KeyError too, as a mapping's should be."""

    __str__ = Exception.__str__  # KeyError's own would show the message in quotes


class TooManyFailures(MmcacheError):
    """The run finished, but more segments failed than `--max-failures` allows."""

    exit_code = 3


class Problems:
    """Collects every configuration mistake, so that the user sees all of them at once."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def add(self, message: str) -> None:
        self.messages.append(message)

    def check_name(self, what: str, name: str, allowed: Iterable[str]) -> bool:
        """Note an unknown `name`, with the nearest allowed one. True when the name is known."""
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


_MANY = 40  # names, which would bury the one that was meant


def unknown_name(what: str, name: str, allowed: Iterable[str]) -> str:
    """The message for a name nobody knows: the nearest one, and all there are unless these are many."""
    allowed = sorted(allowed)
    near = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    if near and len(allowed) > _MANY:
        return f"unknown {what} '{name}'.{hint}"
    return f"unknown {what} '{name}'.{hint} Known: {', '.join(allowed) or 'none'}."
