"""What every part of a network has: options of its own, and the shared options that it reads."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn

from mmcache.fuse.options.shared import READ_BY_PARTS, NetworkOptions
from mmcache.store.ground.errors import Problems

if TYPE_CHECKING:
    from mmcache.fuse.options.options import Options as AllOptions


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """No options."""


@dataclasses.dataclass(frozen=True)
class Shape:
    """The sizes that a part is built for.

    Attributes:
        tokens: token places of each modality.
        width: d.
        depth, heads, hidden, dropout, attention_dropout, block_norm: None where the part does not declare in `reads`
            that it reads them, so that no option shapes a part that does not name it.
    """

    tokens: tuple[int, ...]
    width: int
    depth: int = None  # type: ignore[assignment]
    heads: int = None  # type: ignore[assignment]
    hidden: int = None  # type: ignore[assignment]
    dropout: float = None  # type: ignore[assignment]
    attention_dropout: float = None  # type: ignore[assignment]
    block_norm: str = None  # type: ignore[assignment]

    @property
    def modalities(self) -> int:
        return len(self.tokens)

    @classmethod
    def of(cls, network: NetworkOptions, tokens: list[int], reads: frozenset[str]) -> "Shape":
        """The shape of a part that reads `reads` of READ_BY_PARTS."""
        values: dict[str, Any] = {name: getattr(network, name) for name in READ_BY_PARTS if name in reads}
        if "ffn_ratio" in values:
            values["hidden"] = int(network.width * values.pop("ffn_ratio"))
        return cls(tuple(tokens), network.width, **values)


class Part:
    """Base of handlers, fusions, heads and pools.

    Attributes:
        Options: the part's own options.
        reads: which of READ_BY_PARTS shape it.
        has_norm: whether it has a LayerNorm, which adaptation at test time moves.
    """

    Options: ClassVar[type] = NoOptions
    reads: ClassVar[frozenset[str]] = frozenset()
    has_norm: ClassVar[bool] = False

    @classmethod
    def check(cls, options: "AllOptions", problems: Problems) -> None:
        """Add every combination of options that this part cannot work with."""

    @classmethod
    def normed(cls, options: "AllOptions") -> bool:
        """Whether the part, with these options, has a LayerNorm."""
        return cls.has_norm

    def permute(self, order: list[int]) -> None:
        """Bring the parameters of the modalities into another order: modality i becomes what order[i] was."""


class PartModule(Part, nn.Module):
    """A part that is a network."""


def permuted(each: Any, order: list[int]) -> Any:
    """A module list or parameter list with one entry a modality, in another order."""
    return type(each)([each[i] for i in order])
