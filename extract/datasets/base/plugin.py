"""Check data sets that users bring as plugins; see docs/plugins.md."""

import inspect
from typing import Any

import pandas as pd

from mmcache.common.plugin_faults import PluginError
from mmcache.common.plugins import PluginKind
from mmcache.extract.datasets.base.dataset import Dataset, Option
from mmcache.store.format.layout import check_name
from mmcache.store.ground.errors import StoreError
from mmcache.store.segments.segment_table import check_segments

_SET_IN_INIT = {"tasks": dict, "eval_split": str, "segments": pd.DataFrame, "problems": list}


def _fault(found: Any) -> str | None:
    if not (isinstance(found, type) and issubclass(found, Dataset)):
        return f"it is {found.__name__ if isinstance(found, type) else type(found).__name__}, not such a class"
    if inspect.isabstract(found):
        return f"it lacks {', '.join(sorted(found.__abstractmethods__))}"
    absent = [name for name in ("name", "modalities") if not hasattr(found, name)]
    if absent:
        return f"it lacks the class attributes {', '.join(absent)}"
    if not isinstance(found.modalities, tuple) or not found.modalities:
        return "its modalities must be a tuple of names, such as ('rgb', 'audio')"
    try:
        check_name("data set", found.name)
        for modality in found.modalities:
            check_name("modality", modality)
    except (StoreError, TypeError) as error:
        return str(error)
    if not all(isinstance(option, Option) for option in dict(found.options).values()):
        return "its options must be a dictionary of Option"
    return None


DATASET_PLUGIN = PluginKind(
    "data set", "mmcache.datasets", "a subclass of mmcache.extract.datasets.base.dataset.Dataset", _fault
)


def check_dataset(dataset: Dataset) -> None:
    """Raise PluginError if a user's data set lacks an attribute, or its segments are invalid."""
    name = dataset.name
    for attribute, kind in _SET_IN_INIT.items():
        value = getattr(dataset, attribute, None)
        if not isinstance(value, kind):
            raise PluginError(
                f"data set plugin {name}: its __init__ must set {attribute} to a {kind.__name__}, and it is "
                f"{type(value).__name__}"
            )
    try:
        check_segments(dataset.segments, dataset.tasks)
    except StoreError as error:
        raise PluginError(f"data set plugin {name}: {error}") from error
