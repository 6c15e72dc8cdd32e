"""The exact distribution of a model over short words, without sampling.

Words grow symbol by symbol. The model reads all prefixes of a length together, each prefix once, with its own cache, so
2^15 words take 2^15 steps of one token. Figure 1 and the training dynamics of Mészáros et al. (NeurIPS 2024) show this
distribution.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from math import log2
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from hf_ruleextrap.completers import check_positions
from hf_ruleextrap.errors import RuleExtrapError, check_integer
from hf_ruleextrap.formal import Language, Machine, PromptSet, Source, WordBatch
from hf_ruleextrap.formal.machine import Conjunction, State
from hf_ruleextrap.formal.words import FloatArray, IntArray, concatenate, symbol_codes
from hf_ruleextrap.languages import get_language
from hf_ruleextrap.tokenization import BOS_ID, EOS_ID, SPECIAL_TOKENS, encode

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

# The number of prefixes in one forward pass.
ROWS_AT_ONCE = 4096
_MOST_WORDS = 1 << 22


@dataclass(frozen=True, eq=False)
class Mass:
    """The probability that a model gives to words of up to ``max_length`` symbols.

    Attributes:
        language: The name of the language.
        max_length: The largest number of symbols in a word.
        both: The probability of the words that keep R1 and R2.
        only_r1, only_r2: The probability of the words that keep only R1, and only R2.
        neither: The probability of the words that keep neither rule.
        grammatical: The probability of the words of the language; for a language with two rules, the same as ``both``.
        longer: The probability of all longer words, and of words that hold a special token.
        impossible: The probability of a symbol after which a viable prefix is not viable.
        words: All N words of at most ``max_length`` symbols, the shortest first.
        log_probability: (N,) float64, the log-probability of each word, in nats.
    """

    language: str
    max_length: int
    both: float
    only_r1: float
    only_r2: float
    neither: float
    grammatical: float
    longer: float
    impossible: float
    words: WordBatch
    log_probability: FloatArray

    @property
    def cells(self) -> dict[str, float]:
        """The probability of each of the four cells by name."""
        return {name: getattr(self, name) for name in ("both", "only_r1", "only_r2", "neither")}

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers without the words."""
        rest = {name: getattr(self, name) for name in ("grammatical", "longer", "impossible")}
        return {"language": self.language, "max_length": self.max_length, **self.cells, **rest}


def exact_mass(model: PreTrainedModel | Source, language: str | Language, *, max_length: int) -> Mass:
    """Compute the probability that a model gives to the words that keep both rules, one rule, or neither.

    Args:
        model: A causal language model with the language's tokenizer, or a source.
        language: The name of a language, or a Language.
        max_length: The largest number of symbols in a word. For ``anbn``, there are 510 words of at most 8 symbols, and
            32,766 of at most 14.

    Raises:
        RuleExtrapError: If there are more than 2^22 words of these lengths, or none; or the model has too few
            positions.

    >>> from hf_ruleextrap.formal import uniform
    >>> mass = exact_mass(uniform(get_language("anbn")), "anbn", max_length=2)
    >>> {cell: round(p, 4) for cell, p in mass.cells.items()}
    {'both': 0.037, 'only_r1': 0.037, 'only_r2': 0.2963, 'neither': 0.0}
    """
    language = get_language(language)
    check_size(language, 1, max_length)
    _check_positions(model, max_length, f"words of up to {max_length} symbols")
    layers: list[tuple[WordBatch, FloatArray, IntArray]] = []
    impossible, inside, kept, empty = 0.0, 0.0, 0.0, 0.0
    for layer in _walk(steps_of(model, language), language, language, WordBatch.from_strings([""]), max_length):
        prefix = np.exp(layer.log_prefix)
        alive = language.alive(layer.state)
        for i, step in enumerate(layer.after):
            lost = alive & ~language.alive(step)
            impossible += float(prefix[lost] @ np.exp(layer.log_next[lost, i]))
        if layer.depth == 0:
            empty = float(np.exp(layer.log_next[0, -1]))
            continue
        log_word = layer.log_prefix + layer.log_next[:, -1]
        parts = language.split(layer.state)
        r1, r2 = language.rules[0].accepts(parts[0]), language.rules[1].accepts(parts[1])
        cell = np.where(r1, np.where(r2, 0, 1), np.where(r2, 2, 3))
        kept += float(np.exp(log_word) @ language.accepts(layer.state))
        inside += float(np.exp(log_word).sum())
        layers.append((layer.words, log_word, cell))
    words, log_probability, cells = _in_order(layers)
    both, only_r1, only_r2, neither = np.bincount(cells, np.exp(log_probability), minlength=4).tolist()
    return Mass(
        language=language.name,
        max_length=max_length,
        both=both,
        only_r1=only_r1,
        only_r2=only_r2,
        neither=neither,
        grammatical=kept,
        longer=max(0.0, 1 - inside - empty),
        impossible=impossible,
        words=words,
        log_probability=log_probability,
    )


