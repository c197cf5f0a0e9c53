"""How the cached tokens of a modality were made, and the encoder that makes more of them."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcache.common.plugins import read_record
from mmcache.extract.encoders import ENCODERS, OPEN_FAMILIES, build_encoder
from mmcache.extract.encoders.base import views
from mmcache.extract.encoders.base.encoder import PLUGIN, Encoder, EncoderInfo
from mmcache.extract.encoders.base.entry import NO_WEIGHTS, PRETRAINED
from mmcache.extract.encoders.inputs import augment
from mmcache.extract.media.base.requests import AudioRequest, ImuRequest, SkeletonRequest, VideoRequest
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.format.kaverage import k_average
from mmcache.store.format.quantise import dequantise, quantise
from mmcache.store.ground.errors import ConfigError, FingerprintError, StoreError

_IMPORTED = "import"  # `weights` of imported tokens


@dataclasses.dataclass(frozen=True)
class TokenRecipe:
    """How a store's tokens of one modality were made.

    Attributes:
        fingerprint: of the encoder's tokens of the centre view.
        reduced: whether `store reduce` made them smaller afterwards.
        k: the final k-Average cap.
        dtype: float16, float32 or int8, as stored.
        variant: which form of media the encoder got; '' where only one form exists.
    """

    modality: str
    fingerprint: Fingerprint
    reduced: bool
    k: int | None
    dtype: str
    variant: str

    @classmethod
    def of(cls, modality: str, origin: Mapping[str, Any]) -> "TokenRecipe":
        """Read the recipe from what a run keeps: the attributes of the token array, and its dtype.

        Raises:
            ConfigError: no encoder made these tokens, or the attributes do not name it.
        """
        try:
            saved = Fingerprint.from_attributes(dict(origin))
        except StoreError as error:
            raise ConfigError(f"this run does not record how its {modality} tokens were made: {error}") from error
        if saved.weights == _IMPORTED:
            raise ConfigError(f"the {modality} tokens of this run were imported: no encoder here can make more of them")
        done = dict(saved.preprocessing)
        whole = done.pop("reduced_from", None)
        # Clips are encoded in the centre view, which no augmentation changes.
        for name in (*views.described(2, mirrors=True), *_augmented()):
            done.pop(name, None)
        first = dataclasses.replace(saved, **(whole or {}), preprocessing=done)
        return cls(modality, first, whole is not None, saved.k, origin.get("dtype", "float16"), done.get("variant", ""))

    def encoder_name(self, given: str | None = None) -> str:
        """The name by which the encoder is built. Raises ConfigError if neither fingerprint nor `given` names it."""
        plugin = read_record(self.fingerprint.preprocessing.get(PLUGIN))
        if given is None and plugin is not None:
            raise ConfigError(
                f"the {self.modality} tokens of this run were made by the plugin '{plugin['name']}' (its source has "
                f"the sha256 {plugin['sha256'][:12]}). Plugins are loaded from the command line alone: name it with "
                f"--encoder {self.modality}=path/to/file.py:{plugin['name']}, or by its entry point"
            )
        name = given or self._name()
        if name is None:
            raise ConfigError(
                f"the {self.modality} tokens of this run were made by {self.fingerprint.encoder}, which does not name "
                f"its model: give it with --encoder {self.modality}=hf:ID or hf:FOLDER"
            )
        return name

    def _name(self) -> str | None:
        name, weights = self.fingerprint.encoder, self.fingerprint.weights
        prefix, _, model = name.partition(".")
        if name in ENCODERS or prefix not in OPEN_FAMILIES:
            return name
        if prefix == "timm":
            return f"timm:{model}"
        title = weights.removeprefix(f"{PRETRAINED}:")
        return f"{prefix}:{title}" if title != weights and "/" in title else None

    def weights_choice(self, given: str | None = None) -> str:
        """Which weights the encoder is built with. Raises ConfigError for a file that was not given."""
        kind, _, name = self.fingerprint.weights.partition(":")
        if given is not None:
            return given
        if kind == "file":
            raise ConfigError(
                f"{self.fingerprint.encoder} had the weights of a file, {name}, for {self.modality}: give its path "
                f"with --weights {self.modality}=PATH"
            )
        return PRETRAINED if kind in (PRETRAINED, NO_WEIGHTS) else self.fingerprint.weights

    def check_info(self, info: EncoderInfo) -> None:
        """Raise FingerprintError where the encoder is known to make other tokens, before it is loaded."""
        ours = {
            "encoder": info.name,
            "preprocessing": self._seen({**info.described(), **self._variant()}),
            "k": info.cap(self.fingerprint.k),
            "code_version": info.code_version,
        }
        self._compare(ours)

    def build(self, name: str, weights: str, device: str) -> Encoder:
        """Build the encoder and check that it makes the same tokens. Raises WeightsError or FingerprintError."""
        encoder = build_encoder(name, weights).to(device)
        made = dataclasses.asdict(encoder.fingerprint(self.fingerprint.k, self._variant()))
        self._compare({**made, "preprocessing": self._seen(made["preprocessing"]), "weights": self.fingerprint.weights})
        return encoder

    def as_stored(self, tokens: NDArray[np.floating]) -> NDArray[np.floating]:
        """(B, n, D) of the encoder, all finite -> (B, T, D) as the store gives them back: averaged and rounded."""
        if self.reduced:
            tokens = _stored(tokens, self.fingerprint.k, "float32" if self.dtype == "float32" else "float16")
        return _stored(tokens, self.k, self.dtype)

    def _variant(self) -> dict[str, str]:
        return {"variant": self.variant} if self.variant else {}

    def _seen(self, preprocessing: Mapping[str, Any]) -> dict[str, Any]:
        return json.loads(json.dumps(preprocessing))  # tuples become lists, as in saved fingerprints

    def _compare(self, ours: Mapping[str, Any]) -> None:
        saved = dataclasses.asdict(self.fingerprint)
        differing = []
        for field, value in ours.items():
            then, now = saved[field], value
            if field == "preprocessing":
                names = sorted({name for name in {*then, *now} if then.get(name) != now.get(name)})
                differing += [f"{field}.{name}: {then.get(name)!r} then, {now.get(name)!r} now" for name in names]
            elif then != now:
                differing.append(f"{field}: {then!r} then, {now!r} now")
        if not differing:
            return
        if any(line.startswith(f"preprocessing.{PLUGIN}") for line in differing):
            remedy = (
                "A changed source is another encoder: give the plugin's file as it was when the tokens were extracted "
                f"with --encoder {self.modality}=path/to/file.py:NAME, or extract and train again."
            )
        elif any(line.startswith("weights_sha256") for line in differing):
            remedy = (
                f"The run was trained on tokens of the weights '{self.fingerprint.weights}': give these with --weights "
                f"{self.modality}=PATH, random:SEED or pretrained."
            )
        else:
            remedy = "Use the version of mmcache that extracted them, or extract and train again."
        lines = "\n  ".join(differing)
        raise FingerprintError(
            f"{self.modality}: these tokens would be made differently from those the run was trained on.\n  {lines}\n"
            f"{remedy}"
        )


def _stored(tokens: NDArray[np.floating], k: int | None, dtype: str) -> NDArray[np.floating]:
    """As TokenWriter.store_form has them, read back."""
    if k is not None:
        tokens = k_average(tokens, k)[0]
    if dtype == "int8":
        return dequantise(*quantise(tokens), "float16")
    with np.errstate(over="ignore"):  # an overflow becomes infinity, which the caller finds
        return tokens.astype(dtype)


def _augmented() -> set[str]:
    """The keys of fingerprints that describe augmented views, for all kinds of media."""
    requests = (VideoRequest(1, 1), AudioRequest(1, 1.0), ImuRequest(1), SkeletonRequest(1, 1, 1))
    return {name for request in requests for name in augment.parameters(request)}
