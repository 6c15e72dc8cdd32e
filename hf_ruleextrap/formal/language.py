"""Languages: an alphabet, rules and a sampler, from which everything else follows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import product
from math import log2
from typing import ClassVar, Literal, TypeAlias, get_args

import numpy as np

from hf_ruleextrap.costs import MOST_BYTES, MOST_SECONDS, check_cost
from hf_ruleextrap.errors import RuleExtrapError, check_integer

from .counting import Entropy, WordCounts, bytes_of_words, enumerate_words, uniform_entropy
from .graph import explore, shortest_length
from .machine import Conjunction, ask
from .prompts import Kind, PromptSet
from .rules import Rule
from .tables import FlatWords, Tables
from .words import BoolArray, FloatArray, IntArray, WordBatch, Words, compiled_loops, pieces

_MOST_PROMPTS = 1 << 20
_DRAWN = 20_000
"""The number of words from which an entropy is estimated."""

_SECONDS_A_SYMBOL = 1e-4
"""The time that a sampler takes for one position of its words."""

Level: TypeAlias = Literal["regular", "deterministic context-free", "context-free", "context-sensitive", "beyond"]
"""The lowest level of the Chomsky hierarchy that contains a language."""

LEVELS: tuple[Level, ...] = get_args(Level)
"""The levels in ascending order; each contains those before it."""


class Language(Conjunction):
    """The words over an alphabet that keep every rule; the empty word is never one of them.

    A subclass defines the class attributes. It overrides ``alive`` if a prefix can be viable for each rule and not for
    all rules together, ``candidates`` if the prompts are not all strings of a length, and ``draw``,
    ``log_probability`` and ``entropy`` if its words have another distribution. A language is also a machine whose rules
    run side by side.

    Attributes:
        name: The identifier, e.g. ``"anbn"``.
        summary: The language as a formula or a sentence.
        level: The lowest level of the Chomsky hierarchy that contains the language, one of `LEVELS`.
        tags: Short names of further properties; docs/languages.md explains them.
        alphabet: The symbols, each one printable ASCII character.
        rules: First R1, which OOD prompts test; second R2, which they break (numbered as in the paper's code and
            tables); then the other rules that membership needs.
        shortest: The length of the shortest word; computed if a subclass does not define it.
        paper_rules: The rules of the authors' code, if they differ.
        one_word_per_length: Whether the language has at most one word of each length, so that a training set can hold
            all words.
        require_r1_viable: Whether the prompts omit strings that are not viable for R1, on which R1 cannot be tested.
        prompt_length: The number of symbols in a prompt of the paper's experiment.
        paper_train_size: The number of training words in the paper's experiment, if it does not use all words.
        parameters: The names and meanings of the numbers that `parameter_values` computes for a word.
        paper: Whether this object follows the authors' released code where the code differs, in data, in prompts, and
            in how a rule reads a completion. The docstring of each language lists the differences.

    Raises:
        RuleExtrapError: If an attribute is missing, or has a value that it must not have.

    >>> from hf_ruleextrap.formal import Language, equal_counts, ordered
    >>> class EqualBlocksOfTwo(Language):
    ...     name = "anbn-again"
    ...     summary = "a^n b^n, n >= 1"
    ...     level = "deterministic context-free"
    ...     alphabet = ("a", "b")
    ...     rules = (equal_counts("a", "b"), ordered("a", "b"))
    >>> language = EqualBlocksOfTwo()
    >>> language.contains(["aabb", "abab"]).tolist(), next(language.words(8))
    ([True, False], 'ab')
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    level: ClassVar[Level]
    tags: ClassVar[tuple[str, ...]] = ()
    alphabet: ClassVar[tuple[str, ...]]
    rules: tuple[Rule, ...]
    paper_rules: ClassVar[tuple[Rule, ...] | None] = None
    one_word_per_length: ClassVar[bool] = False
    require_r1_viable: ClassVar[bool] = False
    prompt_length: ClassVar[int] = 8
    paper_train_size: ClassVar[int] = 512
    parameters: ClassVar[Mapping[str, str]] = {}

    def __init__(self, *, paper: bool = False) -> None:
        for fault, text in _faults(type(self)):
            if fault:
                raise RuleExtrapError(text)
        self.paper = paper
        rules = self.paper_rules if paper and self.paper_rules else self.rules
        super().__init__([rule.of_language(self.alphabet) for rule in rules])
        self._counts: dict[int, WordCounts] = {}
        self._tables: dict[tuple[bool, int], Tables] = {}

    # A subclass may override the following members.

    @cached_property
    def shortest(self) -> int:
        """The length of the shortest word."""
        return shortest_length(self, self.alphabet)

    def draw(self, n: int, max_length: int, rng: np.random.Generator) -> WordBatch:
        """Draw n words: first the length, then a word of that length, both uniformly.

        The lengths are those, up to ``max_length``, for which words exist.

        Args:
            n: The number of words.
            max_length: The largest length, at least ``shortest``.
            rng: The random number generator.

        Raises:
            RuleExtrapError: If words of this length lead to too many states to count them.
        """
        counts = self.word_counts(max_length)
        return counts.draw(rng.choice(counts.lengths, size=n), rng)

    def log_probability(self, words: WordBatch, max_length: int) -> FloatArray | None:
        """Return the log-probability of each word under `draw`.

        Args:
            words: N words, each of which `draw` can draw.
            max_length: The largest length, as in `draw`.

        Returns:
            (N,) float64, in nats; None if the probabilities are not known.
        """
        counts = self.word_counts(max_length)
        return np.asarray(-np.log(len(counts.lengths)) - counts.log(words.lengths))

    def entropy(self, max_length: int) -> Entropy | None:
        """Return the entropy of a word that `draw` draws.

        The entropy is exact for the default sampler. A language with its own sampler overrides this method if its
        entropy has a closed form; otherwise the entropy is a mean over 20,000 drawn words (seed 0).

        Args:
            max_length: The largest length, as in `draw`.

        Returns:
            The entropy; None if the probabilities of the words are not known.

        Raises:
            RuleExtrapError: If words of this length lead to too many states to count them.

        >>> from hf_ruleextrap.languages import get_language
        >>> entropy = get_language("ban").entropy(16)
        >>> round(entropy.per_token, 4), entropy.mean_length, entropy.exact
        (0.6779, 8.5, True)
        """
        if type(self).draw is Language.draw:
            counts = self.word_counts(max_length)
            return uniform_entropy(counts.lengths, counts.log(counts.lengths))
        words = self.sample(_DRAWN, max_length=max_length, rng=np.random.default_rng(0))
        logs = self.log_probability(words, max_length)
        return None if logs is None else Entropy(float(-logs.mean()), float(words.lengths.mean()), exact=False)

    def word_counts(self, max_length: int) -> WordCounts:
        """Return the number of words of each length up to a limit; the result is cached.

        Raises:
            RuleExtrapError: If words of this length lead to too many states to count them.

        >>> from hf_ruleextrap.languages import get_language
        >>> get_language("dyck").word_counts(8).exact()
        [1, 0, 2, 0, 8, 0, 40, 0, 224]
        """
        if max_length not in self._counts:
            self._counts[max_length] = WordCounts.of(explore(self, self.alphabet, max_length).useful())
        return self._counts[max_length]

    def parameter_values(self, words: WordBatch) -> dict[str, IntArray]:  # noqa: ARG002  # not every language has any
        """Return for each name in ``parameters`` (N,) int64: the parameter's value for each word of the language."""
        return {}

    def candidates(self, length: int, rng: np.random.Generator) -> list[str]:  # noqa: ARG002  # some sets are drawn
        """Return the prompts of one length, ID and OOD; by default all strings (see ``require_r1_viable``).

        Args:
            length: The number of symbols, at least 1.
            rng: The random number generator for languages that draw their prompts.
        """
        # The logarithm is compared, because the power itself takes too long to compute for an enormous length.
        if length * log2(len(self.alphabet)) > log2(_MOST_PROMPTS):
            raise RuleExtrapError(
                f"{len(self.alphabet)}^{length} prompts of {self.name} are too many: the limit is 2^20, "
                "give a smaller length"
            )
        texts = ["".join(symbols) for symbols in product(self.alphabet, repeat=length)]
        if self.require_r1_viable:
            return list(WordBatch.from_strings(texts).take(self.rules[0].viable(texts)))
        return texts

    # The following members depend on the members above.

    def contains(self, words: Words) -> BoolArray:
        """Return (N,) bool: whether each word belongs to the language.

        Raises:
            RuleExtrapError: If a word holds a symbol outside the alphabet.
        """
        batch = WordBatch.of(words, self.alphabet)
        return ask(self, batch, "accepts") & (batch.lengths > 0)

    def viable(self, prefixes: Words) -> BoolArray:
        """Return (N,) bool: whether some suffix extends each prefix to a word of the language.

        A viable prefix is viable for each rule, but the converse is false: ``abb`` is viable for each rule of a^n b^n
        and not for the language.

        Raises:
            RuleExtrapError: If a prefix holds a symbol outside the alphabet.
        """
        return ask(self, WordBatch.of(prefixes, self.alphabet), "alive")

    def sample(self, n: int, *, max_length: int, rng: np.random.Generator) -> WordBatch:
        """Draw n words from the distribution of the language, which the docstring of the language states.

        Args:
            n: The number of words.
            max_length: The largest number of symbols in a word.
            rng: The random number generator; the same state gives the same words.

        Raises:
            RuleExtrapError: If every word is longer than ``max_length``, n is negative, or the words would take too
                much memory or time.
        """
        check_integer("n", n)
        self.check_length(max_length)
        most = int(MOST_BYTES / bytes_of_words(1, max_length))
        check_cost(
            f"{n:,} words of up to {max_length:,} symbols",
            f"draw at most {most:,} at a time",
            size=bytes_of_words(n, max_length),
        )
        return self.draw(n, max_length, rng)

    def words(self, max_length: int) -> Iterator[str]:
        """Yield every word of at most ``max_length`` symbols: the shortest first, then in the alphabet's order.

        Raises:
            RuleExtrapError: If the words of the next length would take too much memory.
        """
        return self._enumerate(check_integer("max_length", max_length), project=False)

    def words_of_length(self, length: int) -> list[str]:
        """Return every word of one length, in the alphabet's order."""
        return [word for word in self._enumerate(length, project=True) if len(word) == length]

    def _enumerate(self, max_length: int, *, project: bool) -> Iterator[str]:
        work = f"all words of {self.name} with up to {max_length} symbols"
        return enumerate_words(self, self.alphabet, max_length, work, project=project)

    def prompts(
        self,
        kind: Kind | None = None,
        *,
        length: int | None = None,
        limit: int | None = None,
        rng: np.random.Generator | None = None,
    ) -> PromptSet:
        """Return the prompts of one length with their labels.

        Args:
            kind: ``"id"``, ``"ood"``, or None for both kinds (ID first).
            length: The number of symbols in a prompt; by default ``prompt_length``.
            limit: The largest number of prompts of each kind; more prompts are reduced to a random subset in the
                original order.
            rng: The random number generator for the subset and for languages that draw their prompts; by default, a
                generator with seed 0.

        Raises:
            RuleExtrapError: If the kind is unknown, or the language has no prompt of this kind and length.
        """
        length = self.prompt_length if length is None else check_integer("length", length)
        if limit is not None:
            check_integer("limit", limit, least=1)
        # Some languages have a prompt for each position in the string, so the memory grows with the square.
        check_cost(f"prompts of {length:,} symbols", "give a length of at most 40,000", size=2.0 * length**2)
        rng = np.random.default_rng(0) if rng is None else rng
        if kind not in (None, "id", "ood"):
            raise RuleExtrapError(f"unknown kind of prompt {kind!r}: known: id, ood")
        kinds: tuple[Kind, ...] = ("id", "ood") if kind is None else (kind,)
        candidates = self.label(self.candidates(length, rng) if length > 0 else [])
        texts: list[str] = []
        for each_kind in kinds:
            prompts = candidates.of_kind(each_kind)
            if not prompts:
                raise RuleExtrapError(
                    f"no {each_kind} prompt of {self.name} has {length} symbols: "
                    f"give another length (the default is {self.prompt_length})"
                )
            if limit is not None and limit < len(prompts):
                prompts = prompts.take(np.sort(rng.choice(len(prompts), limit, replace=False)))
            texts += prompts.texts
        return self.label(texts)

    def label(self, prefixes: Words) -> PromptSet:
        """Return prefixes as prompts, labelled with their kind and their open rules.

        Raises:
            RuleExtrapError: If a prefix holds a symbol outside the alphabet.
        """
        batch = WordBatch.of(prefixes, self.alphabet)
        ood = np.zeros(len(batch), np.bool_)
        is_open = np.zeros((len(batch), len(self.rules)), np.bool_)
        unread = np.arange(len(batch))
        if compiled_loops(int(batch.lengths.sum())):
            tables = self.tables(int(batch.lengths.max()))
            verdict = tables.verdict(tables.read(FlatWords.of(batch))[0])
            ood, is_open = ~verdict.alive[:, -1], verdict.alive[:, :-1]
            unread = np.flatnonzero(verdict.unknown.any(axis=1))
        for places, piece in pieces(batch if len(unread) == len(batch) else batch.take(unread)):
            rows = unread[places]
            state = self.read(piece, to_the_end=True)
            ood[rows] = ~self.alive(state)
            for i, (rule, part) in enumerate(zip(self.rules, self.split(state), strict=True)):
                is_open[rows, i] = rule.alive(part)
        return PromptSet(batch, ood, is_open, tuple(rule.name for rule in self.rules))

    def tables(self, max_length: int, *, of_completions: bool = False) -> Tables:
        """Return the look-up tables with which many words are read; the result is cached.

        Args:
            max_length: The number of symbols in the longest word.
            of_completions: Whether the tables are those with which completions are scored: for each rule, and then for
                each rule that reads a completion alone. By default, they are those of the rules and of the language.
        """
        # The length is a power of two, so that there are few tables.
        max_length = 1 << max(4, (max_length - 1).bit_length())
        key = (of_completions, max_length)
        if key not in self._tables:
            others = [rule.for_completion for rule in self.rules] if of_completions else [self]
            self._tables[key] = Tables([*self.rules, *others], self.alphabet, max_length)
        return self._tables[key]

    def check_length(self, max_length: int) -> None:
        """Raise a RuleExtrapError if every word is longer than ``max_length``, or if drawing a word takes too long."""
        check_integer("max_length", max_length)
        if max_length < self.shortest:
            raise RuleExtrapError(
                f"max_length {max_length} is too small: the shortest word of {self.name} has {self.shortest} "
                f"symbols, give max_length >= {self.shortest}"
            )
        longest = int(MOST_SECONDS / _SECONDS_A_SYMBOL)
        check_cost(
            f"a word of {max_length:,} symbols",
            f"give max_length <= {longest:,}",
            seconds=max_length * _SECONDS_A_SYMBOL,
        )

    def __repr__(self) -> str:
        return f"<{self.name}: {self.summary}{', as in the paper' if self.paper else ''}>"


