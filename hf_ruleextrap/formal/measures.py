"""Measures of the complexity of a language, computed without a network.

The Chomsky level does not predict how well a network extrapolates a rule (Mészáros et al., NeurIPS 2024). These
measures are other candidates, to be compared with the scores of networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hf_ruleextrap.errors import RuleExtrapError

from .automata import FiniteAutomaton
from .graph import explore
from .intervals import Z95
from .language import Language
from .machine import Machine, NonEmpty, distinct
from .rules import Rule, tokens
from .words import IntArray

BITS_PER_TOKEN = 4.0
"""Bits that the prefix code spends on one token."""

_WORDS = 20_000


@dataclass(frozen=True)
class Complexity:
    """The measures of a language; a measure that cannot be computed is None.

    Attributes:
        language: The name of the language.
        max_length: The largest length of the words whose entropy rate is measured.
        horizon: The length n up to which classes and depth are computed.
        entropy_rate: The entropy rate of the sampler, in nats per symbol.
        entropy_low, entropy_high: The 95 % interval of the rate; both ends equal an exact rate.
        nerode_classes: The number of classes of prefixes of at most n symbols, distinguished by suffixes of at most n.
        counter_depth: The largest counter or highest stack in words of at most n symbols.
        description_length: The number of tokens of the rules' expressions; None if a rule has neither an expression nor
            a table.
        description_bits: The length of the rules in the prefix code, `description_bits`; 1 bit and 4 bits for each
            token.
        automaton_states: The number of states of the minimal automaton of a regular language, `automaton_states`; None
            for any other language.
    """

    language: str
    max_length: int
    horizon: int
    entropy_rate: float | None
    entropy_low: float | None
    entropy_high: float | None
    nerode_classes: int | None
    counter_depth: int | None
    description_length: int | None
    description_bits: float | None
    automaton_states: int | None

    def to_dict(self) -> dict[str, Any]:
        """Return the measures by name."""
        return asdict(self)


MEASURES = {
    "entropy_rate": "entropy rate [nats per symbol]",
    "nerode_classes": "Myhill-Nerode classes",
    "counter_depth": "counter depth",
    "description_bits": "description length [bits]",
    "automaton_states": "states of the minimal automaton",
}
"""The measures by name, with their headings in tables. Bits stand for tokens, which order languages in the same way."""


def complexity(language: Language, *, max_length: int = 64, horizon: int = 8) -> Complexity:
    """Return all measures.

    Args:
        language: The language.
        max_length: The largest length of the words whose entropy rate is measured.
        horizon: The length n for `nerode_classes` and `counter_depth`.

    Raises:
        RuleExtrapError: If every word is longer than ``max_length``, or the horizon is below 1.

    >>> from hf_ruleextrap.languages import get_language
    >>> measures = complexity(get_language("anbn"))
    >>> measures.nerode_classes, measures.counter_depth, measures.description_length, measures.description_bits
    (17, 4, 7, 29.0)
    """
    language.check_length(max_length)
    if horizon < 1:
        raise RuleExtrapError(f"horizon is {horizon}: give 1 or more")
    rate, low, high = entropy_rate(language, max_length)
    return Complexity(
        language=language.name,
        max_length=max_length,
        horizon=horizon,
        entropy_rate=rate,
        entropy_low=low,
        entropy_high=high,
        nerode_classes=nerode_classes(language, horizon),
        counter_depth=counter_depth(language, horizon),
        description_length=description_length(language),
        description_bits=None if description_length(language) is None else description_bits(language.rules),
        # For any other language, exploring would only end at the largest number of states.
        automaton_states=automaton_states(language, language.alphabet) if _is_regular(language) else None,
    )


def _is_regular(language: Language) -> bool:
    return language.level == "regular" or all(rule.finite for rule in language.rules)


def entropy_rate(language: Language, max_length: int) -> tuple[float | None, float | None, float | None]:
    """Return the entropy of a drawn word divided by the mean length, in nats per symbol, with a 95 % interval.

    The rate is exact if `Language.entropy` is exact. Otherwise 20,000 words are drawn (seed 0); the interval is that
    of a ratio of means (delta method).

    Returns:
        The rate and both ends of the interval; all None if the probabilities of the words are not known.

    >>> from hf_ruleextrap.languages import get_language
    >>> rate, low, high = entropy_rate(get_language("random-regular-4"), 3)
    >>> round(rate, 4), low == rate == high
    (0.4159, True)
    """
    try:
        entropy = language.entropy(max_length)
        if entropy is None:
            return None, None, None
        rate = entropy.nats / entropy.mean_length
        if entropy.exact:
            return rate, rate, rate
        words = language.sample(_WORDS, max_length=max_length, rng=np.random.default_rng(0))
        logs = language.log_probability(words, max_length)
    except RuleExtrapError:
        return None, None, None
    assert logs is not None
    error = float(np.std(-logs - rate * words.lengths) / words.lengths.mean() / np.sqrt(len(words)))
    return rate, rate - Z95 * error, rate + Z95 * error


def nerode_classes(language: Language, n: int) -> int | None:
    """Return the number of Myhill-Nerode classes of the prefixes of at most n symbols.

    Two prefixes are in different classes if some suffix of at most n symbols extends exactly one of them to a word. For
    a regular language and a large n, the classes are the states of its minimal complete automaton, including the sink
    and the start. For any other language the number grows with n. The number is exact: the partition of the states that
    2 n symbols reach is refined n times (Moore).

    Args:
        language: The language.
        n: The horizon, at least 1.

    Returns:
        The number of classes; None if 2 n symbols lead to too many states.

    >>> from hf_ruleextrap.languages import get_language
    >>> [nerode_classes(get_language(name), 6) for name in ("ban", "anbn")]
    [4, 13]
    """
    try:
        graph = explore(NonEmpty(language), language.alphabet, 2 * n)
    except RuleExtrapError:
        return None
    # The last row stands for all prefixes that are not viable.
    following = np.vstack([graph.following, np.full((1, len(graph.alphabet)), -1)])
    label = np.append(graph.accepting, False).astype(np.int64)
    for _ in range(n):
        # States near depth 2 n lack successors, but no prefix of n symbols reaches them in the remaining rounds.
        label = distinct((label, label[following]))[1]
    near: IntArray = np.append(graph.depth <= n, False)
    # Whether some prefix of at most n symbols is not viable.
    near[-1] = bool((graph.following[graph.depth < n] < 0).any())
    return len(np.unique(label[near]))


def automaton_states(machine: Machine, alphabet: Sequence[str]) -> int | None:
    """Return the number of states of the minimal deterministic automaton of a rule or of a language.

    The sink, from which no word can be reached, does not count, so the automaton of an even number of a has two states.
    The rules themselves decide about the empty word, although no language contains it. The number is exact: the states
    that words reach are merged until no symbol distinguishes two states of a class (Moore).

    Args:
        machine: A rule, or a language.
        alphabet: The symbols.

    Returns:
        The number of states; None if words reach too many states, as they do for every language that is not regular.

    >>> from hf_ruleextrap.languages import get_language
    >>> lang = get_language("a5")
    >>> automaton_states(lang.rules[0], lang.alphabet), automaton_states(lang, lang.alphabet)
    (60, 61)
    """
    try:
        graph = explore(machine, alphabet).useful()
    except RuleExtrapError:
        return None
    # The last row stands for the sink.
    following = np.vstack([graph.following, np.full((1, len(graph.alphabet)), -1)])
    label, classes = np.append(graph.accepting, False).astype(np.int64), 0
    while label.max() >= classes:
        classes = int(label.max()) + 1
        label = distinct((label, label[following]))[1]
    return len(np.unique(label[:-1]))


def counter_depth(language: Language, n: int) -> int | None:
    """Return the largest counter, or highest stack, of any rule inside a word of at most n symbols.

    Each rule defines its depth (`Rule.depth`): the largest difference of `equal_counts`, the number of open brackets of
    `balanced` and `nested`, the number of symbols that `copied` remembers, and 0 for a rule with finitely many states.
    So the depth depends on how the rules are written.

    Args:
        language: The language.
        n: The horizon, at least 1.

    Returns:
        The depth, 0 if every word is longer; None if a rule defines no depth, or n symbols lead to too many states.

    >>> from hf_ruleextrap.languages import get_language
    >>> [counter_depth(get_language(name), 12) for name in ("ban", "anbn", "anbncn", "dyck")]
    [0, 6, 4, 6]
    """
    try:
        graph = explore(language, language.alphabet, n).useful()
    except RuleExtrapError:
        return None
    depths = [rule.depth(part) for rule, part in zip(language.rules, language.split(graph.states), strict=True)]
    return None if any(depth is None for depth in depths) else int(np.max([d for d in depths if d is not None]))


def description_length(language: Language) -> int | None:
    """Return the number of tokens of the rules' expressions, with one token for each "and" between two rules.

    A combinator is one token, and so is each of its symbols and numbers: ``equal_counts("a", "b")`` has three tokens.
    The names of rules do not count. A finite automaton without a combinator is described by its table: one token, its
    symbols, each entry, and each accepting state. The length is an upper bound of the shortest description in these
    combinators, because no shorter equivalent expression is searched for.

    Returns:
        The number of tokens; None if a rule has neither an expression nor a table.

    >>> from hf_ruleextrap.languages import get_language
    >>> [description_length(get_language(name)) for name in ("anbn", "a5", "anbnan")]
    [7, 16, None]
    """
    lengths = [rule_length(rule) for rule in language.rules]
    if any(length is None for length in lengths):
        return None
    return sum(length or 0 for length in lengths) + len(language.rules) - 1


def description_bits(rules: Sequence[Rule], *, bits_per_token: float = BITS_PER_TOKEN, unknown: float = 0.0) -> float:
    """Return the length of a conjunction in the prefix code, which `hypotheses` states.

    Args:
        rules: The rules; none for the conjunction that every word keeps.
        bits_per_token: The bits for one token. Below 4, no code has these lengths, and the prior is merely flatter.
        unknown: The bits for a rule without a description, which a class of its own computes.

    >>> from hf_ruleextrap.formal.rules import equal_counts, ordered
    >>> description_bits([]), description_bits([equal_counts("a", "b"), ordered("a", "b")])
    (1.0, 29.0)
    """
    lengths = [rule_length(rule) for rule in rules]
    bits = sum(unknown if length is None else bits_per_token * length for length in lengths)
    return 1.0 + bits + bits_per_token * max(len(rules) - 1, 0)


def rule_length(rule: Rule) -> int | None:
    """Return the number of tokens of one rule as `description_length` counts them; None without a description."""
    if rule.expression:
        return len(rule.expression)
    # A derived class may not follow its table.
    if type(rule) is FiniteAutomaton:
        return 1 + len(tokens((rule.symbols, rule.table, rule.accepting)))
    return None
