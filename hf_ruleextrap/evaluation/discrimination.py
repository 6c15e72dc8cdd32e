"""Is a word of the language more likely than one like it that breaks one rule? By rule, in a context or without."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from hf_ruleextrap import formal
from hf_ruleextrap.completers import LocalModel, TextCompleter, check_positions
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.formal import Clusters, Language, MinimalPair, RulePairs, Source, WordBatch
from hf_ruleextrap.formal.words import FloatArray
from hf_ruleextrap.tokenization import BOS_ID, EOS_ID, vocabulary

from .likelihood import word_log_probability
from .protocol import ProtocolSettings, check_single_tokens, context_text, context_words, spelled
from .references import NGRAMS, UNIFORM
from .verdict import judge

CHANCE = 0.5
"""Whoever does not tell the two words apart; a tie counts one half."""

Scorer: TypeAlias = Callable[[Sequence[MinimalPair]], FloatArray]
"""(P, 2) the log-probability of the word, and of the broken one, each with its end."""

# So many draws for each word that is wanted, since many are drawn twice.
_DRAWS = 16
_ALIKE = 1e-12


@dataclass(frozen=True)
class Accuracy:
    """How often the word of the language is the more likely one, over pairs.

    Attributes:
        rate: (wins + ties / 2) / n.
        low, high: the 95 % interval; the pairs of one word are alike and make one cluster (`formal.Clusters`).
        wins, ties: how many.
        n: pairs, at least 1.
    """

    rate: float
    low: float
    high: float
    wins: int
    ties: int
    n: int

    @classmethod
    def of(cls, success: FloatArray, words: Sequence[str] | None = None) -> Accuracy:
        """Count (P,) successes: 1 for a win, 0.5 for a tie, 0.

        Args:
            success: of each pair.
            words: the word of the language in each pair; by default all are different.

        >>> Accuracy.of(np.array([1.0, 1.0, 0.5, 0.0])).rate
        0.625
        """
        of_words = _by_word(success, range(len(success)) if words is None else words)
        wins, ties = int((success == 1).sum()), int((success == CHANCE).sum())
        return cls(of_words.rate, *of_words.interval, wins, ties, len(success))


@dataclass(frozen=True)
class ScoredPair:
    """A pair, and the log-probability of each of its words, in nats."""

    word: str
    broken: str
    log_word: float
    log_broken: float


@dataclass(frozen=True)
class RuleDiscrimination:
    """One rule.

    Attributes:
        rule: its name.
        summary: the rule as a sentence.
        accuracy: over its pairs; None where there are none.
        reason: why there are none; empty where there are.
        words: different words of the language among the pairs; several pairs of one word are alike.
        other_length: pairs whose two words differ in length, where a model that likes short words is not at chance.
        skipped: pairs left out, since too few context lines begin with neither of their words.
        references: n-grams on the same pairs, by name: fitted on the very context lines, or on the training words.
        verdict: the model beside chance and the strongest of these, over pairs as in ``accuracy``; the pairs of one
            word make one cluster.
        pairs: all of them.
    """

    rule: str
    summary: str
    accuracy: Accuracy | None
    reason: str
    words: int
    other_length: int
    skipped: int
    references: dict[str, Accuracy]
    verdict: str | None
    pairs: tuple[ScoredPair, ...]


@dataclass(frozen=True)
class Discrimination:
    """A model on a language.

    Attributes:
        model: its name.
        language: its name.
        protocol: ``v2`` as text in a context, ``symbols`` without context.
        settings: all parameters.
        chance: one half.
        rules: R1 first.
    """

    model: str
    language: str
    protocol: str
    settings: dict[str, Any]
    rules: tuple[RuleDiscrimination, ...]
    chance: float = CHANCE

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and numbers."""
        return asdict(self)


