"""Rules: predicates on words that are read one symbol at a time, with prefix viability.

A rule is a small machine. It holds a few registers (a counter, a phase, a stack), one array entry a word;
``step`` reads one symbol of every word at once. Whether a whole word keeps the rule (``holds``), whether a prefix
still can (``viable``), and the exact chance that random symbols do (``formal.chance``) all follow from the machine, so
each rule is written once.

The combinators: `equal_counts`, `equal_sums`, `more`, `ordered`, `even_count`, `starts_with`; in `brackets`:
`balanced`, `closes_open`, `nested`; and in `automata`, `finite` and `patterns` what finitely many states can tell.
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
    """A predicate on words, which also says of every prefix whether some suffix can still make the predicate hold.

    The functions of `hf_ruleextrap.formal`, such as ``equal_counts`` and ``ordered``, make rules.

    Attributes:
        name: identifier, e.g. ``"as_equal_bs"``; unique in its language.
        summary: the rule as a sentence, e.g. ``"as many a as b"``.
        alphabet: the symbols of the language that the rule belongs to; None for a rule on its own.
        on_completion: how the rule reads a completion alone, where that is not as it reads a word.
        expression: the combinator that made the rule and its arguments, symbol by symbol; empty where none did.
        finite: the rule has finitely many states.

    >>> from hf_ruleextrap.formal import Rule, ordered
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
        """(N,) bool: does the rule hold for each whole word?

        Raises:
            RuleExtrapError: a symbol outside the alphabet (where the rule belongs to a language).

        >>> equal_counts("a", "b").holds(["ab", "aab", ""]).tolist()
        [True, False, True]
        """
        return ask(self, WordBatch.of(words, self.alphabet), "accepts")

    def viable(self, prefixes: Words) -> BoolArray:
        """(N,) bool: can some suffix make the rule hold?

        Raises:
            RuleExtrapError: a symbol outside the alphabet (where the rule belongs to a language).

        >>> ordered("a", "b").viable(["aab", "ba"]).tolist()
        [True, False]
        """
        return ask(self, WordBatch.of(prefixes, self.alphabet), "alive")

    def depth(self, state: State) -> IntArray | None:
        """(N,) int64: how large the rule's counter is, how high its stack; 0 for a rule with finitely many states.

        None where the rule's class does not say.
        """
        return np.zeros(len(state[0]), np.int64) if self.finite else None

    def of_language(self, alphabet: tuple[str, ...]) -> Rule:
        """The same rule, as part of a language over this alphabet."""
        return replace(self, alphabet=alphabet)

    @property
    def for_completion(self) -> Rule:
        """The rule by which a completion alone is read."""
        return self.on_completion or self


@dataclass(frozen=True)
class EqualCounts(Rule):
    """As many of each symbol. Registers: the count of the first symbol less that of each other one."""

    symbols: tuple[str, ...]

    def start(self, n: int) -> State:
        """All differences are 0."""
        return tuple(np.zeros(n, np.int32) for _ in self.symbols[1:])

    def step(self, state: State, codes: ByteArray) -> State:
        """Count."""
        first = codes == ord(self.symbols[0])
        pairs = zip(state, self.symbols[1:], strict=True)
        return tuple(d + first - (codes == ord(symbol)) for d, symbol in pairs)

    def accepts(self, state: State) -> BoolArray:
        """Every difference is 0."""
        return np.asarray(np.logical_and.reduce([d == 0 for d in state]))

    def alive(self, state: State) -> BoolArray:
        """Always: the symbols that lack can be added."""
        return np.ones(len(state[0]), np.bool_)

    def depth(self, state: State) -> IntArray:
        """The largest difference."""
        return np.asarray(np.max([np.abs(d) for d in state], axis=0), np.int64)


@dataclass(frozen=True)
class Tally(Rule):
    """Some symbols add one to a sum, others take one from it. Register: the sum."""

    plus: tuple[str, ...]
    minus: tuple[str, ...]
    positive: bool = False

    def start(self, n: int) -> State:
        """The sum is 0."""
        return (np.zeros(n, np.int32),)

    def step(self, state: State, codes: ByteArray) -> State:
        """Add and take."""
        change = np.zeros(256, np.int32)
        change[[ord(symbol) for symbol in self.plus]] += 1
        change[[ord(symbol) for symbol in self.minus]] -= 1
        return (state[0] + change[codes],)

    def accepts(self, state: State) -> BoolArray:
        """The sum is 0, or where it is to be positive, it is."""
        return np.asarray(state[0] > 0 if self.positive else state[0] == 0)

    def alive(self, state: State) -> BoolArray:
        """Always: the symbols that lack can be added."""
        return np.ones(len(state[0]), np.bool_)

    def depth(self, state: State) -> IntArray:
        """The size of the sum."""
        return np.abs(state[0]).astype(np.int64)


