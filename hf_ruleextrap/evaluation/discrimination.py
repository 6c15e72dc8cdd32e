"""Discrimination: whether a model gives a word a higher probability than a similar word that breaks one rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from hf_ruleextrap import formal
from hf_ruleextrap.completers import LocalModel, TextCompleter, check_positions
from hf_ruleextrap.errors import RuleExtrapError, counted
from hf_ruleextrap.formal import Clusters, Language, MinimalPair, RulePairs, Source, WordBatch
from hf_ruleextrap.formal.words import FloatArray
from hf_ruleextrap.tokenization import BOS_ID, EOS_ID, vocabulary

from .likelihood import word_log_probability
from .protocol import ProtocolSettings, check_single_tokens, context_text, context_words, spelled
from .references import NGRAMS, UNIFORM, heading, judge
from .table import Table, print_line, print_table

CHANCE = 0.5
"""The accuracy of a model that cannot tell the two words of a pair apart; a tie counts one half."""

Scorer: TypeAlias = Callable[[Sequence[MinimalPair]], FloatArray]
"""A function from P pairs to (P, 2) float64: the log-probabilities of both words, each with its end."""

# The number of draws for each word, because many words are drawn twice.
_DRAWS = 16

# Two log-probabilities with a smaller relative difference are equal.
_ALIKE = 1e-12


@dataclass(frozen=True)
class Accuracy:
    """The share of pairs in which the word of the language is the more likely one.

    Attributes:
        rate: (wins + ties / 2) / n.
        low, high: The 95 % interval; the pairs of one word are alike and form one cluster (`formal.Clusters`).
        wins, ties: The number of pairs in which the word of the language is more likely, and equally likely.
        n: The number of pairs, at least 1.
    """

    rate: float
    low: float
    high: float
    wins: int
    ties: int
    n: int

    @classmethod
    def of(cls, success: FloatArray, words: Sequence[str] | None = None) -> Accuracy:
        """Return the accuracy over P pairs.

        Args:
            success: (P,) float64: 1 for a win, 0.5 for a tie, else 0.
            words: The word of the language in each pair; by default all are different.

        >>> Accuracy.of(np.array([1.0, 1.0, 0.5, 0.0])).rate
        0.625
        """
        of_words = _by_word(success, range(len(success)) if words is None else words)
        wins, ties = int((success == 1).sum()), int((success == CHANCE).sum())
        return cls(of_words.rate, *of_words.interval, wins, ties, len(success))


@dataclass(frozen=True)
class ScoredPair:
    """A pair of words, and the log-probability of each in nats."""

    word: str
    broken: str
    log_word: float
    log_broken: float


@dataclass(frozen=True)
class RuleDiscrimination:
    """The discrimination of words that break one rule.

    Attributes:
        rule: The name of the rule.
        summary: The rule as a sentence.
        accuracy: The accuracy over the pairs of the rule; None where there is no pair.
        reason: The reason why there is no pair; empty where there are pairs.
        words: The number of different words of the language among the pairs.
        other_length: The number of pairs whose two words differ in length. On these, a model that prefers short words
            is not at chance.
        skipped: The number of pairs that are left out, because too few context lines begin with neither word.
        references: The accuracy of n-grams on the same pairs, by name. They are fitted on the lines of the context, or
            on the training words.
        verdict: The comparison of the model with chance and with the strongest n-gram, over the same pairs and clusters
            as in ``accuracy``.
        pairs: All pairs of the rule.
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
    """The discrimination of a model on a language.

    Attributes:
        model: The name of the model.
        language: The name of the language.
        protocol: ``v2`` for words as text in a context, ``symbols`` for words symbol by symbol without a context.
        settings: All parameters.
        chance: The accuracy of a model that cannot tell two words apart: one half.
        rules: The discrimination of each rule, R1 first.
    """

    model: str
    language: str
    protocol: str
    settings: dict[str, Any]
    rules: tuple[RuleDiscrimination, ...]
    chance: float = CHANCE

    def to_dict(self) -> dict[str, Any]:
        """Return the discrimination as plain dictionaries and numbers."""
        return asdict(self)


