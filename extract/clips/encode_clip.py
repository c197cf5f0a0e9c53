"""Encode a user's clip with the encoders that made a store's tokens, as `mmcache extract` does."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcache.extract.clips.clip_source import clip_source
from mmcache.extract.clips.token_recipe import TokenRecipe
from mmcache.extract.encoders import encoder_info
from mmcache.extract.media import MediaError, NoMedia, Reading, read_media
from mmcache.store.ground.errors import ConfigError, MmcacheError, Problems


class ClipError(MmcacheError):
    """Files of a clip cannot be used; the message names each with its reason."""


@dataclasses.dataclass(frozen=True)
class Clip:
    """The tokens of a clip.

    Attributes:
        tokens: modality -> (1, T, D), as a store would give them.
        notes: modality -> what was corrected while reading.
        skipped: modality -> why it has no tokens.
    """

    tokens: dict[str, NDArray[np.floating]]
    notes: dict[str, str]
    skipped: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A clip, and how to read it.

    Attributes:
        media: modality -> its file or folder, or those that belong together.
        start_s, stop_s: the part to encode, in seconds; infinity is the end of the media.
        rates: modality -> frames a second, where frames lie in a folder.
        encoders, weights: modality -> the name of its encoder, and its weights, if the recipe lacks them.
        skip_bad: leave out media that cannot be used, if others remain.
        imu_columns: what the columns of an IMU table are, as media/imu/imu_columns.py has it.
    """

    media: Mapping[str, tuple[Path, ...]]
    start_s: float = 0.0
    stop_s: float = np.inf
    rates: Mapping[str, float] = dataclasses.field(default_factory=dict)
    encoders: Mapping[str, str] = dataclasses.field(default_factory=dict)
    weights: Mapping[str, str] = dataclasses.field(default_factory=dict)
    skip_bad: bool = False
    imu_columns: str = ""


def encode_clip(wanted: Wanted, origins: Mapping[str, Mapping[str, Any]], device: str = "cpu") -> Clip:
    """Read, preprocess and encode a clip.

    Args:
        origins: modality -> how its tokens were made: the attributes of the token array of a store, and its dtype.

    Returns:
        Tokens equal to the cached ones of such a segment, except for last bits, which depend on the batch.

    Raises:
        ConfigError: modalities, files, encoders or options that cannot be; all of them at once.
        FingerprintError: an encoder or its weights are not those that the cached tokens were made with.
        ClipError: media that cannot be used, all of them at once; with `skip_bad` only where nothing is left.
    """
    recipes = _recipes(wanted, origins)
    readings, skipped = _read(wanted, recipes)
    _refuse(wanted, readings, skipped)
    tokens, notes = {}, {}
    for name, reading in readings.items():
        recipe = recipes[name]
        encoder = recipe.build(
            recipe.encoder_name(wanted.encoders.get(name)), recipe.weights_choice(wanted.weights.get(name)), device
        )
        given = encoder.encode(encoder.preprocess(reading.array, None, name)[None])
        made = recipe.as_stored(given) if np.isfinite(given).all() else given
        if not np.isfinite(made).all():
            skipped[name] = "the encoder gave values that a store cannot hold"
            continue
        tokens[name] = made
        if reading.note is not None:
            notes[name] = reading.note
        del encoder  # one network at a time
    _refuse(wanted, tokens, skipped)
    return Clip(tokens, notes, skipped)


def _recipes(wanted: Wanted, origins: Mapping[str, Mapping[str, Any]]) -> dict[str, TokenRecipe]:
    """Modality -> its recipe. Finds every mistake that shows without reading media or loading weights."""
    problems, recipes = Problems(), {}
    if not wanted.media:
        problems.add("no media given: name at least one file of a modality")
    if not 0 <= wanted.start_s < wanted.stop_s:
        problems.add(
            f"--start {wanted.start_s:g} --stop {wanted.stop_s:g}: stop must be later than start, both from 0 on"
        )
    for option, given in (("rate", wanted.rates), ("encoder", wanted.encoders), ("weights", wanted.weights)):
        for name in set(given) - set(wanted.media):
            problems.add(f"--{option} {name}=...: no media of {name} are given")
    for name in wanted.media:
        if name not in origins:
            problems.add(f"the run has no modality {name}; it has {', '.join(origins)}")
            continue
        try:
            recipe = TokenRecipe.of(name, origins[name])
            recipe.weights_choice(wanted.weights.get(name))
            recipe.check_info(encoder_info(recipe.encoder_name(wanted.encoders.get(name))))
            recipes[name] = recipe
        except ConfigError as error:
            problems.add(str(error))
    problems.raise_if_any()
    return recipes


def _read(wanted: Wanted, recipes: Mapping[str, TokenRecipe]) -> tuple[dict[str, Reading], dict[str, str]]:
    """Modality -> its media, and modality -> why it has none."""
    timed = wanted.start_s > 0 or np.isfinite(wanted.stop_s)
    problems, readings, skipped = Problems(), {}, dict[str, str]()
    for name, recipe in recipes.items():
        request = encoder_info(recipe.encoder_name(wanted.encoders.get(name))).request
        try:
            rate = wanted.rates.get(name)
            source = clip_source(name, _paths(wanted, name), rate, recipe.variant, timed, wanted.imu_columns)
            readings[name] = read_media(source, wanted.start_s, wanted.stop_s, request)
        except ConfigError as error:
            problems.add(str(error))
        except (MediaError, NoMedia) as reason:
            skipped[name] = str(reason)
    problems.raise_if_any()
    return readings, skipped


def _paths(wanted: Wanted, name: str) -> tuple[Path, ...]:
    """The files of a modality. Boxes in pixels need the video too, for the size of its frames."""
    paths, video = wanted.media[name], wanted.media.get("rgb", ())
    with_video = name == "boxes" and paths[0].suffix == ".json" and len(paths) == 1 and video and video[0].is_file()
    return (*paths, *video) if with_video else paths


def _refuse(wanted: Wanted, left: Mapping[str, Any], skipped: Mapping[str, str]) -> None:
    """Raise ClipError where media cannot be used, and that is not allowed or leaves nothing."""
    if not skipped or (wanted.skip_bad and left):
        return
    reasons = "\n  ".join(f"{name}: {reason}" for name, reason in skipped.items())
    advice = "--skip-bad predicts from the others." if left else "Nothing is left to predict from."
    raise ClipError(f"{len(skipped)} of {len(wanted.media)} media cannot be used. {advice}\n  {reasons}")
