"""The fingerprint of a token array: encoder, weights, preprocessing. Tokens with another one never share an array."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import pydantic

from mmcache.store.files.document import typed
from mmcache.store.ground.errors import FingerprintError, StoreError


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """Identity of cached tokens; every field is compared before anything is added to an array."""

    __pydantic_config__ = pydantic.ConfigDict(strict=True, extra="forbid")  # what `typed` makes of it

    encoder: str
    weights: str  # "pretrained:<name>", "random:<seed>", "file:<name>" or "import"
    weights_sha256: str
    preprocessing: dict[str, Any]
    k: Annotated[int, pydantic.Field(ge=1, lt=2**53)] | None  # the k-Average cap, None = all tokens
    code_version: Annotated[
        int, pydantic.Field(ge=0, lt=2**53)
    ]  # the encoder family's own; raised when its tokens change

    def to_attributes(self) -> dict[str, Any]:
        return {"fingerprint": dataclasses.asdict(self)}

    @classmethod
    def from_attributes(cls, attributes: dict[str, Any]) -> "Fingerprint":
        """The fingerprint in an array's attributes. Raises StoreError when it is absent or incomplete."""
        if "fingerprint" not in attributes:
            raise StoreError("the attributes of the tokens lack the fingerprint, which says how they were made")
        return typed(cls, attributes["fingerprint"], "the fingerprint in the attributes")

    def check_same(self, saved: "Fingerprint", path: Path) -> None:
        """Raise FingerprintError when `saved`, of the array at `path`, differs; the message names each field."""
        # Through JSON, as the saved one (tuples become lists).
        ours = json.loads(json.dumps(dataclasses.asdict(self)))
        theirs = dataclasses.asdict(saved)
        differing = [
            f"{name}: the store has {theirs[name]!r}, this run {ours[name]!r}"
            for name in ours
            if name != "weights" and ours[name] != theirs[name]
        ]
        if differing:
            raise FingerprintError(
                f"{path} holds tokens made differently.\n  "
                + "\n  ".join(differing)
                + "\nUse the same settings, or write to another store with --store PATH."
            )
