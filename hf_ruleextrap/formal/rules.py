"""Rules: predicates on words, each defined by a machine that reads one symbol at a time.

The machine of a rule holds a few registers (a counter, a phase, a stack) with one array entry for each word, and
``step`` reads one symbol of every word at once. The machine decides whether a whole word keeps the rule (``holds``),
whether a prefix is viable (``viable``), and with what probability random symbols keep the rule (``formal.chance``).
So each rule is written once.

The modules `brackets`, `families` and `automata` have further rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import wraps
from inspect import signature
from typing import ClassVar, ParamSpec

import numpy as np

from .machine import Machine, State, ask
from .words import PAD_CODE, BoolArray, ByteArray, IntArray, WordBatch, Words

P = ParamSpec("P")


@dataclass(frozen=True)
class Rule(Machine):
    """A predicate on words that also decides which prefixes are viable.

    The functions of `hf_ruleextrap.formal`, such as ``equal_counts`` and ``ordered``, build rules.

    Attributes:
        name: The identifier, e.g. ``"as_equal_bs"``; unique within a language.
        summary: The rule as a sentence, e.g. ``"as many a as b"``.
        alphabet: The symbols of the language that the rule belongs to; None for a rule without a language.
        on_completion: The rule that reads a completion alone, where it differs from the rule that reads a word.
        expression: The name of the combinator and its arguments, token by token; empty where no combinator built the
            rule.
        finite: Whether the rule has finitely many states.

    >>> rule = ordered("a", "b")
    >>> isinstance(rule, Rule), rule.summary
    (True, 'every a before every b')
    >>> rule.holds(["aab", "aba"]).tolist(), rule.viable(["aab", "aba"]).tolist()
    ([True, False], [True, False])
    """

    finite: ClassVar[bool] = False

    _: KW_ONLY
    name: str = ""
    summary: str = ""
    alphabet: tuple[str, ...] | None = None
    on_completion: Rule | None = None
    expression: tuple[str, ...] = field(default=(), compare=False)

    def holds(self, words: Words) -> BoolArray:
        """Return (N,) bool: whether each whole word keeps the rule.

        Raises:
            RuleExtrapError: If the rule belongs to a language, and a word holds a symbol outside its alphabet.

        >>> equal_counts("a", "b").holds(["ab", "aab", ""]).tolist()
        [True, False, True]
        """
        return ask(self, WordBatch.of(words, self.alphabet), "accepts")

    def viable(self, prefixes: Words) -> BoolArray:
        """Return (N,) bool: whether some suffix extends each prefix to a word that keeps the rule.

        Raises:
            RuleExtrapError: If the rule belongs to a language, and a prefix holds a symbol outside its alphabet.

        >>> ordered("a", "b").viable(["aab", "ba"]).tolist()
        [True, False]
        """
        return ask(self, WordBatch.of(prefixes, self.alphabet), "alive")

    def depth(self, state: State) -> IntArray | None:
        """Return (N,) int64: the value of the rule's counter, or the height of its stack.

        The depth of a rule with finitely many states is 0. The result is None where the class of the rule does not
        define a depth.
        """
        return np.zeros(len(state[0]), np.int64) if self.finite else None

    def of_language(self, alphabet: tuple[str, ...]) -> Rule:
        """Return the same rule as part of a language over this alphabet."""
        return replace(self, alphabet=alphabet)

    @property
    def for_completion(self) -> Rule:
        """The rule that reads a completion alone."""
        return self.on_completion or self


@dataclass(frozen=True)
class EqualCounts(Rule):
    """Every symbol occurs equally often.

    Each register holds the count of the first symbol minus the count of another symbol.
    """

    symbols: tuple[str, ...]

    def start(self, n: int) -> State:
        """Return the state in which all differences are 0."""
        return tuple(np.zeros(n, np.int32) for _ in self.symbols[1:])

    def step(self, state: State, codes: ByteArray) -> State:
        """Update the differences with one symbol."""
        first = codes == ord(self.symbols[0])
        pairs = zip(state, self.symbols[1:], strict=True)
        return tuple(d + first - (codes == ord(symbol)) for d, symbol in pairs)

    def accepts(self, state: State) -> BoolArray:
        """Return (N,) bool: whether every difference is 0."""
        return np.asarray(np.logical_and.reduce([d == 0 for d in state]))

    def alive(self, state: State) -> BoolArray:
        """Return True for every state: the missing symbols can be added."""
        return np.ones(len(state[0]), np.bool_)

    def depth(self, state: State) -> IntArray:
        """Return the largest difference."""
        return np.asarray(np.max([np.abs(d) for d in state], axis=0), np.int64)


@dataclass(frozen=True)
class Tally(Rule):
    """Some symbols add 1 to a sum and others subtract 1 from it. The register holds the sum."""

    plus: tuple[str, ...]
    minus: tuple[str, ...]
    positive: bool = False

    def start(self, n: int) -> State:
        """Return the state in which the sum is 0."""
        return (np.zeros(n, np.int32),)

    def step(self, state: State, codes: ByteArray) -> State:
        """Add the symbol's contribution to the sum."""
        change = np.zeros(256, np.int32)
        change[[ord(symbol) for symbol in self.plus]] += 1
        change[[ord(symbol) for symbol in self.minus]] -= 1
        return (state[0] + change[codes],)

    def accepts(self, state: State) -> BoolArray:
        """Return (N,) bool: whether the sum is 0, or above 0 if ``positive``."""
        return np.asarray(state[0] > 0 if self.positive else state[0] == 0)

    def alive(self, state: State) -> BoolArray:
        """Return True for every state: the missing symbols can be added."""
        return np.ones(len(state[0]), np.bool_)

    def depth(self, state: State) -> IntArray:
        """Return the absolute value of the sum."""
        return np.abs(state[0]).astype(np.int64)