def open_rules_probability(
    model: PreTrainedModel | Source, language: str | Language, prompts: PromptSet, *, max_new_symbols: int
) -> FloatArray:
    """Compute the exact probability that a completion ends within the limit and keeps every open rule of its prompt.

    Args:
        model: A causal language model with the language's tokenizer, or a source.
        language: The name of a language, or a Language.
        prompts: The N prompts, all of one length.
        max_new_symbols: The largest number of symbols in a completion.

    Returns:
        (N,) float64, the probability for each prompt.

    Raises:
        RuleExtrapError: If there are more than 2^22 completions in all, or prompts of several lengths; or the model has
            too few positions.
    """
    language = get_language(language)
    _check_prompts(model, language, prompts, max_new_symbols)
    total = np.zeros(len(prompts))
    for is_open in np.unique(prompts.open, axis=0):
        rows = np.flatnonzero((prompts.open == is_open).all(axis=1))
        machine = Conjunction([rule for rule, wanted in zip(language.rules, is_open, strict=True) if wanted])
        words = prompts.words.take(rows)
        for layer in _walk(steps_of(model, language), language, machine, words, max_new_symbols):
            holds = machine.accepts(layer.state) if machine.rules else np.ones(len(layer.row), np.bool_)
            np.add.at(total, rows[layer.row], np.exp(layer.log_prefix + layer.log_next[:, -1]) * holds)
    return total


def all_completions(
    model: PreTrainedModel | Source, language: Language, prompts: PromptSet, *, max_new_symbols: int
) -> Iterator[tuple[IntArray, WordBatch, FloatArray]]:
    """Yield every completion of each prompt with its log-probability under a model, in parts.

    Args:
        model: A causal language model with the language's tokenizer, or a source.
        language: The language.
        prompts: The prompts, all of one length.
        max_new_symbols: The largest number of symbols in a completion.

    Yields:
        The row of the prompt, (n,) int64; n words, each of which is a prompt and its completion; and (n,) float64, the
        log-probability of the completion and its end after that prompt, in nats.

    Raises:
        RuleExtrapError: The reasons are those of `open_rules_probability`.
    """
    _check_prompts(model, language, prompts, max_new_symbols)
    for layer in _walk(steps_of(model, language), language, Conjunction([]), prompts.words, max_new_symbols):
        yield layer.row, layer.words, layer.log_prefix + layer.log_next[:, -1]


def _check_prompts(
    model: PreTrainedModel | Source, language: Language, prompts: PromptSet, max_new_symbols: int
) -> None:
    """Refuse prompts of several lengths, too many completions, and completions that a model cannot read."""
    check_readable(model, prompts, max_new_symbols)
    check_size(language, len(prompts), max_new_symbols)


def check_readable(model: PreTrainedModel | Source, prompts: PromptSet, max_new_symbols: int) -> None:
    """Refuse prompts of several lengths, and completions that a model cannot read."""
    if len(np.unique(prompts.words.lengths)) > 1:
        raise RuleExtrapError("the prompts have several lengths: ask for each length in turn")
    longest = int(prompts.words.lengths.max(initial=0)) + max_new_symbols
    _check_positions(model, longest, f"prompts and completions of up to {longest} symbols")


def _check_positions(model: PreTrainedModel | Source, symbols: int, what: str) -> None:
    """Refuse sequences of BOS and a number of symbols that are longer than a model can read."""
    if not isinstance(model, Source):
        check_positions(model, 1 + symbols, what, "give a smaller length, or take a model with more positions")


@dataclass(frozen=True, eq=False)
class _Layer:
    """Prefixes of one length.

    Attributes:
        depth: The number of symbols that were added to the first prefixes.
        row: (n,) int64, the row of the first prefix that each prefix continues.
        words: The n prefixes.
        log_prefix: (n,) float64, the log-probability of the added symbols.
        log_next: (n, k + 1) float64, the log-probability of each next symbol and of the end.
        state: The state of the machine after each prefix.
        after: For each symbol, the state of the machine after each prefix and that symbol.
    """

    depth: int
    row: IntArray
    words: WordBatch
    log_prefix: FloatArray
    log_next: FloatArray
    state: State
    after: list[State]


class Steps(Protocol):
    """A model that reads prefixes and returns the (n, k + 1) log-probabilities of each next symbol and of the end."""

    def first(self, words: WordBatch) -> tuple[Any, FloatArray]:
        """Read prefixes of one length, and return the state of the model and the log-probabilities."""
        ...

    def following(self, carried: Any, parent: IntArray, symbol: IntArray) -> tuple[Any, FloatArray]:
        """Add symbols to prefixes, and return the new state and the log-probabilities.

        Args:
            carried: The state of the model after the earlier prefixes.
            parent: (n,) int64, the row of the earlier prefix that each new prefix continues.
            symbol: (n,) int64, the index in the alphabet of the symbol that is added.
        """
        ...


