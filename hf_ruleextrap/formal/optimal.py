"""The best and the worst completions of prompts: the oracle, the adversary and the ceiling of each rate."""

from __future__ import annotations

import numpy as np

from .intervals import Rate
from .language import Language
from .machine import Conjunction, Machine, NonEmpty, State, distinct
from .prompts import PromptSet
from .scoring import Report, RuleReport, Split, group_rows
from .words import BoolArray, ByteArray, IntArray, WordBatch, symbol_codes

_MOST_NODES, _MOST_NODES_EACH = 1 << 16, 1 << 10
"""The largest numbers of states, in total and for each prompt, of a search that may fail.

After the larger of the two, a set of open rules counts as one that no completion keeps.
"""


def oracle(language: Language, prompts: PromptSet, *, max_new_symbols: int) -> tuple[WordBatch, BoolArray]:
    """Return for each prompt the shortest completion that keeps all rules that one completion can keep.

    The completion of an ID prompt gives a word of the language. The completion of an OOD prompt keeps every open rule;
    if the open rules exclude each other (``abb`` for a^n b^n), it keeps the first of them, which is R1 unless the
    prompt breaks R1.

    Args:
        language: The language.
        prompts: N prompts.
        max_new_symbols: The largest number of symbols in a completion.

    Returns:
        The completions, and (N,) bool, whether a completion exists within the limit (if not, it is empty and
        unfinished).

    >>> from hf_ruleextrap.languages import get_language
    >>> lang = get_language("anbn")
    >>> list(oracle(lang, lang.label(["aab", "baa", "abb"]), max_new_symbols=8)[0])
    ['b', 'b', 'a']
    """
    completions = np.full(len(prompts), "", dtype=object)
    finished = np.zeros(len(prompts), np.bool_)
    for target, rows in _targets(language, prompts):
        words = prompts.words.take(rows)
        completions[rows], finished[rows] = shortest_completions(target, words, language.alphabet, max_new_symbols)
    for i, rule in enumerate(language.rules):
        # Two rules of three may be open, and may exclude each other. The first open rule is then the target.
        first = ~finished & prompts.ood & prompts.open[:, i] & ~prompts.open[:, :i].any(axis=1)
        rows = np.flatnonzero(first & (prompts.open.sum(axis=1) > 1))
        words = prompts.words.take(rows)
        completions[rows], finished[rows] = shortest_completions(rule, words, language.alphabet, max_new_symbols)
    return WordBatch.from_strings(completions.tolist()), finished


def adversary(language: Language, prompts: PromptSet, *, max_new_symbols: int) -> tuple[WordBatch, BoolArray]:
    """Return the oracle's completion of each OOD prompt, followed by the fewest symbols that break all open rules.

    Among equally short continuations, the continuation that repeats the last symbol of the oracle comes first; the
    others follow in the reverse order of the alphabet. For a^n b^n, the result is the completion of the adversarial
    training of the paper: one symbol more than the rule needs.

    Args:
        language: The language.
        prompts: N prompts, all OOD with an open rule (`PromptSet.in_headline`).
        max_new_symbols: The largest number of symbols in a completion.

    Returns:
        The completions, and (N,) bool, whether a completion exists within the limit.

    Source: Mészáros et al., NeurIPS 2024, arXiv 2409.13728, the case study of a^n b^n.

    >>> from hf_ruleextrap.languages import get_language
    >>> lang = get_language("anbn")
    >>> list(adversary(lang, lang.label(["baa", "bab", "ba"]), max_new_symbols=8)[0])
    ['bb', 'aa', 'b']
    """
    repaired, finished = oracle(language, prompts, max_new_symbols=max_new_symbols)
    completions = np.full(len(prompts), "", dtype=object)
    for target, rows in _targets(language, prompts):
        assert isinstance(target, Conjunction)
        last = np.array([completion[-1:] for completion in repaired.take(rows)])
        for symbol in np.unique(last):
            of_last = rows[(last == symbol) & finished[rows]]
            others = [other for other in reversed(language.alphabet) if other != symbol]
            alphabet = (*([symbol] if symbol else []), *others)
            words = prompts.words.take(of_last).followed_by(repaired.take(of_last))
            more, done = shortest_completions(_Broken(target), words, alphabet, max_new_symbols)
            completions[of_last] = [first + then for first, then in zip(repaired.take(of_last), more, strict=True)]
            finished[of_last] = done
    batch = WordBatch.from_strings(completions.tolist())
    return batch, finished & (batch.lengths <= max_new_symbols)