@dataclass(frozen=True)
class Ordered(Rule):
    """Every symbol stands before all of the later symbols.

    The register holds the phase: the index, from 1, of the latest symbol of ``symbols`` that was read.
    """

    symbols: tuple[str, ...]
    leading: bool = False

    finite = True
    _DEAD = 127

    def start(self, n: int) -> State:
        """Return phase 1, or phase 0 where the first symbol must occur."""
        return (np.full(n, 0 if self.leading else 1, np.uint8),)

    def step(self, state: State, codes: ByteArray) -> State:
        """Advance the phase; a symbol of an earlier phase, or a symbol before the leading one, breaks the rule."""
        (phase,) = state
        following = phase
        for i, symbol in enumerate(self.symbols, start=1):
            here = codes == ord(symbol)
            fatal = phase > i
            if self.leading and i > 1:
                fatal |= phase == 0
            # Arithmetic replaces np.where, which takes several times as long.
            following = np.maximum(following, here * np.uint8(i))
            following = np.maximum(following, (here & fatal) * np.uint8(self._DEAD))
        return (following,)

    def accepts(self, state: State) -> BoolArray:
        """Return (N,) bool: whether the symbols are in order and a required first symbol has occurred."""
        return np.asarray((state[0] != self._DEAD) & (state[0] > 0))

    def alive(self, state: State) -> BoolArray:
        """Return (N,) bool: whether the symbols are in order so far."""
        return np.asarray(state[0] != self._DEAD)


@dataclass(frozen=True)
class EvenCount(Rule):
    """A symbol occurs an even number of times, counted from the last ``since``. The register holds the parity."""

    symbol: str
    since: str | None = None

    finite = True

    def start(self, n: int) -> State:
        """Return the state of even parity."""
        return (np.zeros(n, np.bool_),)

    def step(self, state: State, codes: ByteArray) -> State:
        """Flip the parity at the symbol, and reset it at ``since``."""
        odd = state[0] ^ (codes == ord(self.symbol))
        return (odd if self.since is None else odd & (codes != ord(self.since)),)

    def accepts(self, state: State) -> BoolArray:
        """Return (N,) bool: whether the parity is even."""
        return ~state[0]

    def alive(self, state: State) -> BoolArray:
        """Return True for every state: one more symbol makes an odd count even."""
        return np.ones(len(state[0]), np.bool_)


@dataclass(frozen=True)
class StartsWith(Rule):
    """The first symbol is ``symbol``.

    The register is 0 before the first symbol, 1 where the first symbol is ``symbol``, and 2 where it is another symbol.
    """

    symbol: str

    finite = True

    def start(self, n: int) -> State:
        """Return the state before the first symbol."""
        return (np.zeros(n, np.int8),)

    def step(self, state: State, codes: ByteArray) -> State:
        """Compare the first symbol, and ignore the others."""
        first = (state[0] == 0) & (codes != PAD_CODE)
        return (np.where(first, np.where(codes == ord(self.symbol), np.int8(1), np.int8(2)), state[0]),)

    def accepts(self, state: State) -> BoolArray:
        """Return (N,) bool: whether the first symbol is ``symbol``."""
        return np.asarray(state[0] == 1)

    def alive(self, state: State) -> BoolArray:
        """Return (N,) bool: whether no symbol was read, or the first symbol is ``symbol``."""
        return np.asarray(state[0] != 2)


def combinator(build: Callable[P, Rule]) -> Callable[P, Rule]:
    """Decorate a combinator so that its rules store their expression.

    The expression is the name of the combinator and each argument that differs from its default, without the labels
    ``name`` and ``summary``.
    """
    parameters = signature(build)

    @wraps(build)
    def build_with_expression(*args: P.args, **kwargs: P.kwargs) -> Rule:
        rule = build(*args, **kwargs)
        values = {
            name: value
            for name, value in parameters.bind(*args, **kwargs).arguments.items()
            if name not in ("name", "summary") and value != parameters.parameters[name].default
        }
        return replace(rule, expression=(build.__name__, *tokens(values.values())))

    return build_with_expression


