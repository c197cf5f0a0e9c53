"""Options of `mmcache fuse` that a data set may recommend: a few numbers, each within bounds.

Recommendations come with the data (ROOT/mmcache.yaml, an HDF5 file's attributes, a folder's mmcache.json), and data
must not control the program: the list has no option that chooses a method, a split or a path. Options that are not on
the list are ignored, and a message names them.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import pydantic
from pydantic import BeforeValidator, Field

from mmcache.store.ground.text import excerpt

_SHOWN = 6  # ignored options that a message names


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("true and false are no numbers")
    return value


def _whole(most: int) -> Any:
    return Annotated[int, Field(ge=1, le=most), BeforeValidator(_no_bool)]


def _real(least: float, most: float) -> Any:
    return Annotated[float, Field(ge=least, le=most, allow_inf_nan=False), BeforeValidator(_no_bool)]


# Option of `mmcache fuse` -> the values that a store may recommend.
RECOMMENDABLE: dict[str, Any] = {
    "k": _whole(100_000),
    "width": _whole(8192),
    "depth": _whole(128),
    "heads": _whole(128),
    "epochs": _whole(10_000),
    "batch_size": _whole(65_536),
    "accumulate": _whole(1024),
    "ffn_ratio": _real(0.01, 64.0),
    "dropout": _real(0.0, 0.95),
    "attention_dropout": _real(0.0, 0.95),
    "head_dropout": _real(0.0, 0.95),
    "label_smoothing": _real(0.0, 0.95),
    "lr": _real(1e-9, 10.0),
    "lr_end": _real(0.0, 10.0),
    "warmup": _real(0.0, 0.95),
    "weight_decay": _real(0.0, 10.0),
    "clip": _real(0.0, 1000.0),
}


def take_recommended(found: Any) -> tuple[dict[str, int | float], list[str]]:
    """Split the recommended options `found` in a file into the allowed ones, and the names of the ignored ones."""
    if not isinstance(found, Mapping):
        return {}, [] if found is None else [excerpt(found)]
    taken: dict[str, int | float] = {}
    ignored = []
    for name, value in found.items():
        try:
            taken[name] = pydantic.TypeAdapter(RECOMMENDABLE[name]).validate_python(value)
        except KeyError:
            ignored.append(name if isinstance(name, str) and name.isidentifier() else excerpt(name, 40))
        except pydantic.ValidationError:
            ignored.append(f"{name}: {excerpt(value, 40)}")
    return taken, ignored


def ignored_note(where: str, ignored: list[str]) -> str:
    """One line that names the ignored recommendations of the file `where`."""
    shown = ", ".join(ignored[:_SHOWN]) + (f" and {len(ignored) - _SHOWN} more" if len(ignored) > _SHOWN else "")
    return (
        f"{where} recommends options that data may not set; these are ignored: {shown}. Allowed are sensible values of "
        f"{', '.join(RECOMMENDABLE)}; give other options as flags."
    )


def recommendations(found: Any, where: str, notes: list[str]) -> dict[str, int | float]:
    """The allowed ones of the options `found` in the file `where`; a line in `notes` names the others."""
    taken, ignored = take_recommended(found)
    if ignored:
        notes.append(ignored_note(where, ignored))
    return taken
