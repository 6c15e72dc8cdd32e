"""Length generalisation: rates by length, beyond the training words, and the largest length at which they hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from hf_ruleextrap import formal
from hf_ruleextrap.completers.base import Completer
from hf_ruleextrap.costs import MOST_SECONDS, check_cost
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.formal import Language, PromptSet, Rate, WordBatch
from hf_ruleextrap.formal.words import symbol_codes

from .figures import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ReachKind: TypeAlias = Literal["id", "ood", "word"]

REACH_KINDS: dict[ReachKind, str] = {
    "id": "ID prompts that become words",
    "ood": "OOD prompts on which every open rule holds",
    "word": "halves of words that become words",
}
"""The kinds of prompts for which a reach is measured, each with the prompts that its rate counts."""

THRESHOLD = 0.95
"""The smallest rate that counts as kept."""

MULTIPLES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
"""The default lengths, as multiples of the length of the longest training word."""

_AT_ONCE, _ROUNDS = 4000, 10

_SECONDS_A_SYMBOL = 0.03
"""The time for each symbol of a length, in seconds, over three kinds of prompts and their completions."""


@dataclass(frozen=True)
class LengthRate:
    """The rate on the prompts of one kind and length.

    Attributes:
        kind: The kind of the prompts. ``id``: the first symbols of longer words, each of which must become a word.
            ``ood``: prompts that break R2, on which every open rule must hold. ``word``: the first halves of words,
            each of which must become a word.
        length: The number of symbols in a prompt. For ``word``, the number of symbols in the whole word; if no word has
            this length, the words have the next smaller length.
        max_new_symbols: The length limit of a completion.
        rate: The share of prompts that meet the condition of the kind, with its 95 % interval; None without a rate.
        finished: The share of completions that ended by themselves.
        chance: The rate of chance, which draws each symbol, or the end, with equal probability, on the same prompts.
        status: ``"ok"``, or the reason in one line why there is no rate.
    """

    kind: ReachKind
    length: int
    max_new_symbols: int
    rate: Rate | None = None
    finished: Rate | None = None
    chance: Rate | None = None
    status: str = "ok"


@dataclass(frozen=True)
class Reach:
    """The rates of a completer by length, and the lengths up to which the rates hold.

    Attributes:
        language: The name of the language.
        train_length: The number of symbols in the longest training word.
        rates: The rates of every kind and length.
    """

    language: str
    train_length: int
    rates: tuple[LengthRate, ...]

    def of(self, kind: ReachKind) -> int | None:
        """Return the reach: the largest measured length up to which the rate is 0.95 or more at every measured length.

        A length without a rate ends the reach. The reach is None if the first length has no rate or a lower rate.
        """
        reach = None
        for at in self.of_kind(kind):
            if at.rate is None or at.rate.rate is None or at.rate.rate < THRESHOLD:
                break
            reach = at.length
        return reach

    def of_kind(self, kind: ReachKind) -> list[LengthRate]:
        """Return the rates of one kind, the smallest length first."""
        return sorted((at for at in self.rates if at.kind == kind), key=lambda at: at.length)

    def to_dict(self) -> dict[str, Any]:
        """Return the rates and the reach as plain dictionaries and numbers."""
        return {
            "language": self.language,
            "train_length": self.train_length,
            "threshold": THRESHOLD,
            "reach": {kind: self.of(kind) for kind in REACH_KINDS},
            "rates": [asdict(at) for at in self.rates],
        }


def measure_reach(
    completer: Completer,
    language: Language,
    *,
    train_length: int,
    lengths: Iterable[int] | None = None,
    n: int = 100,
    seed: int = 0,
) -> Reach:
    """Complete prompts of many lengths and score them.

    The limit of a completion is twice the length of its prompt plus 8 symbols, or smaller if the model has fewer
    positions. If the model cannot read prompts of a length, or the language has no prompts of the kind and length, the
    result holds a status instead of a rate.

    Args:
        completer: The completer. Its optional attribute ``most_tokens`` is the largest number of tokens, including BOS,
            that the completer can read.
        language: The language.
        train_length: The number of symbols in the longest training word.
        lengths: The lengths to measure; by default `MULTIPLES` of ``train_length``.
        n: The largest number of prompts of each length and kind; all prompts are different.
        seed: The random seed for drawing prompts.

    Raises:
        RuleExtrapError: If a length or ``n`` is below 1.
    """
    multiples = {max(1, round(factor * train_length)) for factor in MULTIPLES}
    lengths = sorted(multiples if lengths is None else set(lengths))
    if train_length < 1 or n < 1 or not lengths or lengths[0] < 1:
        raise RuleExtrapError(f"train_length {train_length}, lengths {lengths} and n {n}: give 1 or more")
    check_cost(
        f"completing prompts of up to {lengths[-1]:,} symbols",
        f"give lengths that add up to at most {int(MOST_SECONDS / _SECONDS_A_SYMBOL):,}",
        seconds=sum(lengths) * _SECONDS_A_SYMBOL,
    )
    rates = [_measure(completer, language, kind, length, n, seed) for kind in REACH_KINDS for length in lengths]
    return Reach(language.name, train_length, tuple(rates))


def long_prompts(language: Language, kind: ReachKind, length: int, n: int, seed: int = 0) -> PromptSet:
    """Draw up to n different prompts of a length that may be too large for a list of all prompts.

    ``id``: words of at most twice the length are drawn, and the words that are longer than the length are cut to it.
    ``word``: words of at most the length are drawn, and the longest of them are cut to their first half, rounded up.
    ``ood``: the language's own OOD prompts that break R2 and leave R1 open are drawn, and continued by symbols drawn
    uniformly from the symbols that still leave R1 open.

    Args:
        language: The language.
        kind: The kind of the prompts.
        length: The number of symbols in a prompt; for ``word``, in a word.
        n: The number of prompts; the result holds fewer if the language has fewer.
        seed: The random seed for drawing prompts.

    Raises:
        RuleExtrapError: If the language has no prompts of this kind and length, or cannot draw words of this length.

    >>> from hf_ruleextrap.languages import get_language
    >>> long_prompts(get_language("anbn"), "word", 100, 3).texts == ["a" * 50]
    True
    """
    rng = np.random.default_rng([seed, length])
    if kind == "ood":
        texts = _outside(language, length, n, rng)
    else:
        texts = _inside(language, length, n, rng, halves=kind == "word")
    if not texts:
        raise RuleExtrapError(f"{language.name} has no {kind} prompts of {length} symbols")
    return language.label(texts)


def _inside(language: Language, length: int, n: int, rng: np.random.Generator, *, halves: bool) -> list[str]:
    prompts: dict[str, None] = {}
    longest = 0
    for _ in range(_ROUNDS):
        words = language.sample(_AT_ONCE, max_length=length if halves else 2 * length, rng=rng)
        if halves and words.lengths.max() > longest:
            longest, prompts = int(words.lengths.max()), {}
        long = words.take(words.lengths == longest if halves else words.lengths > length)
        size = -(-longest // 2) if halves else length
        prompts |= dict.fromkeys(word[:size] for word in long)
        if len(prompts) >= n:
            break
    return list(prompts)[:n]


def _outside(language: Language, length: int, n: int, rng: np.random.Generator) -> list[str]:
    heads = language.prompts("ood", length=min(length, language.prompt_length))
    heads = heads.take(heads.open[:, 0] & ~heads.open[:, 1])
    if not len(heads):
        return []
    words = heads.words.take(rng.integers(len(heads), size=4 * n))
    codes, rule = symbol_codes(language.alphabet), language.rules[0]
    state, columns = rule.read(words, to_the_end=True), list(words.codes.T)
    while len(columns) < length:
        each = [rule.step(state, np.full(len(words), code, np.uint8)) for code in codes]
        allowed = np.stack([rule.alive(after) for after in each], axis=1)
        # The allowed symbol with the largest random key is a uniform choice. A prompt without an allowed symbol is
        # dropped at the end.
        keys = np.where(allowed, rng.random(allowed.shape), -1.0)
        columns.append(codes[keys.argmax(axis=1)])
        state = rule.step(state, columns[-1])
    longer = WordBatch.from_codes(np.stack(columns, axis=1), np.full(len(words), length)).take(rule.alive(state))
    return list(dict.fromkeys(longer))[:n]


def _measure(completer: Completer, language: Language, kind: ReachKind, length: int, n: int, seed: int) -> LengthRate:
    try:
        prompts = long_prompts(language, kind, length, n, seed)
    except RuleExtrapError as error:
        return LengthRate(kind, length, 0, status=str(error))
    symbols = int(prompts.words.lengths.max())
    limit, positions = 2 * symbols + 8, getattr(completer, "most_tokens", None)
    if positions is not None:
        limit = min(limit, positions - 1 - symbols)
    if limit < 1:
        status = f"the model has {positions} positions, too few for a prompt of {symbols} symbols and a completion"
        return LengthRate(kind, length, max(0, limit), status=status)
    try:
        completions = completer.complete(prompts, max_new_symbols=limit)
    except ValueError as error:
        return LengthRate(kind, length, limit, status=str(error).strip().splitlines()[0])
    verdicts = formal.score(language, prompts, completions.words, completions.finished)
    report = formal.aggregate(verdicts, groups=False)
    uniform = formal.chance(language, prompts, formal.uniform(language), max_new_symbols=limit, seed=seed)
    rate, chance = (each.headline if kind == "ood" else each.grammatical for each in (report, uniform))
    return LengthRate(kind, length, limit, rate, report.finished, chance)


def table_lines(reach: Reach) -> Iterator[str]:
    """Yield the rates as lines of text: a block with a heading and the reach for each kind of prompts."""
    for kind, what in REACH_KINDS.items():
        longest = reach.of(kind)
        yield f"{what}: reach {'-' if longest is None else longest} (trained on up to {reach.train_length})"
        yield "  symbols  rate  95 % interval     n  chance  finished"
        for at in reach.of_kind(kind):
            if at.rate is None or at.chance is None or at.finished is None:
                yield f"  {at.length:7}     -  {at.status}"
                continue
            rates = f"{at.rate.rate_text}  {at.rate.interval_text:13}  {at.rate.n:4}"
            yield f"  {at.length:7}  {rates}  {at.chance.rate_text:>6}  {at.finished.rate_text:>8}"


def draw_reach(figure: Figure, reach: Reach) -> None:
    """Draw a panel for each kind of prompts: the rate with its 95 % interval, and chance, against the length."""
    from matplotlib.ticker import NullLocator

    panels: Sequence[Any] = figure.subplots(1, len(REACH_KINDS), sharey=True)
    for axes, (kind, what) in zip(panels, REACH_KINDS.items(), strict=True):
        measured = [at for at in reach.of_kind(kind) if at.rate is not None and at.rate.rate is not None]
        lengths = [at.length for at in measured]
        rates = [at.rate for at in measured if at.rate is not None]
        low, middle, high = ([getattr(rate, name) for rate in rates] for name in ("low", "rate", "high"))
        axes.fill_between(lengths, low, high, color=COLOURS[0], alpha=0.2, lw=0, label="95 % interval")
        axes.plot(lengths, middle, "o-", color=COLOURS[0], ms=4, label="rate")
        chance = [at.chance.rate if at.chance else np.nan for at in measured]
        axes.plot(lengths, chance, ":", color="0.35", label="chance")
        axes.axvline(reach.train_length, color="0.6", lw=1, label="longest training word")
        axes.axhline(THRESHOLD, color="0.6", lw=1, ls="--", label=f"rate that counts as kept, {THRESHOLD}")
        longest = reach.of(kind)
        kept = "at no length" if longest is None else f"up to {longest} symbols"
        axes.set_title(f"{what}\nkept {kept}", fontsize="small", loc="left")
        axes.set_xscale("log", base=2)
        axes.set_xticks(lengths, [str(length) for length in lengths], fontsize="small", rotation=90)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("symbols in the word" if kind == "word" else "symbols in the prompt")
        axes.set_ylim(-0.03, 1.05)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("share of prompts")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize="small")
