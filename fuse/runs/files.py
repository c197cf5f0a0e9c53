"""The files of a run, checked against one schema as they are read.

A file that parses may still hold the wrong type, size or name: edited by hand, cut, or of another version. Each fault
is named with its file and field, so that none ends in a traceback or, worse, in a plausible number.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pydantic
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from mmcache.fuse.options.fields import fields_of, is_place
from mmcache.fuse.options.shared import SHARED, TeacherOptions
from mmcache.store.files.json_file import parse_json, read_json, read_json_lines
from mmcache.store.files.user_file import read_regular
from mmcache.store.ground.errors import ConfigError
from mmcache.store.ground.text import excerpt

CONFIG_FILE, WEIGHTS_FILE = "config.yaml", "model.safetensors"
IDENTITY_FILE = "identity"  # the first file of a run
METRICS_FILE = "metrics.jsonl"
SUBSETS_FILE = "subsets.parquet"
SUMMARY_FILE = "summary.json"  # the last file of a run
SEAL = "sha256"  # of config.yaml: section -> digest
_SEALED = ("options", "model", "tokens", "eval_split", "dataset", "picked_on", "learned_from")
FORMAT = 2  # of config.yaml: options are nested
_PLACES = {
    section: tuple(field.name for field in fields_of(kind) if is_place(field))
    for section, kind in {**SHARED, "teacher": TeacherOptions}.items()
}
_SHOWN = 3
_ANEW = "remove the run's folder, and the same command begins it anew"
_MOST = 10_000_000
_LONGEST = 64 << 20  # bytes of metrics.jsonl

Percent = Annotated[float, Field(ge=-1e-6, le=100 + 1e-6, allow_inf_nan=False, strict=True)]
Finite = Annotated[float, Field(allow_inf_nan=False, strict=True)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
Count = Annotated[int, Field(ge=0, le=1 << 62, strict=True)]
_ByTask = dict[str, dict[str, Percent | None]]


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST


def _shape(value: list[Any]) -> list[Any]:
    if len(value) != 3 or not isinstance(value[0], str) or not all(map(_is_size, value[1:])):
        raise ValueError("expected [encoder, tokens, width]")
    return value


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class _Model(_Part):
    modalities: Annotated[dict[str, Annotated[list[Any], AfterValidator(_shape)]], Field(min_length=1, max_length=16)]
    tasks: Annotated[dict[str, Annotated[list[str], Field(min_length=1)]], Field(min_length=1)]


class _Fingerprint(_Part):
    encoder: str
    weights: str = ""
    weights_sha256: str = ""
    preprocessing: dict[str, Any] = Field(default_factory=dict)
    k: Annotated[int, Field(ge=1)] | None = None
    code_version: int = 0


class _Tokens(_Part):
    fingerprint: _Fingerprint
    dtype: str


class _Run(_Part):
    """config.yaml."""

    options: dict[str, Any]
    model: _Model
    eval_split: str
    store: str
    dataset: str = ""
    tokens: dict[str, _Tokens] | None = None
    sha256: dict[str, str] | None = None


class _CostOfSubset(_Part):
    flops: Amount
    latency_ms: Amount
    peak_memory_bytes: Amount


class _Cost(_Part):
    parameters: Count
    device: str
    subsets: Annotated[dict[str, _CostOfSubset], Field(min_length=1)]


class _WithCost(_Part):
    cost: _Cost | None = None


class _Summary(_WithCost):
    """summary.json."""

    split: str
    n: Annotated[int, Field(ge=1)]
    subsets: Annotated[dict[str, _ByTask], Field(min_length=1)]
    rates: dict[str, _ByTask]
    drop: _ByTask
    summary: Annotated[dict[str, dict[str, Finite | None]], Field(min_length=1)]
    train_seconds: Amount


class _Epoch(_Part):
    """A line of metrics.jsonl."""

    epoch: Count
    loss: Finite
    validation: dict[str, Percent]
    seconds: Amount


def check_config(saved: Any, path: Path) -> dict[str, Any]:
    """The content of a config.yaml, if it is what `mmcache fuse` writes. Raises ConfigError naming what is not."""
    if not isinstance(saved, dict) or not {"options", "model"} <= set(saved):
        raise ConfigError(f"{path} is not what `mmcache fuse` writes: options or model are not in it")
    if saved.get("format") != FORMAT:
        raise ConfigError(
            f"{path} was written by another version of mmcache, which kept options otherwise: train again"
        )
    checked: dict[str, Any] = _check(_Run, saved, path, "train again")
    return checked


def check_seals(saved: Mapping[str, Any], path: Path) -> None:
    """Raise ConfigError where a section of config.yaml was changed after the run was trained."""
    for section, digest in (saved.get(SEAL) or {}).items():
        if digest != _digest(section, saved):
            places = ", ".join(name for names in _PLACES.values() for name in names)
            but = f" (of options, {places} may be changed)" if section == "options" else ""
            raise ConfigError(
                f"{path}: {section} is not what it was when the run was trained{but}. Put back the original, or train "
                "again"
            )


def seals(saved: Mapping[str, Any]) -> dict[str, str]:
    """Section of config.yaml -> digest of what it holds, short of places."""
    return {section: _digest(section, saved) for section in _SEALED if section in saved}


def _digest(section: str, saved: Mapping[str, Any]) -> str:
    """Of a section; of the options without places, which may be edited when folders move.

    The order of modalities counts: weights are found by the place of a modality.
    """
    value = saved.get(section)
    if section == "options" and isinstance(value, dict):
        value = {
            name: {k: v for k, v in part.items() if k not in _PLACES.get(name, ())} if isinstance(part, dict) else part
            for name, part in value.items()
        }
    if section == "model" and isinstance(value, dict) and isinstance(value.get("modalities"), dict):
        value = {**value, "modalities": list(value["modalities"].items())}
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def read_summary(path: Path) -> dict[str, Any]:
    """A run's summary.json. Raises ConfigError naming what is wrong with it."""
    return _read(_Summary, path)