@dataclass(frozen=True)
class Ordered(Rule):
    """Every symbol before all of the later ones. Register: the phase (index of the latest kind of symbol)."""

    symbols: tuple[str, ...]
    leading: bool = False

    finite = True
    _DEAD = 127

    def start(self, n: int) -> State:
        """The first phase, 1; or 0 where its symbol must occur."""
        return (np.full(n, 0 if self.leading else 1, np.uint8),)

    def step(self, state: State, codes: ByteArray) -> State:
        """A symbol moves the phase on; one of an earlier phase, or one that skips the leading symbol, is fatal."""
        (phase,) = state
        following = phase
        for i, symbol in enumerate(self.symbols, start=1):
            here = codes == ord(symbol)
            fatal = phase > i
            if self.leading and i > 1:
                fatal |= phase == 0
            # Arithmetic in place of a choice: np.where would take several times as long.
            following = np.maximum(following, here * np.uint8(i))
            following = np.maximum(following, (here & fatal) * np.uint8(self._DEAD))
        return (following,)

    def accepts(self, state: State) -> BoolArray:
        """Nothing fatal was seen and, where the first symbol must occur, it did."""
        return np.asarray((state[0] != self._DEAD) & (state[0] > 0))

    def alive(self, state: State) -> BoolArray:
        """Nothing fatal was seen."""
        return np.asarray(state[0] != self._DEAD)


@dataclass(frozen=True)
class EvenCount(Rule):
    """An even number of a symbol, counted anew after each ``since``. Register: the parity."""

    symbol: str
    since: str | None = None

    finite = True

    def start(self, n: int) -> State:
        """None is even."""
        return (np.zeros(n, np.bool_),)

    def step(self, state: State, codes: ByteArray) -> State:
        """The symbol flips the parity, ``since`` clears it."""
        odd = state[0] ^ (codes == ord(self.symbol))
        return (odd if self.since is None else odd & (codes != ord(self.since)),)

    def accepts(self, state: State) -> BoolArray:
        """The parity is even."""
        return ~state[0]

    def alive(self, state: State) -> BoolArray:
        """Always: one more symbol mends it."""
        return np.ones(len(state[0]), np.bool_)


@dataclass(frozen=True)
class StartsWith(Rule):
    """The first symbol is this one. Register: 0 nothing read, 1 it was, 2 it was another."""

    symbol: str

    finite = True

    def start(self, n: int) -> State:
        """Nothing read."""
        return (np.zeros(n, np.int8),)

    def step(self, state: State, codes: ByteArray) -> State:
        """Only the first symbol counts."""
        first = (state[0] == 0) & (codes != PAD_CODE)
        return (np.where(first, np.where(codes == ord(self.symbol), np.int8(1), np.int8(2)), state[0]),)

    def accepts(self, state: State) -> BoolArray:
        """The first symbol was the right one."""
        return np.asarray(state[0] == 1)

    def alive(self, state: State) -> BoolArray:
        """The first symbol was not another one."""
        return np.asarray(state[0] != 2)


class Conjunction(Machine):
    """Several rules side by side; its registers are theirs, one rule after the other."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)

    def start(self, n: int) -> State:
        """Every rule's start."""
        return tuple(register for rule in self.rules for register in rule.start(n))

    def step(self, state: State, codes: ByteArray) -> State:
        """Every rule reads the symbol."""
        parts = zip(self.rules, self.split(state), strict=True)
        return tuple(register for rule, part in parts for register in rule.step(part, codes))

    def accepts(self, state: State) -> BoolArray:
        """(N,) bool: does every rule hold?"""
        parts = zip(self.rules, self.split(state), strict=True)
        return np.asarray(np.logical_and.reduce([rule.accepts(part) for rule, part in parts]))

    def alive(self, state: State) -> BoolArray:
        """(N,) bool: is each rule viable on its own? A language knows whether that suffices."""
        parts = zip(self.rules, self.split(state), strict=True)
        return np.asarray(np.logical_and.reduce([rule.alive(part) for rule, part in parts]))

    def split(self, state: State) -> list[State]:
        """The state of each rule, in order."""
        parts, first = [], 0
        for rule in self.rules:
            size = len(rule.start(0))
            parts.append(state[first : first + size])
            first += size
        return parts


