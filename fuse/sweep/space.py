"""Where the values of an option are drawn from: `lr: {loguniform: [1e-4, 1e-2]}`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from mmcache.store.ground.errors import Problems

_DIGITS = 4  # of a drawn number: what is shown is what was used


@dataclass(config=ConfigDict(extra="forbid"))
class Distribution:
    """One of these; ranges have both ends."""

    uniform: tuple[float, float] | None = None
    loguniform: tuple[float, float] | None = None
    integer: tuple[int, int] | None = None
    choice: list[Any] | None = None

    def check(self, name: str, problems: Problems) -> None:
        """Add what is wrong with it as the distribution of the option `name`."""
        given = {kind: value for kind, value in dataclasses.asdict(self).items() if value is not None}
        if len(given) != 1:
            problems.add(f"{name}: give one of uniform, loguniform, integer, choice; got {', '.join(given) or 'none'}")
            return
        kind, value = next(iter(given.items()))
        if kind == "choice" and not value:
            problems.add(f"{name}: choice of nothing; give values, e.g. choice: [32, 64]")
        if kind != "choice" and not value[0] < value[1]:
            problems.add(f"{name}: {kind} from {value[0]:g} to {value[1]:g}; the first must be the smaller")
        if kind == "loguniform" and value[0] <= 0:
            problems.add(f"{name}: loguniform from {value[0]:g}; it must be above 0")

    def draw(self, random: np.random.Generator) -> Any:
        """One value."""
        if self.choice is not None:
            return self.choice[int(random.integers(len(self.choice)))]
        if self.integer is not None:
            return int(random.integers(self.integer[0], self.integer[1] + 1))
        if self.loguniform is not None:
            low, high = np.log(self.loguniform)
            return rounded(float(np.exp(random.uniform(low, high))))
        assert self.uniform is not None
        return rounded(float(random.uniform(*self.uniform)))

    def has(self, value: Any) -> bool:
        """Whether a value, as read back from a file, is one that may be drawn."""
        if self.choice is not None:
            return value in self.choice
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        if self.integer is not None:
            return isinstance(value, int) and self.integer[0] <= value <= self.integer[1]
        low, high = self.loguniform or self.uniform or (0.0, 0.0)
        return low <= value <= high

    def for_optuna(self) -> Any:
        """The same as an Optuna distribution."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choice is not None:
            return CategoricalDistribution(self.choice)
        if self.integer is not None:
            return IntDistribution(*self.integer)
        if self.loguniform is not None:
            return FloatDistribution(*self.loguniform, log=True)
        assert self.uniform is not None
        return FloatDistribution(*self.uniform)


def draw_points(space: Mapping[str, Distribution], count: int, seed: int) -> list[dict[str, Any]]:
    """`count` points of a space, each option's values keyed by (seed, number, name), so that more change none."""
    return [
        {name: part.draw(np.random.default_rng([seed, number, *name.encode()])) for name, part in space.items()}
        for number in range(count)
    ]


def rounded(value: Any) -> Any:
    """A number with as many digits as are shown; anything else as it is."""
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