def read_cost(path: Path) -> dict[str, Any] | None:
    """What a run's summary.json says of its cost, None where it says nothing. Raises ConfigError."""
    cost: dict[str, Any] | None = _read(_WithCost, path).get("cost")
    return cost


def _read(kind: type[BaseModel], path: Path) -> dict[str, Any]:
    remedy = "remove it, and the same `mmcache fuse` or sweep makes it again"
    try:
        content = read_json(path)
    except ConfigError as error:
        raise ConfigError(f"{error}. Restore it, or {remedy}") from None
    checked: dict[str, Any] = _check(kind, content, path, remedy)
    return checked


def read_metrics(path: Path, epochs: int | None = None) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl, one an epoch.

    Args:
        epochs: how many there must be; lines after these, of an interrupted epoch, are ignored.

    Raises:
        ConfigError: a line is wrong or missing, which is named.
    """
    lines = read_json_lines(path, epochs)
    for i, line in enumerate(lines):
        where = f"line {i + 1} of {path}"
        _check(_Epoch, line, where, _ANEW)
        if line["epoch"] != i:
            raise ConfigError(
                f"{where} has epoch {line['epoch']} where {i} is expected: two commands may have written it. Restore "
                f"it, or {_ANEW}"
            )
    if epochs is not None and len(lines) < epochs:
        raise ConfigError(f"{path} has {len(lines)} lines, and {epochs} epochs are done. Restore it, or {_ANEW}")
    return lines


def last_epoch(path: Path) -> dict[str, Any] | None:
    """The last line of a run's metrics.jsonl, None where there is none yet. Raises ConfigError naming what is wrong."""
    try:
        lines = read_regular(path, _LONGEST).decode(errors="replace").splitlines() if path.exists() else []
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}. Restore it, or {_ANEW}") from error
    if not lines:
        return None
    where = f"line {len(lines)} of {path}"
    last: dict[str, Any] = _check(_Epoch, parse_json(lines[-1], where), where, _ANEW)
    return last


def _check(kind: type[BaseModel], content: Any, where: object, remedy: str) -> Any:
    """`content` as it is, if it fits. Raises ConfigError naming the first fields that do not."""
    try:
        kind.model_validate(content)
    except pydantic.ValidationError as error:
        faults = error.errors(include_url=False)
        told = [f"{'.'.join(map(str, f['loc'])) or 'it'} = {excerpt(f['input'], 40)} ({f['msg']})" for f in faults]
        missing = {i for i, fault in enumerate(faults) if fault["type"] == "missing"}
        told = [f"{'.'.join(map(str, faults[i]['loc']))} is missing" if i in missing else t for i, t in enumerate(told)]
        more = f" and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
        raise ConfigError(f"{where} is damaged: {'; '.join(told[:_SHOWN])}{more}. Restore it, or {remedy}") from None
    return content
