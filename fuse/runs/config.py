"""config.yaml of a run: its resolved options, the shapes of its model, and where it comes from."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mmcache.common.yaml_file import read_yaml
from mmcache.fuse.options.options import Options
from mmcache.fuse.options.saved import options_from
from mmcache.fuse.runs.files import (
    CONFIG_FILE,
    FORMAT,
    IDENTITY_FILE,
    SEAL,
    SUMMARY_FILE,
    WEIGHTS_FILE,
    check_config,
    check_seals,
    seals,
)
from mmcache.fuse.runs.spec import ModelSpec
from mmcache.store.ground.errors import ConfigError
from mmcache.store.ground.lock import holder_of


def read_run_config(run: Path) -> dict[str, Any]:
    """config.yaml of a finished run. Raises ConfigError when `run` is not a finished run."""
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (run / name).is_file():
            raise ConfigError(f"{run} is not a finished run {_unfinished(run, name)}")
    return check_run_config(run)


def check_run_config(run: Path) -> dict[str, Any]:
    """config.yaml of a run, its options and shapes checked. Raises ConfigError naming what is wrong."""
    path = run / CONFIG_FILE
    return check_content(read_yaml(path), path)


def check_content(content: Any, path: Path) -> dict[str, Any]:
    """`content` of `path`, a config.yaml that `mmcache fuse` can have written. Raises ConfigError naming the fault."""
    saved = check_config(content, path)
    try:
        options_from(saved["options"], saved.get("plugins") or {}, strict=False)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    check_seals(saved, path)  # last: a value of a wrong type is named by its field
    return saved


def options_of(saved: Mapping[str, Any]) -> Options:
    """The options of a run.

    Raises:
        ConfigError: this version of mmcache does not have them, or the run uses a plugin that the command line does
            not name.
    """
    found = options_from(saved["options"], saved.get("plugins") or {})
    assert found is not None
    return found


def spec_of(saved: Mapping[str, Any]) -> ModelSpec:
    """The shapes of a run's model."""
    return ModelSpec(
        modalities={name: tuple(shape) for name, shape in saved["model"]["modalities"].items()},
        tasks=saved["model"]["tasks"],
    )


def to_yaml(options: Options, spec: ModelSpec, extra: Mapping[str, Any]) -> str:
    """The text that `read_run_config` reads back."""
    plugins = {name: dataclasses.asdict(record) for name, record in options.components.plugins.items()}
    content = {
        "format": FORMAT,
        **extra,
        **({"plugins": plugins} if plugins else {}),
        "options": options.nested(),
        "model": {
            "modalities": {name: list(shape) for name, shape in spec.modalities.items()},
            "tasks": spec.tasks,
        },
    }
    plain = json.loads(json.dumps(content, default=str))
    return yaml.safe_dump({SEAL: seals(plain), **plain}, sort_keys=False, width=120)


def _unfinished(run: Path, lacks: str) -> str:
    """Why a folder is not a finished run, and what to do."""
    makes = "`mmcache fuse` makes one, under runs/ by default."
    if not (run / IDENTITY_FILE).is_file():
        return f"({'no such folder' if not run.is_dir() else f'{lacks} is not in it'}). {makes}"
    holder = holder_of(run)
    if holder is not None:
        return f"(another process, pid {holder}, is training it). Wait for it to finish."
    if (run / SUMMARY_FILE).is_file():
        return f"({lacks} is gone). Restore it, or remove the run's folder, and the same command begins it anew."
    return "(it was begun and not finished). The same `mmcache fuse` command goes on with it."
