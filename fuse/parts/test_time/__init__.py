"""Steps taken at test time, on the very segments to be predicted: what each minimises, and its options."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import pydantic

from mmcache.fuse.parts.test_time import entropies, midl
from mmcache.fuse.parts.test_time.adapter import Adapter, Seen, StepLoss
from mmcache.fuse.parts.test_time.options import AdaptOptions, MidlOptions
from mmcache.store.ground.errors import ConfigError, Problems, unknown_name
from mmcache.store.ground.text import excerpt


@dataclasses.dataclass(frozen=True)
class TestTimeStep:
    """A step at test time."""

    loss: StepLoss
    Options: type = AdaptOptions


TEST_TIME: dict[str, TestTimeStep] = {
    "midl": TestTimeStep(midl.loss, MidlOptions),
    "tent": TestTimeStep(entropies.tent),
    "shot": TestTimeStep(entropies.shot),
    "eta": TestTimeStep(entropies.eta),
}


def step_options(step: str, given: Mapping[str, Any], own: Any = None) -> Any:
    """The options of a step.

    Args:
        given: option -> value.
        own: what they are where they are not given: those of a strategy that has the step; None = its defaults.

    Raises:
        ConfigError: the step is unknown, it has no such option, or a value is wrong.
    """
    if step not in TEST_TIME:
        raise ConfigError(unknown_name("test-time step", step, TEST_TIME))
    kind, problems = TEST_TIME[step].Options, Problems()
    names = [field.name for field in dataclasses.fields(kind)]
    for name in given:
        problems.check_name(f"option of {step}", name, names)
    base = {name: getattr(own, name) for name in names} if own is not None else {}
    try:
        built: Any = pydantic.TypeAdapter(kind).validate_python(
            {**base, **{n: v for n, v in given.items() if n in names}}
        )
    except pydantic.ValidationError as error:
        for fault in error.errors(include_url=False):
            problems.add(f"{fault['loc'][0]} = {excerpt(fault['input'])}: {fault['msg']}")
    problems.raise_if_any()
    return built


__all__ = ["TEST_TIME", "Adapter", "Seen", "StepLoss", "TestTimeStep", "step_options"]
