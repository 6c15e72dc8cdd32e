"""What `check` says of languages that break the contract, each in one way."""

# The signatures are those of Language.
# ruff: noqa: ARG002

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pytest

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.formal import Language, WordBatch, equal_counts, no_factor, oracle, ordered, starts_with
from hf_ruleextrap.formal.contract import check
from hf_ruleextrap.formal.machine import State
from hf_ruleextrap.formal.rules import EvenCount, Ordered
from hf_ruleextrap.formal.words import BoolArray, ByteArray, FloatArray, Words
from hf_ruleextrap.languages import get_language


class Good(Language):
    """a^n b^m with as many of both, its viability not stated."""

    name = "good"
    summary = "a^n b^n"
    level = "deterministic context-free"
    alphabet = ("a", "b")
    rules = (equal_counts("a", "b"), ordered("a", "b"))

    def alive(self, state: State) -> BoolArray:
        return super().alive(state) & (state[0] >= 0)


class NoAlive(Good):
    alive = Language.alive


class TooDead(Good):
    def alive(self, state: State) -> BoolArray:
        return super().alive(state) & (state[0] < 3)


@dataclass(frozen=True)
class Hopeful(Ordered):
    """Thinks that order can be mended."""

    def alive(self, state: State) -> BoolArray:
        return np.ones(len(state[0]), np.bool_)


@dataclass(frozen=True)
class Hopeless(EvenCount):
    """Thinks that an odd number cannot be mended."""

    def alive(self, state: State) -> BoolArray:
        return self.accepts(state)


@dataclass(frozen=True)
class CountsPadding(EvenCount):
    def step(self, state: State, codes: ByteArray) -> State:
        return (state[0] ^ ((codes == ord(self.symbol)) | (codes == 0)),)


@dataclass(frozen=True)
class InPlace(EvenCount):
    def step(self, state: State, codes: ByteArray) -> State:
        np.logical_xor(state[0], codes == ord(self.symbol), out=state[0])
        return state


class HopefulRule(Good):
    rules = (Good.rules[0], Hopeful(("a", "b"), name="order", summary="order"))


class HopelessRule(Good):
    rules = (Hopeless("a", name="even", summary="an even number of a"), starts_with("b"))
    alive = Language.alive


class CountingPadding(HopelessRule):
    rules = (CountsPadding("a", name="even", summary="an even number of a"), starts_with("b"))


class StepInPlace(HopelessRule):
    rules = (InPlace("a", name="even", summary="an even number of a"), starts_with("b"))


class OtherMembers(Good):
    def contains(self, words: Words) -> BoolArray:
        batch = WordBatch.of(words, self.alphabet)
        return super().contains(batch) & (batch.lengths != 4)


