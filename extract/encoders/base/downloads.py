"""Check within seconds that a server of weights can be reached, before a download starts.

The libraries that download weights try a server that does not answer again and again, for minutes. So one short request
is made before theirs, by the same client and through the same proxies. What follows it, such as a slow download, takes
as long as the library allows.
"""

import contextlib
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch

FIRST_CONTACT_S = 10.0  # a server that does not answer within this time counts as out of reach
_REMEMBER_S = 60.0  # how long a server that is out of reach is not asked again

_out_of_reach: dict[str, tuple[float, str]] = {}  # server -> when it was found out of reach, and why


class OutOfReach(OSError):
    """A server does not answer, and its files are not in the cache of this machine."""

    def __init__(self, server: str, why: str) -> None:
        super().__init__(f"{server} cannot be reached ({why}), and the cache of this machine does not hold them")


@contextlib.contextmanager
def hub() -> Iterator[None]:
    """Use the Hugging Face hub; while it is out of reach, its libraries look in the cache of this machine alone.

    Raises:
        OutOfReach: the hub does not answer, and the cache does not do.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:  # the user wants no request at all
        yield
        return
    server = urlparse(constants.ENDPOINT).netloc
    why = _first_contact(server, lambda: get_session().head(constants.ENDPOINT, timeout=FIRST_CONTACT_S))
    if why is None:
        yield
        return
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    except Exception as error:  # each library has its own kind for what is not in the cache
        raise OutOfReach(server, why) from error
    finally:
        constants.HF_HUB_OFFLINE = False


def torchvision_weights(published: Any) -> Mapping[str, torch.Tensor]:
    """The state dict of an entry of torchvision's table of weights, from its cache or downloaded.

    Raises:
        OutOfReach: it is not in the cache, and the server does not answer.
    """
    url = published.url
    if not (Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name).exists():
        server = urlparse(url).netloc
        why = _first_contact(server, lambda: _ask(url))
        if why is not None:
            raise OutOfReach(server, why)
    with contextlib.redirect_stdout(sys.stderr):  # PyTorch announces a download on stdout, where --json writes
        return published.get_state_dict(progress=False, check_hash=True)


def _ask(url: str) -> None:
    request = urllib.request.Request(url, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=FIRST_CONTACT_S).close()
    except urllib.error.HTTPError:
        return  # it answered; the download will report other errors


def _first_contact(server: str, ask: Callable[[], object]) -> str | None:
    """Why a server is out of reach, or None where it answers, whatever it answers."""
    found_at, why = _out_of_reach.get(server, (0.0, ""))
    if why and time.monotonic() - found_at < _REMEMBER_S:
        return why
    said: list[str] = []
    # On a thread, because name resolution has no time limit.
    asking = threading.Thread(target=lambda: said.append(_failure(ask)), daemon=True)
    asking.start()
    asking.join(FIRST_CONTACT_S + 1.0)
    why = said[0] if said else f"no answer within {FIRST_CONTACT_S:.0f} s"
    if not why:
        _out_of_reach.pop(server, None)
        return None
    _out_of_reach[server] = (time.monotonic(), why)
    return why


def _failure(ask: Callable[[], object]) -> str:
    try:
        ask()
    except Exception as error:  # of two clients, which have no common base
        reason = getattr(error, "reason", error)
        return " ".join(str(reason).split())[:200] or type(error).__name__
    return ""
