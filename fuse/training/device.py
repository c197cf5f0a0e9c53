"""Which device to run on."""

import torch

from mmcache.store.ground.errors import ConfigError


def usable_device(asked: str) -> str:
    """`asked`, or for auto a GPU where there is one. Raises ConfigError for a device that cannot be used here."""
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=asked)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"--device {asked} cannot be used here: {str(error).splitlines()[0]}") from error
    return asked
