"""Length generalisation: rates on prompts and words longer than any in training, and how far they hold."""

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

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Asked: TypeAlias = Literal["id", "ood", "word"]

ASKED: dict[Asked, str] = {
    "id": "ID prompts that become words",
    "ood": "OOD prompts on which every open rule holds",
    "word": "halves of words that become words",
}
"""What is counted, and of what."""

THRESHOLD = 0.95
"""The rate that counts as kept."""

MULTIPLES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
"""The lengths that are asked by default, in units of the longest training word."""

_AT_ONCE, _ROUNDS = 4000, 10

_SECONDS_A_SYMBOL = 0.03
"""Time for one symbol of a length: three kinds of prompts, completed by up to three times as many symbols."""


@dataclass(frozen=True)
class LengthRate:
    """One length and kind.

    Attributes:
        kind: ``id``: the first symbols of longer words, which must become a word; ``ood``: prompts that break R2, on
            which every open rule must hold; ``word``: the first halves of words, which must become a word.
        length: symbols in a prompt; of ``word``, in the whole word (the nearest length below that words have).
        max_new_symbols: the length limit of a completion.
        rate: of the prompts on which that was so, with its 95 % interval; None where it could not be asked.
        finished: of completions that ended by themselves.
        chance: the rate of uniformly random symbols and an end, on the same prompts.
        status: ``"ok"``, or in one line why there is no rate.
    """

    kind: Asked
    length: int
    max_new_symbols: int
    rate: Rate | None = None
    finished: Rate | None = None
    chance: Rate | None = None
    status: str = "ok"


@dataclass(frozen=True)
class Reach:
    """How far a completer's rates hold.

    Attributes:
        language: its name.
        train_length: symbols in the longest training word.
        rates: by kind, then by length.
    """

    language: str
    train_length: int
    rates: tuple[LengthRate, ...]

    def of(self, kind: Asked) -> int | None:
        """The reach: the longest length asked, up to which the rate is 0.95 or more at every length asked.

        A length without a rate ends it. None where the first has none, or a lower one.
        """
        found = None
        for at in self.of_kind(kind):
            if at.rate is None or at.rate.rate is None or at.rate.rate < THRESHOLD:
                break
            found = at.length
        return found

    def of_kind(self, kind: Asked) -> list[LengthRate]:
        """The rates of one kind, the shortest first."""
        return sorted((at for at in self.rates if at.kind == kind), key=lambda at: at.length)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and numbers."""
        return {
            "language": self.language,
            "train_length": self.train_length,
            "threshold": THRESHOLD,
            "reach": {kind: self.of(kind) for kind in ASKED},
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

    The limit of a completion is twice the length of its prompt and 8 symbols more, less where the model has no more
    positions. At a length that a model cannot read, or that the language has no such prompt of, there is no rate but a
    status.

    Args:
        completer: who continues the prompts. Its attribute ``most_tokens``, where it has one, is the number of tokens,
            the first (BOS) among them, that it can read.
        language: the language.
        train_length: symbols in the longest training word.
        lengths: to be asked; by default `MULTIPLES` of ``train_length``.
        n: prompts of each length and kind, at most; all are different.
        seed: of the prompts.

    Raises:
        RuleExtrapError: a length or n below 1.
    """
    asked = sorted({max(1, round(factor * train_length)) for factor in MULTIPLES} if lengths is None else set(lengths))
    if train_length < 1 or n < 1 or not asked or asked[0] < 1:
        raise RuleExtrapError(f"train_length {train_length}, lengths {asked} and n {n}: give 1 or more")
    check_cost(
        f"completing prompts of up to {asked[-1]:,} symbols",
        f"give lengths that add up to at most {int(MOST_SECONDS / _SECONDS_A_SYMBOL):,}",
        seconds=sum(asked) * _SECONDS_A_SYMBOL,
    )
    rates = [_ask(completer, language, kind, length, n, seed) for kind in ASKED for length in asked]
    return Reach(language.name, train_length, tuple(rates))


def long_prompts(language: Language, kind: Asked, length: int, n: int, seed: int = 0) -> PromptSet:
    """Up to n different prompts of a length that may be far too large to list them all.

    ``id``: words of at most twice the length are drawn, and those that are longer are cut. ``word``: words of at most
    the length are drawn, and the longest of them are cut to their first half, rounded up. ``ood``: the language's own
    OOD prompts that break R2 and leave R1 open are drawn, and continued by symbols drawn uniformly from those that
    still leave R1 open.

    Args:
        language: the language.
        kind: as above.
        length: symbols in a prompt, or for ``word`` in a word.
        n: how many; fewer where the language has fewer.
        seed: of the draw.

    Raises:
        RuleExtrapError: there are none, or the language cannot draw such long words.

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
    found: dict[str, None] = {}
    longest = 0
    for _ in range(_ROUNDS):
        words = language.sample(_AT_ONCE, max_length=length if halves else 2 * length, rng=rng)
        if halves and words.lengths.max() > longest:
            longest, found = int(words.lengths.max()), {}
        long = words.take(words.lengths == longest if halves else words.lengths > length)
        size = -(-longest // 2) if halves else length
        found |= dict.fromkeys(word[:size] for word in long)
        if len(found) >= n:
            break
    return list(found)[:n]


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
        # A uniform choice: the allowed symbol with the largest random key. An open rule has one, or holds already.
        keys = np.where(allowed, rng.random(allowed.shape), -1.0)
        columns.append(codes[keys.argmax(axis=1)])
        state = rule.step(state, columns[-1])
    longer = WordBatch.from_codes(np.stack(columns, axis=1), np.full(len(words), length)).take(rule.alive(state))
    return list(dict.fromkeys(longer))[:n]


def _ask(completer: Completer, language: Language, kind: Asked, length: int, n: int, seed: int) -> LengthRate:
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
        made = completer.complete(prompts, max_new_symbols=limit)
    except ValueError as error:
        return LengthRate(kind, length, limit, status=str(error).strip().splitlines()[0])
    report = formal.aggregate(formal.score(language, prompts, made.words, made.finished), groups=False)
    uniform = formal.chance(language, prompts, formal.uniform(language), max_new_symbols=limit, seed=seed)
    rate, chance = (found.headline if kind == "ood" else found.grammatical for found in (report, uniform))
    return LengthRate(kind, length, limit, rate, report.finished, chance)


def table_lines(reach: Reach) -> Iterator[str]:
    """Yield the rates as lines of text: a block with a heading and the reach for each kind of prompts."""
    for kind, what in ASKED.items():
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

    panels: Sequence[Any] = figure.subplots(1, len(ASKED), sharey=True)
    for axes, (kind, what) in zip(panels, ASKED.items(), strict=True):
        known = [at for at in reach.of_kind(kind) if at.rate is not None and at.rate.rate is not None]
        lengths = [at.length for at in known]
        rates = [at.rate for at in known if at.rate is not None]
        low, middle, high = ([getattr(rate, name) for rate in rates] for name in ("low", "rate", "high"))
        axes.fill_between(lengths, low, high, color="#0072B2", alpha=0.2, lw=0, label="95 % interval")
        axes.plot(lengths, middle, "o-", color="#0072B2", ms=4, label="rate")
        chance = [at.chance.rate if at.chance else np.nan for at in known]
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
