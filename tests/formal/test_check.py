"""The findings of `check` about languages, each of which breaks the contract in one way."""

# The overridden methods keep the signatures of Language and use only some of the arguments.
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
    """a^n b^n without a fault; each language below derives from it and adds one fault."""

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
    """A rule whose viability is too large: it calls strings viable whose order is wrong."""

    def alive(self, state: State) -> BoolArray:
        return np.ones(len(state[0]), np.bool_)


@dataclass(frozen=True)
class Hopeless(EvenCount):
    """A rule whose viability is too small: it calls strings with an odd count not viable."""

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
    """A sampler that draws short words more often than its log_probability states."""

    def draw(self, n: int, max_length: int, rng: np.random.Generator) -> WordBatch:
        return super().draw(n, max_length // 2 if max_length > 12 else max_length, rng)


class NoPromptsToAsk(Good):
    def candidates(self, length: int, rng: np.random.Generator) -> list[str]:
        return ["a" * length, "b" * length + "a"]


class OnlyGoodPrompts(Good):
    rules = (equal_counts("a", "b"), equal_counts("b", "a"))
    alive = Language.alive


class R2First(Good):
    """A language whose first rule is the rule that the prompts break."""

    rules = (no_factor("bb"), Ordered(("a",), name="nothing", summary="nothing"))
    alive = Language.alive


class Crashes(Good):
    def draw(self, n: int, max_length: int, rng: np.random.Generator) -> WordBatch:
        raise IndexError("list index out of range\nand so on")


FAULTS: list[tuple[type[Language], str, str]] = [
    (NoAlive, "viability of the language", "alive() calls 'b' viable, but no suffix of up to"),
    (TooDead, "viability of the language", "alive() calls 'aaa' not viable, but 'aaabbb' is accepted"),
    (HopefulRule, "viability of R2 (order)", "alive() calls 'ba' viable, but no suffix of up to"),
    (HopelessRule, "viability of R1 (an even number of a)", "alive() calls 'a' not viable, but 'aa' is accepted"),
    (CountingPadding, "rules and membership", "even reads '' differently in a batch with longer words"),
    (StepInPlace, "rules and membership", "the step of even changes the state in its argument"),
    (OtherMembers, "rules and membership", "contains() rejects 'aabb', but the rules do not"),
    (DrawsOutside, "samples", "sample() drew 'aab', which is"),
    (DrawsLong, "samples", "sample() drew 'aabb', which is longer than max_length 2"),
    (DrawsByItself, "samples", "two samples with the same seed differ"),
    (StatedTooShort, "samples", "shortest is 1, but the shortest word has 2 symbols"),
    (FewWords, "samples", "one_word_per_length is True, but several words have 3 symbols"),
    (Parameters, "samples", "parameters are ['n'], but parameter_values() returned []"),
    (OtherProbabilities, "probabilities of samples", "symbols sum to"),
    (OtherDraw, "probabilities of samples", "'ab' was drawn"),
    (NoPromptsToAsk, "prompts", "the prompt 'bbbbbbbba' has 9 symbols, but prompt_length is 8"),
    (OnlyGoodPrompts, "prompts", "no ood prompt of good has 8 symbols"),
    (R2First, "prompts", "no OOD prompt leaves R1 open"),
    (Crashes, "samples", "IndexError: list index out of range and so on"),
]


@pytest.mark.parametrize(("language", "check_name", "message"), FAULTS, ids=[fault[0].__name__ for fault in FAULTS])
def test_check_reports_each_fault_with_its_smallest_case(
    language: type[Language], check_name: str, message: str
) -> None:
    failed = {finding.check: finding.detail for finding in check(language()) if not finding.holds}
    assert message in failed[check_name]
    assert not any("\n" in detail for detail in failed.values())


def test_a_correct_language_passes_every_check() -> None:
    assert all(finding.holds for finding in check(Good()))


def test_prompts_and_oracle_are_checked_only_if_the_viability_is_right() -> None:
    failed = {finding.check: finding.detail for finding in check(NoAlive()) if not finding.holds}
    assert set(failed) == {"viability of the language", "probabilities of samples", "prompts", "oracle"}
    assert "this check needs the viability" in failed["oracle"]


def test_the_oracle_keeps_the_first_of_two_open_rules_that_exclude_each_other() -> None:
    separated = get_language("separated")
    prompts = separated.label(["(]", "(](", "]"])
    # After "(]", R2 and R3 are open, and no suffix keeps both; after "]" one does.
    assert prompts[0].open == tuple(rule.name for rule in separated.rules[1:])
    completions, finished = oracle(separated, prompts, max_new_symbols=1000)
    assert list(completions) == ["", "))", ""]
    assert finished.all()


def changed(**changes: object) -> type[Language]:
    return type("Changed", (Good,), changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, "name is missing"),
        ({"summary": None}, "summary is missing"),
        ({"level": "contextfree"}, "level is 'contextfree': give one of 'regular', "),
        ({"alphabet": ("a", "bb")}, "each symbol is one printable ASCII character"),
        ({"alphabet": ("a", "a", "b")}, "holds a symbol twice"),
        ({"alphabet": ("a",)}, "needs two symbols"),
        ({"rules": (ordered("a", "b"),)}, "rules are missing: give R1"),
        ({"rules": (ordered("a", "b"), "a first")}, "rules holds an object that is not a Rule"),
        ({"rules": (ordered("a", "b"), ordered("a", "b"))}, "give each rule its own name"),
        ({"rules": (ordered("a", "b"), EvenCount("a", name="even", summary=""))}, "a rule has no summary"),
        ({"rules": (ordered("a", "b"), EvenCount("a", summary="even"))}, "give Python identifiers"),
    ],
)
def test_a_wrong_attribute_of_a_language_is_refused_in_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(RuleExtrapError, match=re.escape(message)) as caught:
        changed(**changes)()
    assert "\n" not in str(caught.value)


def test_check_reports_rules_that_exclude_each_other() -> None:
    findings = check(changed(rules=(no_factor("a"), starts_with("a")))())
    assert "keeps all rules" in next(f.detail for f in findings if f.check == "rules and membership")
