"""What makes a language complex, in four numbers; none of them needs a network.

The Chomsky level does not predict how well a network extrapolates a rule (Mészáros et al., NeurIPS 2024). These are
other candidates, to be put beside the score.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hf_ruleextrap.errors import RuleExtrapError

from .automata import FiniteAutomaton
from .graph import explore
from .language import Language
from .machine import NonEmpty, distinct
from .rules import Rule, tokens
from .words import IntArray

_WORDS = 20_000
_Z = 1.959963984540054


@dataclass(frozen=True)
class Complexity:
    """A language's measures; what cannot be computed is None.

    Attributes:
        language: its name.
        max_length: of the words whose entropy rate it is.
        horizon: n, to which classes and depth are followed.
        entropy_rate: of the sampler, in nats per symbol.
        entropy_low, entropy_high: its 95 % interval; both are equal to it where it is exact.
        nerode_classes: of prefixes of at most n symbols, told apart by suffixes of at most n.
        counter_depth: the largest counter or highest stack that words of at most n symbols need.
        description_length: tokens of the rules' expressions; None where a rule is neither a combinator's nor a table.
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

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return asdict(self)


MEASURES = {
    "entropy_rate": "entropy rate [nats per symbol]",
    "nerode_classes": "Myhill-Nerode classes",
    "counter_depth": "counter depth",
    "description_length": "description length [tokens]",
}
"""The measures, and their headings."""


def complexity(language: Language, *, max_length: int = 64, horizon: int = 8) -> Complexity:
    """All four measures.

    Args:
        language: the language.
        max_length: of the words whose entropy rate is asked for.
        horizon: n, for `nerode_classes` and `counter_depth`.

    Raises:
        RuleExtrapError: no word is so short, or the horizon is below 1.

    >>> from hf_ruleextrap.languages import get_language
    >>> found = complexity(get_language("anbn"))
    >>> found.nerode_classes, found.counter_depth, found.description_length
    (17, 4, 7)
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
    )


def entropy_rate(language: Language, max_length: int) -> tuple[float | None, float | None, float | None]:
    """The entropy of a word that the sampler draws over its mean length, in nats per symbol, with a 95 % interval.

    Exact where `Language.entropy` is. Else 20,000 words are drawn with their log-probabilities (seed 0), and the
    interval is that of a ratio of means (delta method).

    Returns:
        The rate and both ends, each None where the sampler does not know its probabilities or has no such words.

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
    return rate, rate - _Z * error, rate + _Z * error


def nerode_classes(language: Language, n: int) -> int | None:
    """How many classes the prefixes of at most n symbols make.

    Two prefixes are in one class where no suffix of at most n symbols puts just one of them in the language. For a
    regular language and a large n these are the states of its minimal complete automaton, the sink among them (and the
    start, since the empty word is in no language). For any other their number grows with n. It is exact: the partition
    of the states that 2 n symbols reach is refined n times (Moore).

    Args:
        language: the language.
        n: at least 1.

    Returns:
        The number; None where 2 n symbols lead to too many states.

    >>> from hf_ruleextrap.languages import get_language
    >>> [nerode_classes(get_language(name), 6) for name in ("ban", "anbn")]
    [4, 13]
    """
    try:
        graph = explore(NonEmpty(language), language.alphabet, 2 * n)
    except RuleExtrapError:
        return None
    # A last row for all prefixes of no word.
    following = np.vstack([graph.following, np.full((1, len(graph.alphabet)), -1)])
    label = np.append(graph.accepting, False).astype(np.int64)
    for _ in range(n):
        # Those near 2 n miss their successors, but no prefix of n symbols comes so far within the rounds left.
        label = distinct((label, label[following]))[1]
    near: IntArray = np.append(graph.depth <= n, False)
    # A prefix of n symbols may be of no word.
    near[-1] = bool((graph.following[graph.depth < n] < 0).any())
    return len(np.unique(label[near]))


def counter_depth(language: Language, n: int) -> int | None:
    """The largest counter, or highest stack, of any rule on the way through a word of at most n symbols.

    What a rule holds is its own to say (`Rule.depth`): the largest difference of `equal_counts`, the open brackets of
    `balanced` and `nested`, what `copied` remembers; nothing for a rule with finitely many states. So it is relative
    to the rules as they are written.

    Args:
        language: the language.
        n: at least 1.

    Returns:
        The depth, 0 where no word is so short; None where a rule does not say, or n symbols lead to too many states.

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
    """The number of tokens that the rules take in our combinators, with one for each "and" between them.

    A combinator is one token, and so is each symbol and number that it takes: ``equal_counts("a", "b")`` has three.
    What a rule is called counts for nothing. A finite automaton that no combinator made is described by its table: one
    token, its symbols, each entry, and each accepting state. The length is relative to these combinators, and it is
    that of the rules as they are stated: no shorter equal expression is searched for, so it is an upper bound of the
    shortest.

    Returns:
        The number; None where a rule is neither a combinator's nor a table: what a class computes has no length here.

    >>> from hf_ruleextrap.languages import get_language
    >>> [description_length(get_language(name)) for name in ("anbn", "a5", "anbnan")]
    [7, 16, None]
    """
    lengths = [rule_length(rule) for rule in language.rules]
    if any(length is None for length in lengths):
        return None
    return sum(length or 0 for length in lengths) + len(language.rules) - 1


def rule_length(rule: Rule) -> int | None:
    """The number of tokens of one rule, as `description_length` counts them; None where it has no description."""
    if rule.expression:
        return len(rule.expression)
    # A class derived from it may decide otherwise than its table.
    if type(rule) is FiniteAutomaton:
        return 1 + len(tokens((rule.symbols, rule.table, rule.accepting)))
    return None