def _targets(language: Language, prompts: PromptSet) -> list[tuple[Machine, IntArray]]:
    """Return each target, which is a machine that must accept, with the rows of its prompts."""
    inside = np.flatnonzero(~prompts.ood)
    targets: list[tuple[Machine, IntArray]] = [(NonEmpty(language), inside)] if len(inside) else []
    for is_open in np.unique(prompts.open[prompts.ood], axis=0):
        rows = np.flatnonzero(prompts.ood & (prompts.open == is_open).all(axis=1))
        # Where each rule is viable and the prompt is OOD, the rules cannot all hold. The target is then R1.
        to_keep = is_open if not is_open.all() else np.arange(len(is_open)) == 0
        targets.append((Conjunction([rule for rule, kept in zip(language.rules, to_keep, strict=True) if kept]), rows))
    return targets


class _Broken(Machine):
    """A machine that accepts the words that keep no rule of a conjunction."""

    def __init__(self, target: Conjunction) -> None:
        self.target = target

    def start(self, n: int) -> State:
        return self.target.start(n)

    def step(self, state: State, codes: ByteArray) -> State:
        return self.target.step(state, codes)

    def accepts(self, state: State) -> BoolArray:
        parts = zip(self.target.rules, self.target.split(state), strict=True)
        return np.asarray(~np.any([rule.accepts(part) for rule, part in parts], axis=0))

    def alive(self, state: State) -> BoolArray:
        return np.ones(len(state[0]), np.bool_)


def shortest_completions(
    target: Machine, prompts: WordBatch, alphabet: tuple[str, ...], limit: int
) -> tuple[list[str], BoolArray]:
    """Return for each of N prompts the shortest completion that a machine accepts.

    The search is breadth-first over the states that each prompt can reach, each state once in a layer.

    Args:
        target: The machine.
        prompts: N prompts.
        alphabet: The symbols; among equally short completions, the first in the order of these symbols is
            returned.
        limit: The largest number of symbols in a completion.

    Returns:
        The N completions, and (N,) bool, whether a completion exists within the limit (if not, it is empty).
    """
    symbols = symbol_codes(alphabet)
    completions, done = [""] * len(prompts), np.zeros(len(prompts), np.bool_)
    owner, state = np.arange(len(prompts)), target.read(prompts)
    # For each layer after the first, the node that each node comes from, and the symbol between them.
    layers: list[tuple[IntArray, IntArray]] = []
    # The viability of a rule or a language is exact. Several open rules may exclude each other.
    may_fail, walked = type(target) is Conjunction and len(target.rules) > 1, 0
    for _ in range(limit + 1):
        hits = np.flatnonzero(target.accepts(state) & ~done[owner]) if len(owner) else np.zeros(0, np.int64)
        for node in hits[np.unique(owner[hits], return_index=True)[1]]:
            completions[owner[node]], done[owner[node]] = _path(layers, int(node), alphabet), True
        node = np.flatnonzero(target.alive(state) & ~done[owner]) if len(owner) else hits
        if not len(node):
            break
        parent, symbol = node.repeat(len(symbols)), np.tile(np.arange(len(symbols)), len(node))
        state = target.step(tuple(register[parent] for register in state), symbols[symbol])
        owner = owner[parent]
        # The order of the search is kept, so that the first symbols of the alphabet come first.
        first = np.sort(distinct((owner, *state))[0])
        layers.append((parent[first], symbol[first]))
        owner, state = owner[first], tuple(register[first] for register in state)
        walked += len(owner)
        if may_fail and walked > max(_MOST_NODES, _MOST_NODES_EACH * len(prompts)):
            break
    return completions, done


def _path(layers: list[tuple[IntArray, IntArray]], node: int, alphabet: tuple[str, ...]) -> str:
    """Return the symbols on the way to a node of the last layer."""
    word = []
    for parents, symbols in reversed(layers):
        word.append(alphabet[symbols[node]])
        node = int(parents[node])
    return "".join(reversed(word))