class NonEmpty(Machine):
    """Rules that the empty word does not keep; the first register says whether there is a symbol."""

    def __init__(self, rules: Conjunction) -> None:
        self.rules = rules

    def start(self, n: int) -> State:
        """Nothing read."""
        return (np.zeros(n, np.bool_), *self.rules.start(n))

    def step(self, state: State, codes: ByteArray) -> State:
        """Any symbol counts."""
        return (state[0] | (codes != PAD_CODE), *self.rules.step(state[1:], codes))

    def accepts(self, state: State) -> BoolArray:
        """Not empty, and the rules hold."""
        return np.asarray(state[0] & self.rules.accepts(state[1:]))

    def alive(self, state: State) -> BoolArray:
        """The rules are viable."""
        return self.rules.alive(state[1:])


_WORDS = {
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
    """What a symbol, or a few, are called in the name of a rule.

    >>> plural("a"), plural("a", 1), plural("0")
    ('as', 'a', 'zeros')
    """
    one, several = _WORDS.get(symbols, (symbols, f"{symbols}s"))
    return one if count == 1 else several


_LABELS = ("name", "summary")
"""Arguments of a combinator that say what its rule is called, and not which words keep it."""


def combinator(make: Callable[P, Rule]) -> Callable[P, Rule]:
    """Let a rule remember the expression that made it: the combinator's name, and each argument that is no default.

    What a rule is called (``name``, ``summary``) is no part of the expression.
    """
    parameters = signature(make)

    @wraps(make)
    def make_with_expression(*args: P.args, **kwargs: P.kwargs) -> Rule:
        rule = make(*args, **kwargs)
        values = {
            name: value
            for name, value in parameters.bind(*args, **kwargs).arguments.items()
            if name not in _LABELS and value != parameters.parameters[name].default
        }
        return replace(rule, expression=(make.__name__, *tokens(values.values())))

    return make_with_expression


def tokens(value: object) -> list[str]:
    """A value as the fewest tokens that say it: a symbol, or a number, is one; nothing is none.

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
    """As many of each symbol as of every other.

    >>> equal_counts("a", "b", "c").holds(["abc", "aabcc"]).tolist()
    [True, False]
    """
    name = "_equal_".join(map(plural, symbols))
    return EqualCounts(symbols, name=name, summary="as many " + " as ".join(symbols))


@combinator
def equal_sums(symbols: Sequence[str], others: Sequence[str]) -> Rule:
    """As many of some symbols together as of others together.

    >>> equal_sums("c", "ab").holds(["abcc", "abc"]).tolist()
    [True, False]
    """
    name = "_equal_".join("_and_".join(map(plural, side)) for side in (symbols, others))
    summary = f"as many {' and '.join(symbols)} as {' and '.join(others)}{' together' if len(others) > 1 else ''}"
    return Tally(tuple(symbols), tuple(others), name=name, summary=summary)


@combinator
def more(symbol: str, other: str) -> Rule:
    """More of one symbol than of another.

    >>> more("a", "b").holds(["aab", "ab", "b"]).tolist()
    [True, False, False]
    """
    name, summary = f"more_{plural(symbol)}_than_{plural(other)}", f"more {symbol} than {other}"
    return Tally((symbol,), (other,), positive=True, name=name, summary=summary)


@combinator
def ordered(*symbols: str, leading: bool = False) -> Rule:
    """Every ``symbols[0]`` before every ``symbols[1]``, and so on; what does not occur is in order.

    Args:
        symbols: the symbols in their order.
        leading: the first symbol must occur, too.

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
    """An even number of a symbol, in the whole word or after the last ``since``.

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
    """The word starts with a symbol.

    >>> starts_with("b").holds(["ba", "ab", ""]).tolist(), starts_with("b").viable([""]).tolist()
    ([True, False, False], [True])
    """
    return StartsWith(symbol, name=f"starts_with_{symbol}", summary=f"starts with {symbol}")
