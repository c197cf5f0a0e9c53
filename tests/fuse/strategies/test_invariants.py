"""Every invariant of methods.md is held by a test that runs, and every strategy has invariants of its own.

A test says what it holds by a marker, @pytest.mark.holds("mmt", "3.1 p = 0 is plain training"): whose invariant it is,
then the invariant as listed here. What holds of `every` strategy is held by tests that are parametrized over
STRATEGIES. The markers are read from the source of all tests, so that a test that was renamed or skipped is missed.
"""

import ast
import collections
import re
from collections.abc import Iterator
from pathlib import Path

from mmcache.fuse.strategies import STRATEGIES

TESTS = Path(__file__).parents[2]
NOT_RUN = ("pytest.mark.slow", "pytest.mark.skip", "pytest.mark.xfail")
INVARIANTS: dict[str, list[str]] = {
    "every": [
        "0 the tokens of an absent modality change no bit of output, loss or gradient",
        "0 losses may learn from what was dropped, predictions do not",
        "0 padding past a length changes nothing",
        "1.1 training sets may be incomplete, and a sensor may be nowhere at test",
        "5.1 with nothing missing a strategy is its plain fusion",
        "5.2 logits do not depend on the other rows and their masks",
        "5.3 the order of modalities does not matter",
        "5.4 acc(r) is that of a masked run, and the drop curve that of drawn masks",
        "5.5 the sets that lack a sensor are nested, of round(r N) segments",
        "5.6 a segment with nothing is an error",
    ],
    "shared": [
        "0 P(S) of every sampler, by chi-square",
        "0 what is drawn once a batch, and what for each segment",
        "0 masks are keyed by (seed, epoch, segment id)",
        "0 every segment keeps something, and nothing absent",
        "0 sum fusion adds what is present",
        "0 concat uses its weight slices and |S| / M of the bias",
        "0 late fusion is the mean of unimodal logits",
        "1.1 missing sets are nested, of round(r N) segments, and accuracy is linear in r",
        "1.1 training sets lack as many as the rate says, and are nested",
        "1.2 the drop curve runs from Acc(full) to the mean of single modalities",
        "1.2 the published drop curves are met within a point",
        "1.2 the drop curve agrees with drawn masks",
        "1.3 AvgRelDrop = -100 mean delta / Acc(full)",
        "1.3 ranks average to (K + 1) / 2",
        "1.4 an action is right where verb and noun are",
        "1.5 the pattern table is fixed for a segment and loses every modality equally often",
        "1.6 few-shot over new classes, for any pair of modality sets",
        "1.7 a constant has its own area, and late fusion effective robustness 0",
        "1.8 the windows that a segment lacks are nested",
        "2 L_f = L and L_f = L - 1 exchange nothing",
        "2 from L_f = L - 2 on modalities see each other",
        "2 the order of modalities does not matter",
        "2 B bottlenecks in, B bottlenecks out",
        "2 a missing modality is left out of the mean of bottlenecks",
        "3.17 a frame changes no token before it, and padded boxes change nothing",
    ],
    "zeros": [
        "3.1 with an unbiased projector zeros are MMT with e_m = 0",
        "1.1 the baseline learns from complete segments alone",
    ],
    "skip": [
        "3.16 a masked modality is as good as a removed one",
    ],
    "dropout": [
        "3.1 p = 0 is plain training",
    ],
    "moddrop": [
        "3.16 a masked modality is as good as a removed one",
        "3.16 p = 0 is plain training",
    ],
    "mmt": [
        "3.1 with delta = 1 output and gradients but those of e_m are those of plain fusion, bitwise",
        "3.1 the gradient of e_m is 0 for a batch that lacks nothing",
        "3.1 with an unbiased projector zeros are MMT with e_m = 0",
    ],
    "actionmae": [
        "3.4 the decoder's output at kept slots does not change the loss",
        "3.4 the loss is 0 where nothing is dropped",
        "3.4 the loss is 0 where the reconstruction is right",
        "3.4 every difference between code and paper is an option",
    ],
    "map": [
        "3.7 a batch of one pattern trains the prompts of that pattern alone",
        "3.7 the backbone gets no gradient and stays as it was",
        "3.7 input prompts add L_p a layer, attention prompts nothing",
    ],
    "map-attention": [
        "3.7 a batch of one pattern trains the prompts of that pattern alone",
        "3.7 input prompts add L_p a layer, attention prompts nothing",
    ],
    "shaspec": [
        "3.9 the shared loss is 0 for equal parts",
        "3.9 with one modality every stand-in is its shared part",
        "3.9 the CE of the modality is ln M for a uniform classifier",
    ],
    "compass": [
        "3.12 complete segments do not depend on any generator",
        "3.12 with M = 2 the mean over the sources is the one proxy",
        "3.12 the terms of VICReg have the values known in advance",
    ],
    "cmpt": [
        "3.12 complete segments do not depend on any generator",
        "3.12 with M = 2 the mean over the sources is the one proxy",
    ],
    "macjepa": [
        "3.15 without its losses and masks it is plain fusion",
        "3.15 momentum 1 keeps the teacher",
        "3.15 another query leaves all other tokens as they are",
    ],
    "karmma-teacher": [
        "3.2 the teacher's missing modalities are absent",
    ],
    "karmma": [
        "3.2 k-average: identity for n <= k, the mean where k divides n, min(n, k) tokens",
        "3.2 with a = 1 the loss is CE, and no teacher is called",
        "3.2 equal logits give L_KD = 0",
        "3.2 the number of tokens never changes",
    ],
    "radevski": [
        "3.3 weights add up to 1: uniform for tau -> inf, the best teacher for tau -> 0",
        "3.3 equal CE gives equal weights",
        "3.3 s = t gives L = 0",
        "3.3 weights are renormalised over the teachers that see something",
    ],
    "mmanet": [
        "3.10 MAD is 0 for scaled features",
        "3.10 MAR is 0 if no segment has a weak mask",
    ],
    "mmg": [
        "3.5 the alignment of aligned orthogonal pairs vanishes with tau",
        "3.5 the alignment is log(1 + #neg) where all embeddings coincide",
        "3.5 one-shot queries that repeat their supports are all predicted right",
    ],
    "midl": [
        "3.6 MI >= 0, and 0 only where all views agree",
        "3.6 KL and its gradient are 0 at theta_0",
        "3.6 with r_test = 100 % or lr = 0 nothing adapts",
        "3.6 all parameters but those of LayerNorms stay, bitwise",
        "3.6 the step works on any trained model",
    ],
}


