"""Chance: what uniformly random symbols and an end achieve on the same prompts, computed where it can be.

At each place one of the k symbols or the end is drawn with probability 1 / (k + 1) each. The distribution over a rule's
states is followed exactly, place by place, which takes as many numbers as the rule has states: few for parities
and phases, one per value for a counter. A rule with a stack has too many; its rate is sampled, and has an interval.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .language import Language
from .prompts import PromptSet
from .rules import Conjunction, Machine, State
from .scoring import Rate, Report, RuleReport, Split, aggregate, group_rows, score
from .words import ByteArray, IntArray, WordBatch

FloatArray = npt.NDArray[np.float64]

_NEGLIGIBLE = 1e-16
"""Without a length limit, the walk stops once less probability than this is left."""

_SAMPLES = 100_000


def chance(language: Language, prompts: PromptSet, *, max_new_symbols: int | None, seed: int = 0) -> Report:
    """The report of a completer that draws uniformly from the symbols and the end.

    Args:
        language: whose rules are asked.
        prompts: what is completed.
        max_new_symbols: the length limit; a completion that has not ended after so many symbols is unfinished. None
            for no limit.
        seed: for the rates that must be sampled.

    Returns:
        A report like that of `scoring.aggregate`; its rates say whether they are exact.

    >>> from hf_ruleextrap.languages import get_language
    >>> lang = get_language("ban")
    >>> report = chance(lang, lang.prompts("ood"), max_new_symbols=None)
    >>> round(report.rules["even_as"].word.all.rate, 12), report.rules["even_as"].word.all.exact
    (0.5, True)
    """
    completer = _Uniform(language, max_new_symbols)
    sampled = None if all(map(_is_exact, language.rules)) else completer.sampled_report(prompts, seed)
    groups = {
        by: {
            value: completer.report(prompts.take(rows), sampled.groups[by][value] if sampled else None)
            for value, rows in parts.items()
        }
        for by, parts in group_rows(prompts).items()
    }
    return replace(completer.report(prompts, sampled), groups=groups)


def draw_uniform(
    alphabet: tuple[str, ...], n: int, max_new_symbols: int | None, rng: np.random.Generator
) -> tuple[WordBatch, npt.NDArray[np.bool_]]:
    """n random completions, and whether each ended within the limit.

    Args:
        alphabet: the k symbols; each, and the end, has probability 1 / (k + 1).
        n: how many.
        max_new_symbols: most symbols in one; None for no limit.
        rng: the randomness.
    """
    lengths = rng.geometric(1 / (len(alphabet) + 1), size=n).astype(np.int64) - 1
    finished = np.ones(n, np.bool_) if max_new_symbols is None else lengths <= max_new_symbols
    lengths = lengths if max_new_symbols is None else np.minimum(lengths, max_new_symbols)
    codes = np.frombuffer("".join(alphabet).encode("ascii"), dtype=np.uint8)
    flat: ByteArray = codes[rng.integers(len(codes), size=int(lengths.sum()))]
    return WordBatch.from_flat(flat, lengths), finished


@dataclass(frozen=True)
class _Uniform:
    """The completer: each of the language's k symbols, and the end, with probability 1 / (k + 1)."""

    language: Language
    limit: int | None

    @property
    def end(self) -> float:
        return 1 / (len(self.language.alphabet) + 1)

    @property
    def finishing(self) -> float:
        return 1.0 if self.limit is None else 1.0 - (1.0 - self.end) ** (self.limit + 1)

    def report(self, prompts: PromptSet, sampled: Report | None) -> Report:
        """The rates over a set of prompts, those that cannot be computed taken from ``sampled``."""
        n = len(prompts)

        def split(rate: float) -> Split:
            return Split(all=Rate.known(rate, n), finished=Rate.known(min(1.0, rate / self.finishing), n))

        rules = {}
        for rule in self.language.rules:
            if sampled is not None and not _is_exact(rule):
                rules[rule.name] = sampled.rules[rule.name]
            else:
                word = self.success(rule, rule.read(prompts.words))
                completion = self.success(rule.for_completion, rule.for_completion.start(1))
                rules[rule.name] = RuleReport(rule.summary, word=split(word), completion=split(completion))
        return Report(
            language=self.language.name,
            n=n,
            headline=self.headline(prompts.of_kind("ood"), sampled),
            finished=Rate.known(self.finishing, n),
            empty=Rate.known(self.end, n),
            unparsable=Rate.known(0.0, n),
            grammatical=sampled.grammatical
            if sampled
            else Rate.known(self.success(self.language, self.language.read(prompts.words)), n),
            rules=rules,
        )

    def headline(self, ood: PromptSet, sampled: Report | None) -> Rate:
        """Every open rule holds: one walk for each set of open rules."""
        total = 0.0
        for is_open in np.unique(ood.open, axis=0):
            rows = (ood.open == is_open).all(axis=1)
            machine = Conjunction([rule for rule, wanted in zip(self.language.rules, is_open, strict=True) if wanted])
            if sampled is not None and not _is_exact(machine):
                return sampled.headline
            words = ood.words.take(rows)
            rate = self.success(machine, machine.read(words)) if machine.rules else self.finishing
            total += rate * len(words)
        return Rate.known(total / max(len(ood), 1), len(ood))

    def success(self, machine: Machine, state: State) -> float:
        """The probability that a completion ends within the limit and the machine then accepts.

        Args:
            machine: a rule, or several.
            state: where each of the prompts leaves it; the mean over these is returned.
        """
        symbols = np.frombuffer("".join(self.language.alphabet).encode("ascii"), dtype=np.uint8)
        n = len(state[0])
        weights: FloatArray = np.full(n, 1 / max(n, 1))
        total, place = 0.0, 0
        while len(weights) and weights.sum() > _NEGLIGIBLE and (self.limit is None or place <= self.limit):
            state, weights = _merge(state, weights)
            total += float(weights @ machine.accepts(state)) * self.end
            following = [machine.step(state, np.full(len(weights), symbol, np.uint8)) for symbol in symbols]
            state = tuple(np.concatenate(registers) for registers in zip(*following, strict=True))
            alive = machine.alive(state)
            state, weights = tuple(r[alive] for r in state), np.tile(weights * self.end, len(symbols))[alive]
            place += 1
        return total

    def sampled_report(self, prompts: PromptSet, seed: int) -> Report:
        """The report of drawn completions, as many for each prompt."""
        rng = np.random.default_rng(seed)
        rows = np.arange(len(prompts)).repeat(max(1, _SAMPLES // max(1, len(prompts))))
        completions, finished = draw_uniform(self.language.alphabet, len(rows), self.limit, rng)
        return aggregate(score(self.language, prompts.take(rows), completions, finished))


def _is_exact(machine: Machine) -> bool:
    return all(register.ndim == 1 for register in machine.start(1))


def _merge(state: State, weights: FloatArray) -> tuple[State, FloatArray]:
    """Each state once, with the sum of its weights."""
    key: IntArray = np.zeros(len(weights), np.int64)
    for register in state:
        low = int(register.min())
        key = key * (int(register.max()) - low + 1) + (register.astype(np.int64) - low)
    _, first, place = np.unique(key, return_index=True, return_inverse=True)
    return tuple(register[first] for register in state), np.bincount(place, weights).astype(np.float64)
