"""The parameters of the protocol, all of which every result contains, and the texts that represent symbols."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import product
from typing import Any

import numpy as np

from hf_ruleextrap.errors import RuleExtrapError, unknown
from hf_ruleextrap.formal import Kind, Language, PromptSet
from hf_ruleextrap.languages import loaded_language, recorded_language

ALPHABETS: Mapping[str, tuple[str, ...]] = {
    "letters": ("a", "b", "c", "d", "e", "f"),
    "swapped": ("b", "a", "d", "c", "f", "e"),
    "words": ("dog", "red", "table", "seven", "river", "music"),
    "brackets": ("(", ")", "[", "]", "{", "}"),
    "signs": ("=", "+", "&", "/", "%", "#"),
    "digits": ("1", "2", "3", "4", "5", "6"),
}
"""The texts of a language's first symbol, second symbol, and so on, by the name of the alphabet.

Many tokenizers encode each of the ``digits`` as two tokens, a space and a digit, which `check_single_tokens` refuses.
"""

CONTROL_ALPHABETS = ("letters", "swapped", "words", "brackets", "signs")
"""The alphabets that the controls compare."""

PROTOCOL_VERSION = 2
"""The version, which changes when scores would change.

Version 2 accepts one space between symbols, and no more, and leaves the reasoning out of chat answers.
"""

CONTEXTS: Mapping[str, str] = {
    "intact": "words of the language",
    "r2-broken": "lines that keep R1 and break R2: words, shuffled inside; else random lines",
    "r1-broken": "lines that keep R2 and break R1: half a word and half of another; else random lines",
    "both-broken": "lines that break R1 and R2: symbols drawn at random",
}
"""The lines of a context by name. All but the first are controls. For a^n b^n R1 is the count, and R2 the order."""

# The language is needed for every prompt and every answer.
_language = cache(loaded_language)


def texts_of(alphabet: str, symbols: Sequence[str]) -> dict[str, str]:
    """Return the text of each symbol of a language.

    Args:
        alphabet: One of `ALPHABETS`.
        symbols: The symbols of the language, in order.

    Raises:
        RuleExtrapError: If the name is unknown, or if the alphabet has fewer texts than the language has symbols.

    >>> texts_of("words", "ab")
    {'a': 'dog', 'b': 'red'}
    """
    if alphabet not in ALPHABETS:
        raise unknown("alphabet", alphabet, ALPHABETS)
    texts = ALPHABETS[alphabet]
    if len(symbols) > len(texts):
        raise RuleExtrapError(
            f"alphabet {alphabet!r} has {len(texts)} texts, and the language {len(symbols)} symbols: "
            "give a language with fewer symbols"
        )
    return dict(zip(symbols, texts, strict=False))


def check_single_tokens(texts: Sequence[str], encode: Callable[[str], Sequence[int]]) -> None:
    """Check that a tokenizer encodes each symbol, with the space before it, as one token.

    Otherwise a token could contain the border between prompt and completion, or the model would have to spell a symbol.

    Args:
        texts: The texts that stand for the symbols.
        encode: The function that returns the token ids of a text, without special tokens.

    Raises:
        RuleExtrapError: If a symbol after another symbol is not one token. The message names the symbol.
    """
    for before, text in product(texts, texts):
        alone, together = list(encode(before)), list(encode(f"{before} {text}"))
        more = len(together) - len(alone)
        # Otherwise the symbol before the space would be another token at the end of a prompt.
        if more == 1 and together[: len(alone)] != alone:
            raise RuleExtrapError(
                f"the symbol {before!r} is another token of this tokenizer where {text!r} follows: "
                f"give another --alphabet ({', '.join(ALPHABETS)})"
            )
        if more != 1:
            raise RuleExtrapError(
                f"the symbol {text!r} is {more} tokens of this tokenizer after {before!r} and a space, not one: "
                f"give another --alphabet ({', '.join(ALPHABETS)})"
            )


def merged_ends(texts: Sequence[str], encode: Callable[[str], Sequence[int]]) -> list[str]:
    """Return the symbols that a tokenizer merges with the line break after them.

    In the context, one token is then the symbol and the end of the word. After a prompt that ends with the symbol, the
    model cannot use that token to end the word.

    Args:
        texts: The texts that stand for the symbols.
        encode: The function that returns the token ids of a text, without special tokens.
    """
    return [text for text in texts if len(encode(f"{text} {text}\n{text}")) < len(encode(f"{text} {text}")) + 2]


@dataclass(frozen=True)
class ProtocolSettings:
    """One condition: the prompts of a language, and the form in which a model reads them.

    Attributes:
        language: The name of the language.
        version: The version of the protocol.
        kind: The kind of the prompts, ``ood`` or ``id``.
        prompt_lengths: The numbers of symbols in a prompt. The default is the language's own length alone.
        limit: The largest number of prompts, a random subset; None for all prompts.
        alphabet: The texts that stand for the symbols, one of `ALPHABETS`.
        shots: K, the number of context words before each prompt.
        max_word_length: The largest number of symbols in a context word. The default is 16, or 8 times the length of
            the shortest word if that is more.
        context: The lines of the context, one of `CONTEXTS`.
        rules_stated: Whether the rules are stated in words before the context.
        chat: Whether a prompt is a conversation and not a plain text.
        samples: The number of completions that are drawn for each prompt, in addition to the greedy completion.
        temperature: The temperature at which completions are drawn, with top-p 1 and without top-k.
        max_new_symbols: The largest number of symbols in a completion. The default is twice `max_word_length`.
        seed: The random seed for prompts, contexts and samples.
        max_reasoning_tokens: The number of tokens that a chat model may use to reason, in addition to those of its
            answer.
    """

    language: str
    version: int = PROTOCOL_VERSION
    kind: Kind = "ood"
    prompt_lengths: tuple[int, ...] = ()
    limit: int | None = None
    alphabet: str = "letters"
    shots: int = 32
    max_word_length: int = 0
    context: str = "intact"
    rules_stated: bool = False
    chat: bool = False
    samples: int = 8
    temperature: float = 1.0
    max_new_symbols: int = 0
    seed: int = 0
    max_reasoning_tokens: int = 0

    def __post_init__(self) -> None:
        """Fill in the defaults that depend on the language, and check the values.

        Settings that a file records in full are read without the language, because the language may be a class in a
        file, and reading a name must not run code.

        Raises:
            RuleExtrapError: If a value is not allowed.
        """
        object.__setattr__(self, "prompt_lengths", tuple(self.prompt_lengths))
        recorded = bool(self.prompt_lengths and self.max_word_length and self.max_new_symbols)
        if not recorded or recorded_language(self.language) is not None:
            self._fill_in(self.the_language)
        if self.version != PROTOCOL_VERSION:
            raise RuleExtrapError(f"unknown version of the protocol {self.version}: known: {PROTOCOL_VERSION}")
        if self.context not in CONTEXTS:
            raise unknown("context", self.context, CONTEXTS)
        if self.kind not in ("id", "ood"):
            raise unknown("kind of prompt", self.kind, ("id", "ood"))
        smallest = {"shots": 0, "samples": 0, "seed": 0, "max_new_symbols": 1, "limit": 1, "max_reasoning_tokens": 0}
        for name, least in smallest.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise RuleExtrapError(f"{name} is {value}: give {least} or more")
        if self.max_reasoning_tokens and not self.chat:
            raise RuleExtrapError("max_reasoning_tokens is for conversations: give --chat, or leave it out")

    def _fill_in(self, language: Language) -> None:
        """Set the defaults that depend on the language, and check the alphabet and the length of words."""
        most = self.max_word_length or max(16, 8 * language.shortest)
        values = {
            "prompt_lengths": self.prompt_lengths or (language.prompt_length,),
            "max_word_length": most,
            "max_new_symbols": self.max_new_symbols or 2 * most,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        texts_of(self.alphabet, language.alphabet)
        language.check_length(self.max_word_length)

    @property
    def the_language(self) -> Language:
        """The language.

        Raises:
            RuleExtrapError: If the name is unknown, or if `get_language` has not loaded the file in the name.
        """
        return _language(self.language)

    @property
    def texts(self) -> dict[str, str]:
        """The text of each symbol."""
        return texts_of(self.alphabet, self.the_language.alphabet)

    @property
    def max_new_tokens(self) -> int:
        """The largest number of tokens of an answer: the symbols and the end; for chat, also reasoning and quotes."""
        return 2 * self.max_new_symbols + 16 + self.max_reasoning_tokens if self.chat else self.max_new_symbols + 1

    def prompts(self) -> PromptSet:
        """Return the prompts with their labels.

        Raises:
            RuleExtrapError: If the language has no prompts of this kind and length.
        """
        language = self.the_language
        rng = np.random.default_rng(self.seed)
        texts = [
            text for length in self.prompt_lengths for text in language.prompts(self.kind, length=length, rng=rng).texts
        ]
        if self.limit is not None and self.limit < len(texts):
            texts = [texts[i] for i in np.sort(rng.choice(len(texts), self.limit, replace=False))]
        return language.label(texts)

    def with_changes(self, **changes: Any) -> ProtocolSettings:
        """Return a copy of these settings with some parameters changed.

        >>> ProtocolSettings("anbn").with_changes(shots=4).shots
        4
        """
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return all parameters by name."""
        return asdict(self)
