"""The options of `mmcache extract`."""

import dataclasses
import os
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from mmcache.common.plugins import absolute_spec
from mmcache.extract.datasets import Dataset, find_dataset
from mmcache.extract.datasets import is_plugin as is_dataset_plugin
from mmcache.extract.encoders import DEFAULT_ENCODERS, encoders_for, entry_of, is_plugin
from mmcache.extract.encoders.base.entry import PRETRAINED, RANDOM
from mmcache.store.format.layout import TOKEN_DTYPES
from mmcache.store.ground.errors import ConfigError, Problems, unknown_name


@dataclass(config=ConfigDict(extra="forbid"))
class ExtractConfig:
    """Options of stage one. Paths left out: root is $MMCACHE_DATA/NAME or data/NAME, store cache/NAME.zarr."""

    dataset: str
    root: Path | None = None
    annotations: Path | None = None
    set: dict[str, float | int | str] = dataclasses.field(default_factory=dict)  # the data set's own settings
    unlabelled: bool = False  # accept a manifest without labels
    store: Path | None = None
    modalities: list[str] | None = None  # None = all of the data set that are on disk
    encoder: dict[str, str] = dataclasses.field(default_factory=dict)  # modality -> encoder name
    weights: str = PRETRAINED
    k: Annotated[int, Field(ge=1)] | None = None  # k-Average before caching; None = all tokens
    views: Annotated[int, Field(ge=1)] = 1  # the centre view, and augmented ones beside it
    dtype: str = "float16"
    splits: list[str] | None = None
    limit: Annotated[int, Field(ge=1)] | None = None  # segments of each split
    workers: Annotated[int, Field(ge=1)] | None = None  # None = one a GPU, or one a machine
    address: str | None = None  # of a Ray cluster: auto or HOST:PORT; None = this machine alone
    batch_size: Annotated[int, Field(ge=1)] = 4
    shard_mb: Annotated[float, Field(gt=0)] = 128.0
    max_failures: Annotated[float, Field(ge=0, le=1)] = 0.01
    retry_failed: bool = False
    refresh: bool = False  # encode segments again whose files have changed since they were cached

    def dataset_name(self) -> str:
        """The data set's own name, which differs from `dataset` where that names a plugin's file."""
        return find_dataset(self.dataset)[0].name if is_dataset_plugin(self.dataset) else self.dataset

    def data_root(self) -> Path:
        return self.root or Path(os.environ.get("MMCACHE_DATA", "data")) / self.dataset_name()

    def store_path(self) -> Path:
        return self.store or Path("cache") / f"{self.dataset_name()}.zarr"

    def settings(self) -> dict[str, float | int | str]:
        """`set`, with the settings that have a flag of their own."""
        return {**self.set, **({"labels": "none"} if self.unlabelled else {})}

    def encoder_of(self, modality: str) -> str:
        """The encoder of a modality, by a name that holds in any working directory. Raises ConfigError for none."""
        name = self.encoder.get(modality) or DEFAULT_ENCODERS.get(modality)
        if name is None:
            raise ConfigError(f"no encoder is the default of {modality}: name one with --encoder {modality}=NAME")
        if is_plugin(name):
            return absolute_spec(name)
        prefix, _, model = name.partition(":")
        return f"{prefix}:{Path(model).absolute()}" if model and Path(model).is_dir() else name

    def weights_choice(self) -> str:
        """`weights` with an absolute path, for workers in other working directories."""
        path = Path(self.weights)
        return str(path.absolute()) if self.weights != PRETRAINED and path.exists() else self.weights

    def check(self) -> None:
        """Raise ConfigError naming every mistake that can be found without reading the data."""
        problems = Problems()
        try:
            found, _ = find_dataset(self.dataset)
        except ConfigError as error:
            problems.add(str(error))
        else:
            for modality in [*(self.modalities or []), *self.encoder]:
                problems.check_name(f"modality of {found.name}", modality, found.modalities)
            self._check_options(found, problems)
        for modality, name in self.encoder.items():
            try:
                takes = entry_of(name).modalities
            except ConfigError as error:
                problems.add(str(error))
                continue
            if modality not in takes and modality in DEFAULT_ENCODERS:  # others are a plugin's: the plan compares media
                fitting = ", ".join(encoders_for(modality)) or "none"
                problems.add(
                    f"encoder {name} takes {', '.join(takes)}, not {modality}; for {modality} there are: {fitting}"
                )
        if self.dtype not in TOKEN_DTYPES:
            problems.add(f"--dtype {self.dtype}: allowed are {', '.join(TOKEN_DTYPES)}")
        if self.modalities is not None and len(set(self.modalities)) < len(self.modalities):
            problems.add(f"--modalities {','.join(self.modalities)} names one twice")
        for option, names in (("modalities", self.modalities), ("splits", self.splits)):
            if names is not None and not names:
                problems.add(f"--{option} names none; leave it out for all of them")
        self._check_weights(problems)
        problems.raise_if_any()

    def _check_options(self, found: type[Dataset], problems: Problems) -> None:
        options = found.options
        if self.unlabelled and "labels" not in options:
            problems.add(f"--unlabelled: the labels of {found.name} are in its annotations")
        for name, value in self.set.items():
            if not options:
                problems.add(f"--set {name}={value}: {found.name} has no settings")
            elif problems.check_name(f"setting of {found.name}", name, options):
                option = options[name]
                kinds = (int, float) if isinstance(option.default, float) else type(option.default)
                if option.allowed and value not in option.allowed:
                    problems.add(f"--set {name}={value}: allowed are {', '.join(map(str, option.allowed))}")
                elif not isinstance(value, kinds):
                    expected = f"a value such as {option.default}" if option.default != "" else option.about
                    problems.add(f"--set {name}={value}: expected {expected}")

    def _check_weights(self, problems: Problems) -> None:
        kind, _, seed = self.weights.partition(":")
        if self.weights in (PRETRAINED, RANDOM) or (kind == RANDOM and seed.isdigit()) or Path(self.weights).exists():
            return
        if kind == RANDOM:
            problems.add(f"--weights {self.weights}: the seed after 'random:' must be a whole number")
        else:
            named = unknown_name("--weights", self.weights, (PRETRAINED, RANDOM))
            problems.add(f"{named} Or the path of a file or folder; no such path exists.")