def discriminate_text(
    completer: TextCompleter,
    model: str,
    settings: ProtocolSettings,
    *,
    limit: int = 64,
    encode: Callable[[str], Sequence[int] | None] | None = None,
) -> Discrimination:
    """Measure the discrimination of a language model of text, with both words of a pair after the same K context lines.

    No line begins with either word of the pair. The probability of a word includes the line break that ends it.

    Args:
        completer: The model, which gives log-probabilities.
        model: The name of the model.
        settings: The condition, which must be plain text with an intact context. Its prompts are not used.
        limit: The largest number of pairs of each rule.
        encode: The function that returns the token ids of a text, if the completer does not know them.

    Raises:
        RuleExtrapError: If the completer gives no log-probabilities, a symbol is not one token, or the condition is not
            plain text with an intact context.
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

    def model_scores(pairs: Sequence[MinimalPair]) -> FloatArray:
        texts = [
            (context_text(settings, lines(pair)), spelled(settings, word) + "\n")
            for pair in pairs
            for word in (pair.word, pair.broken)
        ]
        return np.asarray(completer.log_probabilities(texts)).reshape(-1, 2)

    def ngram(n: int) -> Scorer:
        def score(pairs: Sequence[MinimalPair]) -> FloatArray:
            sources = [formal.ngram(language, WordBatch.from_strings(lines(pair)), n) for pair in pairs]
            return np.concatenate([by_source(source)([pair]) for source, pair in zip(sources, pairs, strict=True)])

        return score

    rules = discriminate(
        language,
        model_scores,
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
    """Measure the discrimination of a checkpoint of this package: BOS, the word, EOS, without a context.

    Args:
        checkpoint: The model, with its language.
        model: The name of the model.
        max_length: The largest number of symbols in a word; by default 16, or 8 times the shortest word if larger.
        limit: The largest number of pairs of each rule.
        train_words: The words on which n-grams are fitted; without them there are no n-grams.
        seed: The random seed for drawing words and pairs.

    Raises:
        RuleExtrapError: If the checkpoint's tokens are not those of `tokenization`, or its positions are too few.
    """
    language = checkpoint.language
    max_length = max(16, 8 * language.shortest) if max_length is None else max_length
    expected = [vocabulary(language)[symbol] for symbol in language.alphabet]
    if [*checkpoint.ids, checkpoint.bos_id, checkpoint.eos_id] != [*expected, BOS_ID, EOS_ID]:
        raise RuleExtrapError(
            f"the token ids of {model} are not those of `build_tokenizer`: give --protocol v2 for a model of text"
        )
    # BOS, and one symbol more where the nearest broken word is longer.
    check_positions(
        checkpoint.model,
        max_length + 2,
        f"pairs of words of up to {max_length} symbols",
        f"give --max-length {(checkpoint.most_tokens or 0) - 2} or less",
    )

    def model_scores(pairs: Sequence[MinimalPair]) -> FloatArray:
        return word_log_probability(checkpoint.model, _words(pairs), language).reshape(-1, 2)

    references = {
        f"{n}-gram": by_source(formal.ngram(language, train_words, n)) for n in NGRAMS if train_words is not None
    }
    rules = discriminate(language, model_scores, references, max_length=max_length, limit=limit, seed=seed)
    settings = {"max_length": max_length, "pairs": limit, "seed": seed}
    return Discrimination(model, language.name, "symbols", settings, rules)


def by_source(source: Source) -> Scorer:
    """Return the function that scores pairs with the log-probabilities of a source."""
    return lambda pairs: source.log_probability(_words(pairs)).reshape(-1, 2)


def discriminate(
    language: Language,
    model: Scorer,
    references: Mapping[str, Scorer],
    *,
    max_length: int,
    limit: int,
    seed: int = 0,
    usable: Callable[[MinimalPair], bool] = lambda pair: True,  # noqa: ARG005  # each pair is usable
) -> tuple[RuleDiscrimination, ...]:
    """Draw the pairs of each rule, and measure a model and references on the pairs.

    Args:
        language: The language.
        model: The function that scores pairs with the model.
        references: The functions that score pairs with the references, by name.
        max_length: The largest number of symbols in a word of the language.
        limit: The largest number of pairs of each rule.
        seed: The random seed for drawing words and pairs.
        usable: Whether a pair can be used.

    Raises:
        RuleExtrapError: If no word is short enough, or the limit is below 1.
    """
    rng = np.random.default_rng(seed)
    drawn = language.sample(_DRAWS * max(limit, 1), max_length=max_length, rng=rng)
    words = list(dict.fromkeys(drawn))[:limit]
    pairs = formal.minimal_pairs(language, words, rng=rng, limit=limit)
    return tuple(_of_rule(of_rule, model, references, usable) for of_rule in pairs)


def _of_rule(
    of_rule: RulePairs, model: Scorer, references: Mapping[str, Scorer], usable: Callable[[MinimalPair], bool]
) -> RuleDiscrimination:
    pairs = [pair for pair in of_rule.pairs if usable(pair)]
    skipped = len(of_rule.pairs) - len(pairs)
    if not pairs:
        reason = of_rule.reason or f"too few context lines begin with neither word of a pair, for all {skipped} pairs"
        return RuleDiscrimination(of_rule.rule, of_rule.summary, None, reason, 0, 0, skipped, {}, None, ())
    logs = model(pairs)
    success = _success(logs)
    words = [pair.word for pair in pairs]
    others = {name: _success(score(pairs)) for name, score in references.items()}
    chance = replace(_by_word(np.full(len(pairs), CHANCE), words), exact=True)
    by_word = {UNIFORM: chance, **{name: _by_word(each, words) for name, each in others.items()}}
    return RuleDiscrimination(
        rule=of_rule.rule,
        summary=of_rule.summary,
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
    """Return (P,) float64: 1 where the word is more likely, one half where both are equally likely, else 0."""
    word, broken = logs.T
    # Sums of the same terms in different orders may differ in the last digit.
    alike = np.isclose(word, broken, rtol=_ALIKE, atol=0.0)
    return np.where(alike, CHANCE, word > broken)


def _by_word(success: FloatArray, words: Sequence[str] | range) -> Clusters:
    """Return the successes of P pairs, with the pairs of one word as a cluster."""
    place = np.unique(words, return_inverse=True)[1]
    return Clusters(np.bincount(place, success).astype(np.float64), np.bincount(place).astype(np.float64))


def discrimination_table(discrimination: Discrimination) -> Table:
    """Return a row for each rule: the accuracy with its interval, chance, the strongest n-gram, and the counts."""
    headings = ["the word is more likely", "accuracy", "95 % interval", heading(UNIFORM), "n-gram"]
    rows = []
    for i, rule in enumerate(discrimination.rules, start=1):
        accuracy, strongest = rule.accuracy, max((each.rate for each in rule.references.values()), default=None)
        cells = ["-" if accuracy is None else f"{accuracy.rate:.2f}"]
        cells += [f"[{accuracy.low:.2f}, {accuracy.high:.2f}]" if accuracy else "", f"{discrimination.chance:.2f}"]
        cells += ["-" if strongest is None else f"{strongest:.2f}"]
        cells += [str(accuracy.n), str(accuracy.ties)] if accuracy else ["0", "0"]
        rows.append([f"R{i}: {rule.summary}", *cells, str(rule.words)])
    return [*headings, "pairs", "ties", "words"], rows


def remarks(discrimination: Discrimination) -> list[str]:
    """Return the lines below the table: the verdict of each rule, or the reason why there is none, and the pairs."""
    lines = []
    for i, rule in enumerate(discrimination.rules, start=1):
        lines.append(f"R{i}: {rule.verdict or f'no pairs: {rule.reason}'}")
        if rule.other_length:
            lines.append(f"R{i}: the two words of {counted(rule.other_length, 'pair')} differ in length")
        if rule.skipped:
            are = "is" if rule.skipped == 1 else "are"
            lines.append(
                f"R{i}: {counted(rule.skipped, 'pair')} {are} left out, because too few context lines begin with "
                "neither word"
            )
    return lines


def show(discrimination: Discrimination, language: Language) -> None:
    """Print the table and the remarks."""
    form = "symbol by symbol"
    if discrimination.protocol != "symbols":
        form = f"protocol {discrimination.protocol}, K = {discrimination.settings['shots']}"
    title = f"{discrimination.model} on {language.name}: {language.summary}; {form}"
    print_table(title, discrimination_table(discrimination), texts=("the word is more likely",))
    for line in remarks(discrimination):
        print_line(line, indent=4)