class DrawsOutside(Good):
    def draw(self, n: int, max_length: int, rng: np.random.Generator) -> WordBatch:
        return WordBatch.from_strings(["ab", "aab"] * (n // 2))


class DrawsLong(Good):
    def draw(self, n: int, max_length: int, rng: np.random.Generator) -> WordBatch:
        return WordBatch.from_strings(["aabb"] * n)


class DrawsByItself(Good):
    def draw(self, n: int, max_length: int, rng: np.random.Generator) -> WordBatch:
        return super().draw(n, max_length, np.random.default_rng())


class StatedTooShort(Good):
    shortest = 1


class FewWords(HopelessRule):
    rules = (EvenCount("a", name="even", summary="an even number of a"), starts_with("b"))
    one_word_per_length = True


class Parameters(Good):
    parameters = {"n": "the exponent"}  # noqa: RUF012  # never changed


class OtherProbabilities(Good):
    def log_probability(self, words: WordBatch, max_length: int) -> FloatArray:
        return np.full(len(words), -1.0)


class OtherDraw(Good):
    """Twice as many short words as it says."""

    def draw(self, n: int, max_length: int, rng: np.random.Generator) -> WordBatch:
        return super().draw(n, max_length // 2 if max_length > 12 else max_length, rng)


class NoPromptsToAsk(Good):
    def candidates(self, length: int, rng: np.random.Generator) -> list[str]:
        return ["a" * length, "b" * length + "a"]


class OnlyGoodPrompts(Good):
    rules = (equal_counts("a", "b"), equal_counts("b", "a"))
    alive = Language.alive


class R2First(Good):
    """What is tested is what the prompts break."""

    rules = (no_factor("bb"), Ordered(("a",), name="nothing", summary="nothing"))
    alive = Language.alive


class Crashes(Good):
    def draw(self, n: int, max_length: int, rng: np.random.Generator) -> WordBatch:
        raise IndexError("list index out of range\nand so on")


FAULTS: list[tuple[type[Language], str, str]] = [
    (NoAlive, "viability of the language", "'b' is said to be viable, but no suffix of up to"),
    (TooDead, "viability of the language", "'aaa' is said to be beyond repair, but 'aaabbb' is good"),
    (HopefulRule, "viability of R2 (order)", "'ba' is said to be viable, but no suffix of up to"),
    (HopelessRule, "viability of R1 (an even number of a)", "'a' is said to be beyond repair, but 'aa' is good"),
    (CountingPadding, "rules and membership", "even tells '' otherwise when longer words stand beside it"),
    (StepInPlace, "rules and membership", "even changes the state that its step is given"),
    (OtherMembers, "rules and membership", "'aabb' is not in it, but the rules say otherwise"),
    (DrawsOutside, "samples", "sample gave 'aab', which is"),
    (DrawsLong, "samples", "sample gave 'aabb', which is longer than max_length 2"),
    (DrawsByItself, "samples", "two samples with one seed differ"),
    (StatedTooShort, "samples", "shortest is 1, but the shortest word has 2 symbols"),
    (FewWords, "samples", "one_word_per_length is stated, but there are several words of 3 symbols"),
    (Parameters, "samples", "parameters are ['n'], parameter_values gives []"),
    (OtherProbabilities, "probabilities of samples", "they sum to"),
    (OtherDraw, "probabilities of samples", "'ab' was drawn"),
    (NoPromptsToAsk, "prompts", "the prompt 'bbbbbbbba' has 9 symbols, prompt_length is 8"),
    (OnlyGoodPrompts, "prompts", "no ood prompt of good has 8 symbols"),
    (R2First, "prompts", "no OOD prompt leaves R1 open"),
    (Crashes, "samples", "IndexError: list index out of range and so on"),
]


@pytest.mark.parametrize(("language", "what", "said"), FAULTS, ids=[fault[0].__name__ for fault in FAULTS])
def test_each_fault_is_found_with_its_smallest_case(language: type[Language], what: str, said: str) -> None:
    failed = {finding.check: finding.detail for finding in check(language()) if not finding.holds}
    assert said in failed[what]
    assert not any("\n" in detail for detail in failed.values())


def test_a_good_language_has_none() -> None:
    assert all(finding.holds for finding in check(Good()))


def test_prompts_and_oracle_wait_for_the_viability() -> None:
    failed = {finding.check: finding.detail for finding in check(NoAlive()) if not finding.holds}
    assert set(failed) == {"viability of the language", "probabilities of samples", "prompts", "oracle"}
    assert "before the viability holds" in failed["oracle"]


def test_open_rules_of_three_that_exclude_each_other_leave_the_first() -> None:
    separated = get_language("separated")
    prompts = separated.label(["(]", "(](", "]"])
    # After "(]", R2 and R3 are open, and no suffix keeps both; after "]" one does.
    assert prompts[0].open == tuple(rule.name for rule in separated.rules[1:])
    completions, finished = oracle(separated, prompts, max_new_symbols=1000)
    assert list(completions) == ["", "))", ""]
    assert finished.all()


def stated(**changes: object) -> type[Language]:
    return type("Changed", (Good,), changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": ""}, "name is missing"),
        ({"summary": None}, "summary is missing"),
        ({"level": "contextfree"}, "level is 'contextfree': give one of 'regular', "),
        ({"alphabet": ("a", "bb")}, "each symbol is one printable ASCII character"),
        ({"alphabet": ("a", "a", "b")}, "holds a symbol twice"),
        ({"alphabet": ("a",)}, "needs two symbols"),
        ({"rules": (ordered("a", "b"),)}, "rules are missing: give R1"),
        ({"rules": (ordered("a", "b"), "a first")}, "something in rules is no Rule"),
        ({"rules": (ordered("a", "b"), ordered("a", "b"))}, "give each a name of its own"),
        ({"rules": (ordered("a", "b"), EvenCount("a", name="even", summary=""))}, "a rule lacks its summary"),
        ({"rules": (ordered("a", "b"), EvenCount("a", summary="even"))}, "give identifiers"),
    ],
)
def test_what_is_stated_wrongly_is_one_line(changes: dict[str, object], said: str) -> None:
    with pytest.raises(RuleExtrapError, match=re.escape(said)) as caught:
        stated(**changes)()
    assert "\n" not in str(caught.value)


def test_rules_that_exclude_each_other_are_found() -> None:
    found = check(stated(rules=(no_factor("a"), starts_with("a")))())
    assert "keeps all rules" in next(f.detail for f in found if f.check == "rules and membership")
