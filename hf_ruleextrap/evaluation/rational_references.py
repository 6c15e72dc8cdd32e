"""Rational learners as references: the rates of Bayesian learners on a language's prompts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from hf_ruleextrap import formal
from hf_ruleextrap.disk_cache import cached, digest, language_key
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.formal import (
    HypothesisSpace,
    Language,
    PromptSet,
    Rate,
    RationalLearner,
    Report,
    WordBatch,
)
from hf_ruleextrap.formal.rational import LEARNERS
from hf_ruleextrap.languages import get_language

GREEDY = ", greedy"
"""The end of the name of a reference with greedy completions. Without this end, completions are drawn."""

RATIONAL = tuple(name + ending for name in LEARNERS for ending in ("", GREEDY))
"""The names of the learners as references; ``rational`` alone is ``rational-modular``."""

WORDS, MAX_LENGTH = 128, 16
"""The default number of training words of a learner, and the default of their largest length."""


def is_rational(name: str) -> bool:
    """Return whether a name is that of a rational learner."""
    return name.removesuffix(GREEDY) in ("rational", *LEARNERS)


def learner_of(
    language: str | Language, name: str = "rational-modular", *, max_length: int = MAX_LENGTH
) -> RationalLearner:
    """Return a learner that has seen `WORDS` words, drawn from the language itself with seed 0.

    Args:
        language: The name of a language, or a Language.
        name: ``rational-uniform``, ``rational-simple`` or ``rational-modular``; ``rational`` means
            ``rational-modular``.
        max_length: The largest length of a word.

    Raises:
        RuleExtrapError: If the language or the learner is unknown, or the language's words of these lengths cannot be
            counted.
    """
    language = get_language(language)
    words = language.sample(WORDS, max_length=max_length, rng=np.random.default_rng(0))
    return RationalLearner.of(HypothesisSpace(language, max_length), words, name)


def rational_report(
    language: Language,
    prompts: PromptSet,
    name: str,
    *,
    max_new_symbols: int | None = None,
    train_words: WordBatch | None = None,
) -> Report:
    """Return the rates of a rational learner on prompts.

    Args:
        language: The language.
        prompts: The prompts.
        name: One of `RATIONAL`.
        max_new_symbols: The length limit of a completion; None for no limit.
        train_words: The words that the learner has seen; by default 128 words of at most 16 symbols, drawn with seed 0.

    Raises:
        RuleExtrapError: If a prompt is longer than any word, there are no training words, or the words cannot be
            counted.
    """
    kind = name.removesuffix(GREEDY)
    if train_words is None:
        learner = learner_of(language, kind)
    else:
        (learner,) = learners_of(language, train_words, names=[kind])
    if not name.endswith(GREEDY):
        return formal.expected_report(learner, prompts, max_new_symbols=max_new_symbols)
    completions, finished = learner.complete(prompts, max_new_symbols=max_new_symbols)
    return formal.aggregate(formal.score(language, prompts, completions, finished)).as_exact()


@dataclass(frozen=True)
class LearnerRates:
    """The rates at which a rational learner keeps every rule that an OOD prompt leaves open.

    Attributes:
        learner: The name of the learner.
        expected: The exact rate over all completions of the learner, each weighted with its probability.
        greedy: The rate of the learner's greedy completions, with which the greedy completions of a model compare.
        max_length: The largest length of the words that the learner has seen.
    """

    learner: str
    expected: Rate
    greedy: Rate
    max_length: int

    def __str__(self) -> str:
        """Return the learner and both rates, for example ``rational-modular: 0.83 expected, 0.98 greedy``."""
        if self.expected.rate is None or self.greedy.rate is None:
            return f"{self.learner}: no prompt leaves a rule open"
        return f"{self.learner}: {self.expected.rate:.2f} expected, {self.greedy.rate:.2f} greedy"


def learners_of(language: Language, words: WordBatch, *, names: Iterable[str] = LEARNERS) -> list[RationalLearner]:
    """Return rational learners that have seen the training words of a model.

    Args:
        language: The language.
        words: The training words. The longest of them sets the largest length that the learners consider.
        names: The names of the learners; by default all three.

    Raises:
        RuleExtrapError: If there are no training words, or the words of a hypothesis cannot be counted.
    """
    if not len(words):
        raise RuleExtrapError("a rational learner needs training words, and there are none: give at least one")
    space = _space(_Known.of(language), int(words.lengths.max()))
    return [RationalLearner.of(space, words, name) for name in names]


def learner_rates(
    language: Language, words: WordBatch, prompts: PromptSet, *, max_new_symbols: int | None = None
) -> list[LearnerRates]:
    """Return the rates of the three rational learners on a model's prompts, after the model's training words.

    The rates are cached on disk, because they depend on the words and prompts and on no model.

    Args:
        language: The language.
        words: The training words. The longest of them sets the largest length that the learners consider.
        prompts: The prompts, of which only OOD prompts that leave a rule open count.
        max_new_symbols: The length limit of a completion; None for no limit.

    Raises:
        RuleExtrapError: If there are no training words, the words of a hypothesis cannot be counted, or a prompt is
            longer than any word.

    >>> language = get_language("anbn")
    >>> prompts = language.prompts("ood", length=4)
    >>> print(*learner_rates(language, language.sample(99, max_length=8, rng=np.random.default_rng(0)), prompts)[1:])
    rational-simple: 0.19 expected, 0.00 greedy rational-modular: 0.75 expected, 0.85 greedy
    """
    key = {**language_key(language), "words": digest(words), "prompts": digest(prompts), "limit": max_new_symbols}

    def compute() -> list[LearnerRates]:
        open_prompts = prompts.take(prompts.ood & prompts.in_headline)
        longest, n = int(words.lengths.max(initial=0)), len(open_prompts)
        if not n:
            return [LearnerRates(name, Rate.known(0.0, 0), Rate.known(0.0, 0), longest) for name in LEARNERS]
        rates = []
        for learner in learners_of(language, words):
            expected = float(learner.headline(open_prompts, max_new_symbols=max_new_symbols).mean())
            completions, finished = learner.complete(open_prompts, max_new_symbols=max_new_symbols)
            verdicts = formal.score(language, open_prompts, completions, finished)
            greedy = formal.aggregate(verdicts, groups=False).as_exact()
            rates.append(LearnerRates(learner.name, Rate.known(expected, n), greedy.headline, longest))
        return rates

    return cached("rational-rates", key, list[LearnerRates], compute)


@dataclass(frozen=True)
class _Known:
    """A language as a key of a cache: two objects of the same language are equal."""

    key: str
    language: Language = field(compare=False)

    @classmethod
    def of(cls, language: Language) -> _Known:
        return cls(json.dumps(language_key(language)), language)


# The three learners of a language, the prompts of both kinds, and the runs of a study share the counted hypotheses.
@lru_cache(maxsize=2)
def _space(known: _Known, max_length: int) -> HypothesisSpace:
    return HypothesisSpace(known.language, max_length)