def held() -> dict[tuple[str, str], list[str]]:
    """(owner, invariant) -> the tests that hold it."""
    found = collections.defaultdict(list)
    for path in TESTS.rglob("test_*.py"):
        tree = ast.parse(path.read_text())
        names = {name: ast.unparse(each.value) for each in tree.body for name in _assigned(each)}
        for test in tree.body:
            for *owners, invariant in _markers(test):
                where = f"{path.relative_to(TESTS)}::{test.name}"
                decorators = [ast.unparse(each) for each in test.decorator_list]
                assert not any(each.startswith(NOT_RUN) for each in decorators), f"{where} does not run by default"
                if "every" in owners:
                    assert any(_over_strategies(each, names) for each in decorators), f"{where}: not every strategy"
                for owner in owners:
                    found[owner, invariant].append(where)
    return found


def _markers(test: ast.stmt) -> Iterator[list[str]]:
    """The arguments of each marker `holds` of a test."""
    for each in getattr(test, "decorator_list", []):
        if isinstance(each, ast.Call) and ast.unparse(each.func) == "pytest.mark.holds":
            yield [ast.literal_eval(argument) for argument in each.args]


def _assigned(statement: ast.stmt) -> list[str]:
    return [ast.unparse(each) for each in statement.targets] if isinstance(statement, ast.Assign) else []


def _over_strategies(decorator: str, names: dict[str, str]) -> bool:
    """Whether a decorator runs a test for every strategy: over STRATEGIES, or over a name that is made of it."""
    return any("STRATEGIES" in names.get(word, word) for word in re.findall(r"\w+", decorator))


def test_every_invariant_is_held_by_a_test_that_runs() -> None:
    listed = {(owner, invariant) for owner, each in INVARIANTS.items() for invariant in each}
    assert held().keys() == listed


def test_every_strategy_has_invariants_of_its_own() -> None:
    assert INVARIANTS.keys() - {"every", "shared"} == STRATEGIES.keys()
    assert all(INVARIANTS.values())


def test_the_six_cross_method_assertions_are_held_by_every_strategy() -> None:
    assert {each[:3] for each in INVARIANTS["every"] if each.startswith("5.")} == {f"5.{i}" for i in range(1, 7)}
