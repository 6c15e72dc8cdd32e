"""Rational learners as references: what Bayes' rule makes of a language's prompts, beside chance and ceiling."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from hf_ruleextrap import formal
from hf_ruleextrap.disk_cache import cached, digest, language_key
from hf_ruleextrap.errors import RuleExtrapError, check_integer
from hf_ruleextrap.formal import (
    HypothesisSpace,
    Language,
    PromptSet,
    Rate,
    RationalLearner,
    RationalSettings,
    Report,
    WordBatch,
)
from hf_ruleextrap.formal.posterior import Track
from hf_ruleextrap.formal.rational import LEARNERS
from hf_ruleextrap.languages import get_language

GREEDY = ", greedy"
"""Ends the name of a completer that adds its most probable symbols; without it, the completer draws them."""

RATIONAL = tuple(name + ending for name in LEARNERS for ending in ("", GREEDY))
"""The learners as references, by name; ``rational`` alone is ``rational-modular``."""

WORDS, MAX_LENGTH = 128, 16
"""The number of words that a learner has seen, and their largest length, where no training words are given."""


def is_rational(name: str) -> bool:
    """Whether a name is that of a rational learner."""
    return name.removesuffix(GREEDY) in ("rational", *LEARNERS)


def learner_of(
    language: str | Language,
    name: str = "rational-modular",
    *,
    words: int = WORDS,
    max_length: int = MAX_LENGTH,
    seed: int = 0,
    settings: RationalSettings | None = None,
    track: Track | None = None,
) -> RationalLearner:
    """Return a learner that has seen words drawn from the language itself.

    Args:
        language: a name or a Language.
        name: one of ``rational-uniform``, ``rational-simple`` and ``rational-modular``; or ``rational`` for the last.
        words: the number of training words.
        max_length: the largest length of a word.
        seed: of the draw.
        settings: what the learner assumes.
        track: shows the progress of work of more than ten seconds.

    Raises:
        RuleExtrapError: an unknown language or learner, or a language whose words cannot be counted to the length.
    """
    language = get_language(language)
    check_integer("words", words)
    sample = language.sample(words, max_length=max_length, rng=np.random.default_rng(seed))
    return RationalLearner.of(HypothesisSpace(language, max_length, settings, track=track), sample, name)


def rational_report(
    language: Language,
    prompts: PromptSet,
    name: str,
    *,
    max_new_symbols: int | None = None,
    train_words: WordBatch | None = None,
    max_length: int | None = None,
) -> Report:
    """Return what a rational learner achieves on prompts.

    Args:
        language: the language.
        prompts: what is completed.
        name: one of `RATIONAL`.
        max_new_symbols: the length limit of a completion; None for no limit.
        train_words: what the learner has seen; by default 128 words of at most 16 symbols, drawn with seed 0.
        max_length: the largest length of a word; by default that of the longest training word.

    Raises:
        RuleExtrapError: a prompt is longer than any word, there are no words, or they cannot be counted.
    """
    kind = name.removesuffix(GREEDY)
    if train_words is None:
        learner = learner_of(language, kind, max_length=MAX_LENGTH if max_length is None else max_length)
    else:
        (learner,) = learners_of(language, train_words, names=[kind], max_length=max_length)
    if not name.endswith(GREEDY):
        return formal.expected_report(learner, prompts, max_new_symbols=max_new_symbols)
    completions, finished = learner.complete(prompts, max_new_symbols=max_new_symbols)
    return formal.aggregate(formal.score(language, prompts, completions, finished)).as_exact()


@dataclass(frozen=True)
class LearnerRates:
    """The rates at which a rational learner keeps every rule that an OOD prompt leaves open.

    Attributes:
        learner: the learner's name.
        expected: the exact rate over all its completions, each with its probability.
        greedy: the rate of its greedy completions, to which the greedy completions of a model compare.
        max_length: the largest length of the words that the learner has seen.
    """

    learner: str
    expected: Rate
    greedy: Rate
    max_length: int

    def __str__(self) -> str:
        """The learner and both rates, e.g. ``rational-modular: 0.83 expected, 0.98 greedy``."""
        if self.expected.rate is None or self.greedy.rate is None:
            return f"{self.learner}: no prompt leaves a rule open"
        return f"{self.learner}: {self.expected.rate:.2f} expected, {self.greedy.rate:.2f} greedy"


def learners_of(
    language: Language, words: WordBatch, *, names: Iterable[str] = LEARNERS, max_length: int | None = None
) -> list[RationalLearner]:
    """Return rational learners that have seen the training words of a model.

    Args:
        language: the language.
        words: the training words.
        names: the names of the learners; by default all three.
        max_length: the largest length of a word; by default that of the longest training word.

    Raises:
        RuleExtrapError: there are no words, or their conjunctions cannot be counted.
    """
    if not len(words):
        raise RuleExtrapError("a rational learner needs training words, and there are none: give at least one")
    space = _space(_Known.of(language), int(words.lengths.max()) if max_length is None else max_length)
    return [RationalLearner.of(space, words, name) for name in names]


def learner_rates(
    language: Language, words: WordBatch, prompts: PromptSet, *, max_new_symbols: int | None = None
) -> list[LearnerRates]:
    """Return the rates of the three rational learners on a model's prompts, after the model's training words.

    The rates are cached on disk, because they depend on the words and prompts and on no model.

    Args:
        language: the language.
        words: the training words; the longest of them sets the largest length that the learners consider.
        prompts: the prompts; only OOD prompts that leave a rule open count.
        max_new_symbols: the length limit of a completion; None for no limit.

    Raises:
        RuleExtrapError: there are no words, their conjunctions cannot be counted, or a prompt is longer than any word.

    >>> language = get_language("anbn")
    >>> prompts = language.prompts("ood", length=4)
    >>> print(*learner_rates(language, language.sample(99, max_length=8, rng=np.random.default_rng(0)), prompts)[1:])
    rational-simple: 0.22 expected, 0.00 greedy rational-modular: 0.73 expected, 0.92 greedy
    """
    key = {**language_key(language), "words": digest(words), "prompts": digest(prompts), "limit": max_new_symbols}

    def compute() -> list[LearnerRates]:
        asked = prompts.take(prompts.ood & prompts.in_headline)
        longest, n = int(words.lengths.max(initial=0)), len(asked)
        if not n:
            return [LearnerRates(name, Rate.known(0.0, 0), Rate.known(0.0, 0), longest) for name in LEARNERS]
        rates = []
        for learner in learners_of(language, words):
            expected = float(learner.headline(asked, max_new_symbols=max_new_symbols).mean())
            completions, finished = learner.complete(asked, max_new_symbols=max_new_symbols)
            greedy = formal.aggregate(formal.score(language, asked, completions, finished), groups=False).as_exact()
            rates.append(LearnerRates(learner.name, Rate.known(expected, n), greedy.headline, longest))
        return rates

    return cached("rational-rates", key, list[LearnerRates], compute)


@dataclass(frozen=True)
class _Known:
    """A language that equals another object of the same language."""

    key: str
    language: Language = field(compare=False)

    @classmethod
    def of(cls, language: Language) -> _Known:
        return cls(json.dumps(language_key(language)), language)


# The three learners of a language, the prompts of both kinds, and the runs of a study share the counted hypotheses.
@lru_cache(maxsize=2)
def _space(known: _Known, max_length: int) -> HypothesisSpace:
    return HypothesisSpace(known.language, max_length)
