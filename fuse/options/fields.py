"""How an option is declared: a field with a default, a sentence, and what else the program must know of it.

@dataclass(frozen=True)
class Options:
    alpha: Rate = option(0.7, "Weight of cross-entropy; 1 - alpha is the teacher's.", varies=True)
"""

import dataclasses
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

Share = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# YAML reads a group named 3 as a number.
Text = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)]

_PLACE, _VARIES, _WEIGHT, _TEACHER, _BACKBONE, _HELP = "place", "varies", "weight", "teacher", "backbone", "help"


def option(
    default: Any,
    help: str,
    *,
    place: bool = False,
    varies: bool = False,
    weight: bool = False,
    teacher: bool = False,
    backbone: bool = False,
) -> Any:
    """A field of an options dataclass.

    Args:
        default: its value where none is given; lists and dictionaries are copied for every run.
        help: one sentence for people.
        place: says where a run lies or is computed; two runs that differ in places alone are one run.
        varies: runs that differ in it alone can train packed: a number that is applied to each run apart.
        weight: the weight of a loss term, which 0 leaves out; it varies.
        teacher: as a flag it also reaches the teachers that are trained first.
        backbone: a run that starts from another one's weights must have the same value.
    """
    kinds = {_PLACE: place, _VARIES: varies or weight, _WEIGHT: weight, _TEACHER: teacher, _BACKBONE: backbone}
    metadata = {_HELP: help, **kinds}
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def help_of(field: "dataclasses.Field[Any]") -> str:
    return str(field.metadata.get(_HELP, ""))


def is_place(field: "dataclasses.Field[Any]") -> bool:
    return bool(field.metadata.get(_PLACE))


def varies(field: "dataclasses.Field[Any]") -> bool:
    return bool(field.metadata.get(_VARIES))


def is_weight(field: "dataclasses.Field[Any]") -> bool:
    return bool(field.metadata.get(_WEIGHT))


def reaches_teachers(field: "dataclasses.Field[Any]") -> bool:
    return bool(field.metadata.get(_TEACHER))


def is_backbone(field: "dataclasses.Field[Any]") -> bool:
    return bool(field.metadata.get(_BACKBONE))


def default_of(field: "dataclasses.Field[Any]") -> Any:
    """The value of a field that is not set."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def fields_of(kind: type) -> "Iterator[dataclasses.Field[Any]]":
    """The fields of an options dataclass."""
    yield from dataclasses.fields(kind)