class _SourceSteps:
    def __init__(self, source: Source) -> None:
        self.source = source
        with np.errstate(divide="ignore"):
            self.table = np.log(source.table)

    def first(self, words: WordBatch) -> tuple[Any, FloatArray]:
        state = self.source.read(words)
        return state, self.table[state[0]]

    def following(self, carried: Any, parent: IntArray, symbol: IntArray) -> tuple[Any, FloatArray]:
        state = self.source.step((carried[0][parent],), self.source.symbols[symbol])
        return state, self.table[state[0]]


class _ModelSteps:
    """A causal language model that reads one token at a time with its cache or, without a cache, whole prefixes."""

    def __init__(self, model: PreTrainedModel, language: Language) -> None:
        self.model, self.language = model, language
        self.columns = [len(SPECIAL_TOKENS) + i for i in range(len(language.alphabet))] + [EOS_ID]

    def first(self, words: WordBatch) -> tuple[Any, FloatArray]:
        import torch

        tokens = np.column_stack([np.full(len(words), BOS_ID), encode(words, self.language)])
        return self._run(torch.from_numpy(tokens).to(self.model.device), None, None)

    def following(self, carried: Any, parent: IntArray, symbol: IntArray) -> tuple[Any, FloatArray]:
        import torch

        cache, tokens = carried
        rows = torch.from_numpy(parent).to(self.model.device)
        new = torch.from_numpy(symbol + len(SPECIAL_TOKENS)).to(self.model.device)[:, None]
        tokens = torch.cat([tokens[rows], new], dim=1)
        if cache is None:
            return self._run(tokens, None, None)
        cache = copy.deepcopy(cache)
        cache.batch_select_indices(rows)
        return self._run(new, cache, tokens)

    def _run(self, inputs: torch.Tensor, cache: Any, tokens: torch.Tensor | None) -> tuple[Any, FloatArray]:
        import torch

        was_training = self.model.training
        self.model.eval()
        with torch.inference_mode():
            output = self.model(input_ids=inputs, past_key_values=cache, use_cache=True)
            logs = output.logits[:, -1].double().log_softmax(dim=-1)[:, self.columns].cpu().numpy()
        self.model.train(was_training)
        carried = getattr(output, "past_key_values", None)
        usable = carried if hasattr(carried, "batch_select_indices") else None
        return (usable, inputs if tokens is None else tokens), logs


def steps_of(model: PreTrainedModel | Source, language: Language) -> Steps:
    """Return a model or a source as `Steps`."""
    return _SourceSteps(model) if isinstance(model, Source) else _ModelSteps(model, language)


def _walk(
    steps: Steps, language: Language, machine: Machine, words: WordBatch, max_new_symbols: int
) -> Iterator[_Layer]:
    """Yield all continuations of the words layer by layer. A large layer continues in parts, one after the other."""
    codes = symbol_codes(language.alphabet)
    k = len(codes)
    carried, log_next = steps.first(words)
    state = machine.read(words, to_the_end=True)
    first = (carried, np.arange(len(words)), words, np.zeros(len(words)), log_next, state, 0)
    stack = [first]
    while stack:
        carried, row, words, log_prefix, log_next, state, depth = stack.pop()
        after = [machine.step(state, np.full(len(row), code, np.uint8)) for code in codes]
        yield _Layer(depth, row, words, log_prefix, log_next, state, after)
        if depth == max_new_symbols:
            continue
        for begin in range(0, len(row), max(1, ROWS_AT_ONCE // k)):
            part = np.arange(begin, min(begin + max(1, ROWS_AT_ONCE // k), len(row)))
            parent, symbol = part.repeat(k), np.tile(np.arange(k), len(part))
            carried_on, log_after = steps.following(carried, parent, symbol)
            grown = words.take(parent).followed_by(WordBatch(codes[symbol][:, None], np.ones(len(symbol), np.int64)))
            # The k children of a parent are adjacent rows.
            moved = tuple(
                np.stack([step[register][part] for step in after], axis=1).reshape(-1, *state[register].shape[1:])
                for register in range(len(state))
            )
            log_grown = log_prefix[parent] + log_next[parent, symbol]
            stack.append((carried_on, row[parent], grown, log_grown, log_after, moved, depth + 1))


def _in_order(layers: list[tuple[WordBatch, FloatArray, IntArray]]) -> tuple[WordBatch, FloatArray, IntArray]:
    """Return all layers as one, sorted by the length of the words and then by their codes."""
    words = concatenate([words for words, _, _ in layers])
    # The last key counts most: the length, then the first symbol, the second, …
    order = np.lexsort(np.column_stack([words.codes[:, ::-1], words.lengths]).T)
    log_probability = np.concatenate([logs for _, logs, _ in layers])
    cell = np.concatenate([cells for _, _, cells in layers])
    return words.take(order), log_probability[order], cell[order]


def check_size(language: Language, prefixes: int, length: int) -> None:
    """Raise a RuleExtrapError if the length is below 1, or if there are more than 2^22 words."""
    check_integer("max_length", length, least=1)
    if log2(prefixes) + length * log2(len(language.alphabet)) > log2(_MOST_WORDS):
        raise RuleExtrapError(
            f"{prefixes} x {len(language.alphabet)}^{length} words are too many to follow one by one (the limit is "
            "2^22): give a smaller length"
        )
