"""The references with which each completer is compared on the same prompts, and the verdict of the comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from hf_ruleextrap import formal
from hf_ruleextrap.completers import Completer, Completions, FromSource, Oracle
from hf_ruleextrap.formal import (
    Clusters,
    Language,
    PromptSet,
    Report,
    Source,
    Verdicts,
    WordBatch,
    difference_interval,
)
from hf_ruleextrap.formal.words import FloatArray, concatenate
from hf_ruleextrap.languages import get_language

from .protocol import ProtocolSettings, context_words
from .rational_references import GREEDY, is_rational, rational_report

UNIFORM, ALWAYS_STOP, ORACLE, CEILING = "uniform", "always-stop", "oracle", "ceiling"

NGRAMS = (1, 2, 3)
"""The orders of the n-grams that are fitted on a checkpoint's training words, or on the words of a context."""

REFERENCES = (UNIFORM, ALWAYS_STOP, *(f"{n}-gram" for n in NGRAMS), ORACLE, CEILING)
"""The names of the references of a checkpoint."""

_HEADINGS = {UNIFORM: "chance", ALWAYS_STOP: "stop at once", CEILING: "ceiling"}

_LONGEST = 10_000
"""The length limit of the oracle and of the ceiling if the caller sets no limit."""

_DRAWS = 32
"""The number of completions that an n-gram of a context draws for each prompt."""


def heading(name: str) -> str:
    """Return the name of a reference in tables and verdicts.

    >>> heading("uniform"), heading("3-gram")
    ('chance', '3-gram')
    """
    return _HEADINGS.get(name, name)


def is_ngram(name: str) -> bool:
    """Return whether a reference is an n-gram, greedy or drawn."""
    return name.removesuffix(GREEDY).endswith("-gram")


def reference_report(
    language: Language,
    prompts: PromptSet,
    name: str,
    *,
    max_new_symbols: int | None,
    train_words: WordBatch | None = None,
    seed: int = 0,
) -> Report:
    """Return the rates of one reference on prompts.

    Args:
        language: The language.
        prompts: The prompts.
        name: One of `REFERENCES`, or a rational learner (`rational_references.RATIONAL`).
        max_new_symbols: The length limit of a completion; None for no limit.
        train_words: The words on which an n-gram is fitted, or that a rational learner has seen.
        seed: The random seed for rates that must be sampled.
    """
    if is_rational(name):
        return rational_report(language, prompts, name, max_new_symbols=max_new_symbols, train_words=train_words)
    limit = _LONGEST if max_new_symbols is None else max_new_symbols
    if name == CEILING:
        return formal.ceiling(language, prompts, max_new_symbols=limit)
    if name in (ALWAYS_STOP, ORACLE):
        completer = Oracle(language) if name == ORACLE else FromSource(formal.always_stop(language))
        # These references have one completion of a prompt, so their rates are exact.
        return formal.aggregate(complete_and_score(completer, language, prompts, limit)[1]).as_exact()
    if name == UNIFORM:
        source = formal.uniform(language)
    else:
        assert train_words is not None
        source = formal.ngram(language, train_words, int(name.removesuffix("-gram")))
    return formal.chance(language, prompts, source, max_new_symbols=max_new_symbols, seed=seed)


def complete_and_score(
    completer: Completer,
    language: Language,
    prompts: PromptSet,
    max_new_symbols: int,
    *,
    samples: int | None = None,
    seed: int = 0,
) -> tuple[Completions, Verdicts]:
    """Return the completions of prompts, greedy or a number of samples, and the verdicts on them."""
    completions = completer.complete(prompts, max_new_symbols=max_new_symbols, samples=samples, seed=seed)
    verdicts = formal.score(language, prompts, completions.words, completions.finished, samples=samples or 1)
    return completions, verdicts


@dataclass(frozen=True)
class References:
    """The references on one set of prompts.

    Attributes:
        reports: The rates of each reference, by name.
        success: The successes of each reference after each prompt, by name, with which a model is compared. The oracle
            and the ceiling are left out, because no model is expected to be above them.
    """

    reports: dict[str, Report]
    success: dict[str, Clusters]