def ceiling(language: Language, prompts: PromptSet, *, max_new_symbols: int) -> Report:
    """Return the report whose every rate is the highest that completions within the limit can reach.

    The ceiling of each rate is computed by itself. Different rates may need different completions, and no single set of
    completions need have this report (`oracle` gives one set of completions). A prompt counts for a rate where some
    completion of at most ``max_new_symbols`` symbols makes the condition of the rate true. Among finished completions
    the highest rate is 1 as soon as one prompt can count, because a completer may end after that prompt alone; then
    ``n`` is the number of prompts that can count. For ``empty`` and ``unparsable``, where higher is not better, the
    rate is 1.

    Args:
        language: The language, whose rules the rates are about.
        prompts: N prompts.
        max_new_symbols: The length limit of a completion, 0 or more.

    Returns:
        A report like that of `scoring.aggregate`, with exact rates and with the hits of each rate.

    >>> from hf_ruleextrap.languages import get_language
    >>> lang = get_language("ban")
    >>> report = ceiling(lang, lang.prompts("ood"), max_new_symbols=8)
    >>> report.rules["starts_with_b"].word.all.rate, report.rules["starts_with_b"].completion.all.rate
    (0.0, 1.0)
    """
    words, rules = prompts.words, language.rules
    nothing = WordBatch.from_strings([""])

    def reachable(machine: Machine, words: WordBatch) -> BoolArray:
        return _reachable(machine, words, language.alphabet, max_new_symbols)

    word = np.stack([reachable(rule, words) for rule in rules], axis=1)
    alone = [bool(reachable(rule.for_completion, nothing)[0]) for rule in rules]
    headline = np.zeros(len(prompts), np.bool_)
    for is_open in np.unique(prompts.open[prompts.in_headline], axis=0):
        rows = np.flatnonzero(prompts.in_headline & (prompts.open == is_open).all(axis=1))
        # If all rules are open after an OOD prompt, no completion keeps them all, by the definition of OOD.
        if not is_open.all():
            together = Conjunction([rule for rule, wanted in zip(rules, is_open, strict=True) if wanted])
            headline[rows] = reachable(together, words.take(rows))
    return _report(language, prompts, headline, reachable(NonEmpty(language), words), word, alone)


def _reachable(machine: Machine, words: WordBatch, alphabet: tuple[str, ...], limit: int) -> BoolArray:
    """Return (N,) bool: whether some completion within the limit makes the machine accept.

    Words that lead to the same state share one search.
    """
    if not len(words):
        return np.zeros(0, np.bool_)
    first, place = distinct(machine.read(words))
    return shortest_completions(machine, words.take(first), alphabet, limit)[1][place]


def _report(
    language: Language,
    prompts: PromptSet,
    headline: BoolArray,
    grammatical: BoolArray,
    word: BoolArray,
    alone: list[bool],
) -> Report:
    """Return the report of N prompts and of each group, from the conditions that each prompt can reach."""
    n = len(prompts)
    every = np.ones(n, np.bool_)
    rules = {
        rule.name: RuleReport(rule.summary, word=_split(word[:, i]), completion=_split(every & alone[i]))
        for i, rule in enumerate(language.rules)
    }
    groups = {
        by: {
            value: _report(language, prompts.take(rows), headline[rows], grammatical[rows], word[rows], alone)
            for value, rows in parts.items()
        }
        for by, parts in group_rows(prompts).items()
    }
    return Report(
        language=language.name,
        n=n,
        headline=_rate(headline, prompts.in_headline),
        finished=_rate(every, every),
        empty=_rate(every, every),
        unparsable=_rate(every, every),
        grammatical=_rate(grammatical, every),
        rules=rules,
        groups=groups,
    )


def _split(reachable: BoolArray) -> Split:
    every = np.ones_like(reachable)
    return Split(all=_rate(reachable, every), finished=_rate(reachable, reachable if reachable.any() else every))


def _rate(reachable: BoolArray, among: BoolArray) -> Rate:
    hits, n = int((reachable & among).sum()), int(among.sum())
    return Rate.known(hits / n if n else 0.0, n, hits)