def discriminate_text(
    completer: TextCompleter,
    model: str,
    settings: ProtocolSettings,
    *,
    limit: int = 64,
    encode: Callable[[str], Sequence[int] | None] | None = None,
) -> Discrimination:
    """Ask a language model of text: both words of a pair after the same K context lines, as the protocol has them.

    No line begins with either word of the pair. A word counts with the line break that ends it.

    Args:
        completer: who gives log-probabilities.
        model: its name.
        settings: the condition; of plain text, in an intact context. Prompts and completions are not used.
        limit: at most so many pairs of each rule.
        encode: The function that returns the token ids of a text, if the completer does not know them.

    Raises:
        RuleExtrapError: the completer has no log-probabilities, a symbol is not one token, or another condition.
    """
    if not completer.abilities.log_probabilities:
        raise RuleExtrapError(f"{model} gives no log-probabilities by this backend: give --backend hf")
    if settings.chat or settings.context != "intact" or not settings.shots:
        raise RuleExtrapError("words are compared in plain text, after one or more words of the language")
    encode = encode or completer.encode
    if encode("a") is not None:
        check_single_tokens(list(settings.texts.values()), lambda text: encode(text) or ())
    language = settings.the_language

    def lines(pair: MinimalPair) -> list[str]:
        return context_words(settings, pair.word, pair.broken)

    def usable(pair: MinimalPair) -> bool:
        try:
            return bool(lines(pair))
        except RuleExtrapError:
            return False

    def asked(pairs: Sequence[MinimalPair]) -> FloatArray:
        texts = [
            (context_text(settings, lines(pair)), spelled(settings, word) + "\n")
            for pair in pairs
            for word in (pair.word, pair.broken)
        ]
        return np.asarray(completer.log_probabilities(texts)).reshape(-1, 2)

    def ngram(n: int) -> Scorer:
        def score(pairs: Sequence[MinimalPair]) -> FloatArray:
            fitted = [formal.ngram(language, WordBatch.from_strings(lines(pair)), n) for pair in pairs]
            return np.concatenate([by_source(one)([pair]) for one, pair in zip(fitted, pairs, strict=True)])

        return score

    rules = discriminate(
        language,
        asked,
        {f"{n}-gram": ngram(n) for n in NGRAMS},
        max_length=settings.max_word_length,
        limit=limit,
        seed=settings.seed,
        usable=usable,
    )
    return Discrimination(model, language.name, f"v{settings.version}", {**settings.to_dict(), "pairs": limit}, rules)


def discriminate_symbols(
    checkpoint: LocalModel,
    model: str,
    *,
    max_length: int | None = None,
    limit: int = 64,
    train_words: WordBatch | None = None,
    seed: int = 0,
) -> Discrimination:
    """Ask a checkpoint of ours, symbol by symbol: BOS, the word, EOS; there is no context.

    Args:
        checkpoint: the model, with its language.
        model: its name.
        max_length: most symbols of a word; by default 16, or 8 times the shortest word if that is more.
        limit: at most so many pairs of each rule.
        train_words: what n-grams are fitted on; without them there are none.
        seed: of the words and pairs.

    Raises:
        RuleExtrapError: the checkpoint's tokens are not those of `tokenization`, or its positions are too few.
    """
    language = checkpoint.language
    max_length = max(16, 8 * language.shortest) if max_length is None else max_length
    expected = [vocabulary(language)[symbol] for symbol in language.alphabet]
    if [*checkpoint.ids, checkpoint.bos_id, checkpoint.eos_id] != [*expected, BOS_ID, EOS_ID]:
        raise RuleExtrapError(f"{model} numbers its tokens otherwise than our checkpoints: it cannot be asked this way")
    # BOS, and one symbol more where the nearest broken word is longer.
    check_positions(
        checkpoint.model,
        max_length + 2,
        f"pairs of words of up to {max_length} symbols",
        f"give --max-length {(checkpoint.most_tokens or 0) - 2} or less",
    )

    def asked(pairs: Sequence[MinimalPair]) -> FloatArray:
        return word_log_probability(checkpoint.model, _words(pairs), language).reshape(-1, 2)

    references = {
        f"{n}-gram": by_source(formal.ngram(language, train_words, n)) for n in NGRAMS if train_words is not None
    }
    rules = discriminate(language, asked, references, max_length=max_length, limit=limit, seed=seed)
    settings = {"max_length": max_length, "pairs": limit, "seed": seed}
    return Discrimination(model, language.name, "symbols", settings, rules)