def tokens(value: object) -> list[str]:
    """Return a value as tokens: one for each symbol and each number, and none for None.

    >>> tokens(("ab", 12, None, ("c",)))
    ['a', 'b', '12', 'c']
    """
    if isinstance(value, str):
        return list(value)
    if isinstance(value, Mapping):
        return tokens(tuple(value.items()))
    if isinstance(value, Iterable):
        return [token for part in value for token in tokens(part)]
    return [] if value is None else [str(value)]


@combinator
def equal_counts(*symbols: str) -> Rule:
    """Return the rule that all symbols occur equally often.

    >>> equal_counts("a", "b", "c").holds(["abc", "aabcc"]).tolist()
    [True, False]
    """
    name = "_equal_".join(map(plural, symbols))
    return EqualCounts(symbols, name=name, summary="as many " + " as ".join(symbols))


@combinator
def equal_sums(symbols: Sequence[str], others: Sequence[str]) -> Rule:
    """Return the rule that the symbols of one group occur as often, in total, as those of another group.

    >>> equal_sums("c", "ab").holds(["abcc", "abc"]).tolist()
    [True, False]
    """
    name = "_equal_".join("_and_".join(map(plural, side)) for side in (symbols, others))
    summary = f"as many {' and '.join(symbols)} as {' and '.join(others)}{' together' if len(others) > 1 else ''}"
    return Tally(tuple(symbols), tuple(others), name=name, summary=summary)


@combinator
def more(symbol: str, other: str) -> Rule:
    """Return the rule that one symbol occurs more often than another.

    >>> more("a", "b").holds(["aab", "ab", "b"]).tolist()
    [True, False, False]
    """
    name, summary = f"more_{plural(symbol)}_than_{plural(other)}", f"more {symbol} than {other}"
    return Tally((symbol,), (other,), positive=True, name=name, summary=summary)


@combinator
def ordered(*symbols: str, leading: bool = False) -> Rule:
    """Return the rule that every ``symbols[0]`` stands before every ``symbols[1]``, and so on.

    A symbol that does not occur is in order.

    Args:
        symbols: The symbols in their order.
        leading: Whether the first symbol must also occur.

    >>> ordered("b", "a").holds(["bba", "ab", "aa"]).tolist()
    [True, False, True]
    >>> ordered("b", "a", leading=True).holds(["bba", "ab", "aa"]).tolist()
    [True, False, False]
    """
    sentence = " before ".join(f"every {s}" for s in symbols)
    if leading:
        sentence += f", and at least one {symbols[0]}"
    name = "_before_".join(f"{s}s" for s in symbols)
    return Ordered(symbols, leading, name=name, summary=sentence)


@combinator
def even_count(symbol: str, *, since: str | None = None) -> Rule:
    """Return the rule that a symbol occurs an even number of times, in the whole word or after the last ``since``.

    >>> even_count("a").holds(["baba", "a"]).tolist()
    [True, False]
    >>> even_count("a", since="b").holds(["abaa", "aab", "ba"]).tolist()
    [True, True, False]
    """
    if since is None:
        return EvenCount(symbol, name=f"even_{symbol}s", summary=f"an even number of {symbol}")
    return EvenCount(
        symbol,
        since,
        name=f"even_{symbol}s_after_{since}s",
        summary=f"an even number of {symbol} after the last {since}",
    )


@combinator
def starts_with(symbol: str) -> Rule:
    """Return the rule that the word starts with a symbol.

    >>> starts_with("b").holds(["ba", "ab", ""]).tolist(), starts_with("b").viable([""]).tolist()
    ([True, False, False], [True])
    """
    return StartsWith(symbol, name=f"starts_with_{symbol}", summary=f"starts with {symbol}")


_NAMES = {
    "(": ("opening_parenthesis", "opening_parentheses"),
    ")": ("closing_parenthesis", "closing_parentheses"),
    "[": ("opening_bracket", "opening_brackets"),
    "]": ("closing_bracket", "closing_brackets"),
    "()": ("parenthesis", "parentheses"),
    "[]": ("bracket", "brackets"),
    "0": ("zero", "zeros"),
    "1": ("one", "ones"),
    "#": ("mark", "marks"),
}


def plural(symbols: str, count: int = 2) -> str:
    """Return the plural (for a count of 1, the singular) of a symbol, as it stands in the name of a rule.

    >>> plural("a"), plural("a", 1), plural("0")
    ('as', 'a', 'zeros')
    """
    one, several = _NAMES.get(symbols, (symbols, f"{symbols}s"))
    return one if count == 1 else several