def _faults(language: type[Language]) -> Iterator[tuple[bool, str]]:
    """Yield for each possible fault of the class attributes whether it is present, and its message."""
    for name in ("name", "summary"):
        value = getattr(language, name, "")
        yield not (isinstance(value, str) and value), f"{name} is missing: give a string"
    level = getattr(language, "level", None)
    yield level not in LEVELS, f"level is {level!r}: give one of {', '.join(map(repr, LEVELS))}"
    alphabet = getattr(language, "alphabet", ())
    symbols = all(isinstance(s, str) and len(s) == 1 and s.isascii() and s.isprintable() and s != " " for s in alphabet)
    yield not symbols, f"the alphabet is {alphabet!r}: each symbol is one printable ASCII character"
    yield len(set(alphabet)) != len(alphabet), f"the alphabet {alphabet!r} holds a symbol twice"
    yield len(alphabet) < 2, "the alphabet needs two symbols or more: with one symbol, there are no OOD prompts"
    rules = getattr(language, "rules", ())
    yield len(rules) < 2, "rules are missing: give R1, which prompts test, and R2, which prompts break"
    yield (
        not all(isinstance(rule, Rule) for rule in rules),
        "rules holds an object that is not a Rule: use the combinators of hf_ruleextrap.formal",
    )
    names = [rule.name for rule in rules]
    yield (
        not all(name.isidentifier() for name in names),
        f"the names of the rules are {names!r}: give Python identifiers",
    )
    yield len(set(names)) < len(names), f"the names of the rules are {names!r}: give each rule its own name"
    yield not all(rule.summary for rule in rules), "a rule has no summary: give a sentence"