def by_source(source: Source) -> Scorer:
    """What a source says of each pair."""
    return lambda pairs: source.log_probability(_words(pairs)).reshape(-1, 2)


def discriminate(
    language: Language,
    model: Scorer,
    references: Mapping[str, Scorer],
    *,
    max_length: int,
    limit: int,
    seed: int = 0,
    usable: Callable[[MinimalPair], bool] = lambda pair: True,  # noqa: ARG005  # all are
) -> tuple[RuleDiscrimination, ...]:
    """Make the pairs of each rule, and ask.

    Args:
        language: whose rules they are.
        model: says how likely the words are.
        references: others who say so, by name.
        max_length: most symbols of a word of the language.
        limit: at most so many pairs of each rule.
        seed: of the words and pairs.
        usable: which pairs may be asked.

    Raises:
        RuleExtrapError: no word is that short, or the limit is below 1.
    """
    rng = np.random.default_rng(seed)
    drawn = language.sample(_DRAWS * max(limit, 1), max_length=max_length, rng=rng)
    words = list(dict.fromkeys(drawn))[:limit]
    found = formal.minimal_pairs(language, words, rng=rng, limit=limit)
    return tuple(_of_rule(of_rule, model, references, usable) for of_rule in found)


def _of_rule(
    found: RulePairs, model: Scorer, references: Mapping[str, Scorer], usable: Callable[[MinimalPair], bool]
) -> RuleDiscrimination:
    pairs = [pair for pair in found.pairs if usable(pair)]
    skipped = len(found.pairs) - len(pairs)
    if not pairs:
        reason = found.reason or f"too few context lines begin with neither word of a pair, for all {skipped} pairs"
        return RuleDiscrimination(found.rule, found.summary, None, reason, 0, 0, skipped, {}, None, ())
    logs = model(pairs)
    success = _success(logs)
    words = [pair.word for pair in pairs]
    others = {name: _success(score(pairs)) for name, score in references.items()}
    chance = replace(_by_word(np.full(len(pairs), CHANCE), words), exact=True)
    by_word = {UNIFORM: chance, **{name: _by_word(each, words) for name, each in others.items()}}
    return RuleDiscrimination(
        rule=found.rule,
        summary=found.summary,
        accuracy=Accuracy.of(success, words),
        reason="",
        words=len(set(words)),
        other_length=sum(not pair.same_length for pair in pairs),
        skipped=skipped,
        references={name: Accuracy.of(each, words) for name, each in others.items()},
        verdict=judge(_by_word(success, words), by_word).text,
        pairs=tuple(
            ScoredPair(pair.word, pair.broken, float(word), float(broken))
            for pair, (word, broken) in zip(pairs, logs, strict=True)
        ),
    )


def _words(pairs: Sequence[MinimalPair]) -> WordBatch:
    return WordBatch.from_strings([text for pair in pairs for text in (pair.word, pair.broken)])


def _success(logs: FloatArray) -> FloatArray:
    """(P,) 1 where the word is more likely, one half where neither is, else 0."""
    word, broken = logs.T
    # The same factors in another order make a sum that differs in its last digit.
    alike = np.isclose(word, broken, rtol=_ALIKE, atol=0.0)
    return np.where(alike, CHANCE, word > broken)


def _by_word(success: FloatArray, words: Sequence[str] | range) -> Clusters:
    """The successes of (P,) pairs, with the pairs of one word as a cluster."""
    place = np.unique(words, return_inverse=True)[1]
    return Clusters(np.bincount(place, success).astype(np.float64), np.bincount(place).astype(np.float64))