def success(verdicts: Verdicts) -> Clusters:
    """Return the number of completions that succeed, for each ID prompt and each OOD prompt that leaves a rule open.

    After an OOD prompt, a completion succeeds if every open rule holds (the headline). After an ID prompt, a completion
    succeeds if the prompt with the completion is a word of the language.
    """
    hits = verdicts.success[verdicts.prompts.judged].reshape(-1, verdicts.samples).sum(axis=1).astype(np.float64)
    return Clusters(hits, np.full(len(hits), float(verdicts.samples)))


def success_of_references(
    language: Language,
    prompts: PromptSet,
    *,
    max_new_symbols: int,
    train_words: WordBatch | None = None,
    seed: int = 0,
) -> dict[str, Clusters]:
    """Return the successes of a checkpoint's references after each prompt; see `References.success`.

    Args:
        language: The language.
        prompts: The prompts.
        max_new_symbols: The length limit of a completion.
        train_words: The words on which the n-grams are fitted; without these words, there are no n-grams.
        seed: The random seed for probabilities that must be sampled.
    """
    sources = {UNIFORM: formal.uniform(language)}
    if train_words is not None:
        sources |= {f"{n}-gram": formal.ngram(language, train_words, n) for n in NGRAMS}
    _, stop = complete_and_score(FromSource(formal.always_stop(language)), language, prompts, max_new_symbols)
    return {ALWAYS_STOP: success(stop)} | {
        name: formal.chance_by_prompt(language, prompts, source, max_new_symbols=max_new_symbols, seed=seed)
        for name, source in sources.items()
    }


def protocol_references(settings: ProtocolSettings) -> References:
    """Return the references of one condition of the text protocol.

    The references are ``uniform``, ``always-stop``, ``oracle``, ``ceiling`` and, if the condition has a context, the
    n-grams of the context, each greedy and drawn.
    """
    # The references read neither the texts of the symbols nor the stated rules, so conditions share them.
    return _protocol_references(settings.with_changes(alphabet="letters", rules_stated=False, samples=0))


@lru_cache(16)
def _protocol_references(settings: ProtocolSettings) -> References:
    language, prompts, limit = settings.the_language, settings.prompts(), settings.max_new_symbols
    common = _without_context(settings.language, tuple(prompts.texts), limit, settings.seed)
    reports = {name: common.reports[name] for name in (UNIFORM, ALWAYS_STOP)}
    rates = {name: common.success[name] for name in (UNIFORM, ALWAYS_STOP)}
    for n in NGRAMS if settings.shots else ():
        for name, samples in ((f"{n}-gram{GREEDY}", None), (f"{n}-gram", _DRAWS)):
            _, verdicts = complete_and_score(
                FromContext(settings, n), language, prompts, limit, samples=samples, seed=settings.seed
            )
            report = formal.aggregate(verdicts, groups=False)
            reports[name] = report.as_exact() if samples is None else report
            rates[name] = success(verdicts)
    return References(reports | {name: common.reports[name] for name in (ORACLE, CEILING)}, rates)


@lru_cache(64)
def _without_context(name: str, texts: tuple[str, ...], limit: int, seed: int) -> References:
    """Return the references that are the same for every context."""
    language = get_language(name)
    prompts = language.label(texts)

    def report(reference: str) -> Report:
        whole = reference_report(language, prompts, reference, max_new_symbols=limit, seed=seed)
        return replace(whole, groups={})

    return References(
        {reference: report(reference) for reference in (UNIFORM, ALWAYS_STOP, ORACLE, CEILING)},
        success_of_references(language, prompts, max_new_symbols=limit, seed=seed),
    )


