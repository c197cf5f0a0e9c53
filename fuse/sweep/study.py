"""A search: points chosen by what earlier ones came to, with Optuna through Ray Tune, and written down as chosen."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from mmcache.fuse.sweep.space import rounded
from mmcache.fuse.sweep.spec import Search
from mmcache.store.files.atomic import atomic_write
from mmcache.store.files.json_file import parse_json
from mmcache.store.files.user_file import read_regular
from mmcache.store.ground.errors import ConfigError
from mmcache.store.ground.text import excerpt

_LONGEST = 64 << 20  # bytes of the points of a search

METRIC = "validation"


class Study:
    """The search for one strategy on one store.

    Args:
        file: where its points are written down, line by line, as they are chosen.
        name: of this study; its draws are its own.
    """

    def __init__(self, search: Search, file: Path, name: str) -> None:
        self._count, self._space, self._file, self.name = search.num_samples, search.space, file, name
        self._fresh: set[int] = set()
        self._asked: list[dict[str, Any]] = self._written()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of experimental parts of Optuna, which Tune uses
            import optuna
            from ray.tune.search.optuna import OptunaSearch

            optuna.logging.set_verbosity(optuna.logging.ERROR)
            space = {option: part.for_optuna() for option, part in search.space.items()}
            # A search that goes on must not draw again what it drew first.
            key = [search.seed, len(self._asked), *name.encode()]
            seed = int(np.random.SeedSequence(key).generate_state(1)[0])
            self._search = OptunaSearch(space, metric=METRIC, mode="max", seed=seed)

    def next_point(self) -> tuple[int, dict[str, Any]] | None:
        """The number of another point and the point, or None where all are chosen."""
        number = len(self._asked)
        if number == self._count:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            asked = self._search.suggest(str(number))
        assert isinstance(asked, dict)
        with open(self._file, "a") as file:
            file.write(json.dumps(asked) + "\n")
        self._asked.append(asked)
        self._fresh.add(number)
        return number, self.point(number)

    @property
    def chosen(self) -> int:
        """How many points are chosen."""
        return len(self._asked)

    def point(self, number: int) -> dict[str, Any]:
        """A point that was chosen, its numbers rounded to what is shown."""
        return {name: rounded(value) for name, value in self._asked[number].items()}

    def tell(self, number: int, value: float | None) -> None:
        """What a point came to; None = it failed."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if number in self._fresh:
                result = {METRIC: value} if value is not None else None
                self._search.on_trial_complete(str(number), result, error=value is None)
            elif value is not None:
                self._search.add_evaluated_point(self._asked[number], value)

    def _written(self) -> list[dict[str, Any]]:
        """The points of an earlier command; the line that it was killed over is dropped."""
        written = read_regular(self._file, _LONGEST) if self._file.exists() else b""
        lines = written.decode(errors="replace").split("\n")[:-1]
        points = [self._point(line, f"line {i} of {self._file}") for i, line in enumerate(lines, 1)]
        atomic_write(self._file, "".join(line + "\n" for line in lines).encode())
        return points[: self._count]

    def _point(self, line: str, where: str) -> dict[str, Any]:
        point = parse_json(line, where)
        space = self._space
        if not isinstance(point, dict) or set(point) != set(space) or not all(space[n].has(point[n]) for n in space):
            raise ConfigError(
                f"{where} is no point of the search ({excerpt(line)}): remove the sweep's folder `search`, and the "
                "search begins anew"
            )
        return point
