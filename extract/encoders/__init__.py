"""The encoders. To add one, add a line here, and a file if its family is new.

A family's module offers `info(name)`, cheap, and `build(name, weights)`, which loads a network. That of an open family,
whose encoders are all the models of a library, also offers `entry(name)`, what the table would say of one of them.
"""

import importlib
from typing import TYPE_CHECKING, Any

from mmcache.common.plugins import installed_plugins, is_file_spec
from mmcache.extract.encoders.base.entry import GROUP, NO_WEIGHTS, EncoderEntry
from mmcache.store.ground.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from mmcache.extract.encoders.base.encoder import Encoder, EncoderInfo

ENCODERS: dict[str, EncoderEntry] = {
    "swin3d_b": EncoderEntry("swin3d", ("rgb", "flow"), "Kinetics-400", "Video Swin base, 88 M"),
    "swin3d_s": EncoderEntry("swin3d", ("rgb", "flow"), "Kinetics-400", "Video Swin small, 50 M"),
    "swin3d_t": EncoderEntry("swin3d", ("rgb", "flow"), "Kinetics-400", "Video Swin tiny, 28 M"),
    "swin3d_b_audio": EncoderEntry("swin3d_audio", ("audio",), "Kinetics-400", "swin3d_b, shown a spectrogram"),
    "swin3d_s_audio": EncoderEntry("swin3d_audio", ("audio",), "Kinetics-400", "swin3d_s, shown a spectrogram"),
    "swin3d_t_audio": EncoderEntry("swin3d_audio", ("audio",), "Kinetics-400", "swin3d_t, shown a spectrogram"),
    "swin3d_demo": EncoderEntry("swin3d", ("rgb", "flow"), None, "Video Swin at a size for the demo, 0.4 M"),
    "mvit_v1_b": EncoderEntry("mvit", ("rgb",), "Kinetics-400", "MViT base, 37 M"),
    "mvit_v2_s": EncoderEntry("mvit", ("rgb",), "Kinetics-400", "MViT v2 small, 34 M"),
    "ast_b": EncoderEntry("ast", ("audio",), "AudioSet", "Audio Spectrogram Transformer base, 86 M"),
    "ast_s": EncoderEntry("ast", ("audio",), None, "Audio Spectrogram Transformer small, 22 M"),
    "ast_t": EncoderEntry("ast", ("audio",), None, "Audio Spectrogram Transformer tiny, 6 M"),
    "ast_demo": EncoderEntry("ast", ("audio",), None, "Audio Spectrogram Transformer at a size for the demo, 0.2 M"),
    "imu_transformer": EncoderEntry("imu_transformer", ("imu",), None, "IMU transformer of MMG-Ego4D, 16 M"),
    "imu_demo": EncoderEntry("imu_transformer", ("imu",), None, "IMU transformer at a size for the demo, 0.1 M"),
    "joints": EncoderEntry("skeleton", ("skeleton",), NO_WEIGHTS, "poses as tokens, seen from the main actor's spine"),
    "stlt_12": EncoderEntry("stlt", ("boxes",), None, "Spatial-Temporal Layout Transformer of BMVC 2021, 85 M"),
    "stlt_9": EncoderEntry("stlt", ("boxes",), None, "Spatial-Temporal Layout Transformer, 9 layers, 64 M"),
    "oracle": EncoderEntry("oracle", ("a", "b", "c"), NO_WEIGHTS, "8 tokens of the data set oracle, as they are"),
    "oracle_2": EncoderEntry("oracle", ("a", "b", "c"), NO_WEIGHTS, "2 tokens of it"),
    "oracle_32": EncoderEntry("oracle", ("a", "b", "c"), NO_WEIGHTS, "32 tokens of it"),
}

# prefix -> the entry for `<prefix>:<model>`; entry_of gives that of one model.
OPEN_FAMILIES: dict[str, EncoderEntry] = {
    "timm": EncoderEntry(
        "timm_images", ("rgb", "depth", "ir", "flow"), "the model's own", "any image network of timm, frame by frame"
    ),
    "hf": EncoderEntry(
        "hf",
        ("rgb", "flow", "depth", "ir", "audio"),
        "the model's own",
        "a video or audio transformer of transformers, by id or folder",
    ),
}

DEFAULT_ENCODERS = {
    "rgb": "swin3d_b",
    "flow": "swin3d_b",
    "audio": "ast_b",
    "imu": "imu_transformer",
    "boxes": "stlt_12",
    "skeleton": "joints",
    "a": "oracle",
    "b": "oracle",
    "c": "oracle",
    "depth": "timm:resnet34",
    "ir": "timm:resnet34",
}


def is_plugin(name: str) -> bool:
    """Whether a name stands for an encoder of a user's file or of an installed package; built-in names win."""
    if name in ENCODERS or name.partition(":")[0] in OPEN_FAMILIES:
        return False
    return is_file_spec(name) or name in installed_plugins(GROUP)


def entry_of(name: str) -> EncoderEntry:
    """The entry of an encoder of the table, of a model of an open family, or of a plugin.

    Raises:
        ConfigError: there is no such encoder, or its plugin cannot be loaded.
    """
    prefix, colon, _ = name.partition(":")
    if colon and prefix in OPEN_FAMILIES:
        return _module(OPEN_FAMILIES[prefix].family).entry(name)
    if is_plugin(name):
        return _module("plugin").entry(name)
    if name not in ENCODERS:
        known = [*ENCODERS, *(f"{prefix}:" for prefix in OPEN_FAMILIES), *installed_plugins(GROUP)]
        raise ConfigError(f"{unknown_name('encoder', name, known)} An encoder of your own: path/to/file.py:NAME.")
    return ENCODERS[name]


def encoders_for(modality: str) -> list[str]:
    """The names of the encoders that take a modality; an open family as `<prefix>:MODEL`."""
    offered = {**ENCODERS, **{f"{prefix}:MODEL": entry for prefix, entry in OPEN_FAMILIES.items()}}
    return [name for name, entry in offered.items() if modality in entry.modalities]


def encoder_info(name: str) -> "EncoderInfo":
    """Shape and preprocessing of an encoder, without loading it.

    Raises:
        ConfigError: there is no such encoder, or a plugin calls itself by a built-in name.
    """
    info: EncoderInfo = _module(entry_of(name).family).info(name)
    if info.plugin is not None and (info.name in ENCODERS or info.name.partition(".")[0] in OPEN_FAMILIES):
        raise ConfigError(f"{name} names itself '{info.name}' in its info, as an encoder of mmcache does: rename it")
    return info


def build_encoder(name: str, weights: str, sha256: str = "") -> "Encoder":
    """Build an encoder.

    Args:
        weights: as in base.weights.build_model.
        sha256: what the source of a plugin must hash to; "" for anything.

    Raises:
        ConfigError: there is no such encoder, or its plugin is another one.
        WeightsError: its weights cannot be had.
    """
    family = _module(entry_of(name).family)
    return family.build(name, weights, sha256) if sha256 else family.build(name, weights)


def _module(family: str) -> Any:
    return importlib.import_module(f"mmcache.extract.encoders.{family}")