class FromContext:
    """A completer that continues each prompt with an n-gram fitted on the context lines of that prompt."""

    def __init__(self, settings: ProtocolSettings, n: int) -> None:
        self.settings, self.n = settings, n

    def complete(
        self, prompts: PromptSet, *, max_new_symbols: int, samples: int | None = None, seed: int = 0
    ) -> Completions:
        """See `Completer.complete`."""
        parts: Sequence[Completions] = [
            FromSource(_source(self.settings, text, self.n)).complete(
                prompts.take(np.array([row])), max_new_symbols=max_new_symbols, samples=samples, seed=seed + row
            )
            for row, text in enumerate(prompts.texts)
        ]
        return Completions(concatenate([part.words for part in parts]), np.concatenate([p.finished for p in parts]))


# Greedy and drawn completions come from the same source.
@lru_cache(1 << 12)
def _source(settings: ProtocolSettings, prompt: str, n: int) -> Source:
    words = WordBatch.from_strings(context_words(settings, prompt))
    return formal.ngram(settings.the_language, words, n)


@dataclass(frozen=True)
class Difference:
    """The difference of two rates on the same prompts.

    Attributes:
        against: The name of the reference with which the model is compared.
        mean: The model's rate less the reference's rate.
        low, high: The 95 % interval for paired rates (`formal.difference_interval`). The interval has a width even if
            the two agree on every prompt.
        n: The number of prompts.
    """

    against: str
    mean: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, model: Clusters | FloatArray, other: Clusters | FloatArray, against: str) -> Difference:
        """Compare two sets of rates, prompt by prompt.

        Args:
            model: The successes after each of P prompts, as `success` returns them; or (P,) float64, the success of one
                completion of each prompt.
            other: The successes of the reference; or (P,) float64, the probability of success after each prompt.
            against: The name of the reference.

        >>> Difference.of(np.array([1.0, 1.0, 0.0, 1.0]), np.zeros(4), "chance").mean
        0.75
        """
        first, second = _clusters(model), _clusters(other, exact=True)
        return cls(against, first.rate - second.rate, *difference_interval(first, second), len(first.rows))

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Verdict:
    """The conclusion that the rates of a model and of its references support.

    Attributes:
        text: The conclusion as a sentence.
        chance: The difference from chance, which draws each symbol, or the end, with equal probability; None if no
            prompt leaves a rule open.
        strongest: The difference from the strongest reference; the oracle and the ceiling are left out.
    """

    text: str
    chance: Difference | None
    strongest: Difference | None


def _clusters(rates: Clusters | FloatArray, *, exact: bool = False) -> Clusters:
    return rates if isinstance(rates, Clusters) else Clusters.of_rates(rates, exact=exact)


def judge(model: Clusters | FloatArray, references: Mapping[str, Clusters | FloatArray]) -> Verdict:
    """Compare a model with chance, and with the strongest reference.

    The strongest of several references is a harder test than any one of them, so the sentence claims too little rather
    than too much.

    Args:
        model: The successes of the model, as in `Difference.of`.
        references: The successes of each reference by name, including ``uniform`` and without the oracle.
    """
    of_model, others = _clusters(model), {name: _clusters(rates, exact=True) for name, rates in references.items()}
    if not len(of_model.rows):
        return Verdict("no prompt leaves a rule open, so there is nothing to compare", None, None)
    strongest = max(others, key=lambda name: others[name].rate)
    by_chance = Difference.of(of_model, others[UNIFORM], UNIFORM)
    by_strongest = Difference.of(of_model, others[strongest], strongest)
    rates = f"{of_model.rate:.2f} against {others[UNIFORM].rate:.2f}"
    if by_chance.low <= 0:
        text = f"{'below' if by_chance.high < 0 else 'not above'} chance: {rates}, difference {by_chance}"
    elif by_strongest.low > 0:
        text = f"above {heading(strongest)} by {by_strongest}"
        text += "" if strongest == UNIFORM else f", above chance by {by_chance}"
    else:
        text = f"above chance by {by_chance}, not above {heading(strongest)}: difference {by_strongest}"
    return Verdict(text, by_chance, by_strongest)
