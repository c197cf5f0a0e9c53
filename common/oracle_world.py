"""The synthetic world of the data set `oracle`, whose best possible accuracy is known.

Three modalities see noisy tokens of hidden factors:

    a  4 values   in modality a, and weakly in c
    b  4 values   in modalities a and b: redundant
    p  2 values   in modality b alone
    q  2 values   in modality c alone

The class is (a, b, p xor q), so p and q are informative only together: synergy. A token is the sum of its
factors' fixed vectors plus Gaussian noise, so the posterior over the 64 combinations is exact, and with it the Bayes
accuracy of every modality subset.
"""

import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from mmcache.store.load.order import id_keys, keyed_uniform

NAME = "oracle"  # of the data set
WIDTH = 8  # D: the number of vectors of modality a
FACTORS = {"a": 4, "b": 4, "p": 2, "q": 2}
# modality -> factor -> length of its vectors, in units of the noise of one token at noise 1
STRENGTHS = {"a": {"a": 2.0, "b": 1.6}, "b": {"b": 1.6, "p": 2.0}, "c": {"a": 1.0, "q": 2.0}}
CLASSES = [f"a{a} b{b} {'odd' if x else 'even'}" for a in range(4) for b in range(4) for x in range(2)]
_COMBINATIONS = np.array(list(itertools.product(*(range(count) for count in FACTORS.values()))))  # (64, 4)
_DRAWS = 1 << 18


def class_of(factors: NDArray[np.integer]) -> NDArray[np.int64]:
    """(n, 4) values of a, b, p, q -> (n,) labels, indices of CLASSES."""
    a, b, p, q = factors.astype(np.int64).T
    return (a * 4 + b) * 2 + (p ^ q)


@functools.cache
def means(modality: str) -> NDArray[np.float64]:
    """(64, D): the mean of a modality's tokens for every combination of factors. The same in every world."""
    carried = STRENGTHS[modality]
    random = np.random.default_rng(list(f"{NAME}/{modality}".encode()))
    directions = np.linalg.qr(random.standard_normal((WIDTH, WIDTH)))[0]  # orthonormal: no two vectors are alike
    out, first = np.zeros((len(_COMBINATIONS), WIDTH)), 0
    for place, (factor, count) in enumerate(FACTORS.items()):
        if factor in carried:
            out += carried[factor] * directions[first + _COMBINATIONS[:, place]]
            first += count
    return out


@dataclasses.dataclass(frozen=True)
class Oracle:
    """One such world.

    Attributes:
        noise: standard deviation of each number of a token.
        skew: P(p = 1) and P(q = 1); at 0.5 neither alone is informative about p xor q.
    """

    noise: float = 1.0
    skew: float = 0.3

    def factors(self, ids: Sequence[str], seed: int) -> NDArray[np.int64]:
        """(n, 4) hidden factors of segments, each a function of (seed, id)."""
        keys = id_keys(ids)
        draws = [keyed_uniform(keys, seed, place) for place in range(len(FACTORS))]
        a, b = ((draws[place] * 4).astype(np.int64) for place in (0, 1))
        p, q = ((draws[place] < self.skew).astype(np.int64) for place in (2, 3))
        return np.stack([a, b, p, q], axis=1)

    def tokens(self, segment: str, seed: int, modality: str, count: int, draw: str = "") -> NDArray[np.float32]:
        """(count, D) tokens of one segment, a function of (seed, id, modality) and of the name of the draw."""
        (a, b, p, q) = self.factors([segment], seed)[0]
        centre = means(modality)[((a * 4 + b) * 2 + p) * 2 + q]
        digest = hashlib.sha256(f"{seed}/{modality}/{draw}/{segment}".encode()).digest()
        random = np.random.default_rng(np.frombuffer(digest, np.uint32))
        return (centre + self.noise * random.standard_normal((count, WIDTH))).astype(np.float32)

    def bayes_accuracy(self, tokens: Mapping[str, int]) -> dict[str, float]:
        """The best accuracy any model can reach, in percent, of every subset of the modalities of `tokens`.

        By Monte Carlo over tokens of a segment, averaging the posterior of the likeliest class; the standard error is
        below 0.1 points.

        Args:
            tokens: modality -> number of tokens per segment.
        """
        return dict(_bayes(self, tuple(sorted(tokens.items()))))


@functools.lru_cache(maxsize=64)
def _bayes(world: Oracle, tokens: tuple[tuple[str, int], ...]) -> tuple[tuple[str, float], ...]:
    """Subset -> percent. The vectors of a modality are orthogonal, so the posterior is a product over the factors."""
    names = [name for name, _ in tokens]
    random = np.random.default_rng((64, len(tokens)))
    prior = {factor: np.full(count, 1 / count) for factor, count in FACTORS.items()}
    prior |= {factor: np.array([1 - world.skew, world.skew]) for factor in ("p", "q")}
    hidden = {factor: random.choice(len(odds), _DRAWS, p=odds) for factor, odds in prior.items()}
    evidence = {}  # (modality, factor) -> (draws, values) log-likelihoods, up to a constant
    for name, count in tokens:
        spread = world.noise / count**0.5  # of the mean of a segment's tokens, which is a sufficient statistic
        for factor, length in STRENGTHS[name].items():
            shape = (_DRAWS, FACTORS[factor])
            there = hidden[factor][:, None] == np.arange(FACTORS[factor])
            evidence[name, factor] = (length / spread) ** 2 * there + length / spread * random.standard_normal(shape)
    out = []
    for size in range(1, len(names) + 1):
        for subset in itertools.combinations(names, size):
            posterior = {}
            for factor, odds in prior.items():
                seen = [evidence[name, factor] for name in subset if (name, factor) in evidence]
                posterior[factor] = softmax(np.log(odds) + sum(seen, np.zeros((_DRAWS, len(odds)))), axis=1)
            even = (posterior["p"] * posterior["q"]).sum(axis=1)
            best = posterior["a"].max(axis=1) * posterior["b"].max(axis=1) * np.maximum(even, 1 - even)
            out.append(("+".join(subset), 100.0 * float(best.mean())))
    return tuple(out)
