"""The parameters of the protocol, all of them; they stand in the results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from hf_ruleextrap.errors import RuleExtrapError, unknown
from hf_ruleextrap.formal import Kind, Language, PromptSet
from hf_ruleextrap.languages import loaded_language, recorded_language

from .alphabets import texts_of

PROTOCOL_VERSION = 2
"""Changes when scores would. Version 2 reads one space between symbols, and leaves thoughts out of chat answers."""

CONTEXTS: Mapping[str, str] = {
    "intact": "words of the language",
    "r2-broken": "lines that keep R1 and break R2: words, shuffled inside; else random lines",
    "r1-broken": "lines that keep R2 and break R1: half a word and half of another; else random lines",
    "both-broken": "lines that break R1 and R2: symbols drawn at random",
}
"""What the context is made of; all but the first are controls. For a^n b^n R1 is the count, and R2 the order."""


# Asked for with every prompt and every answer.
_language = cache(loaded_language)


@dataclass(frozen=True)
class ProtocolSettings:
    """One condition: a language's prompts, and how a model is asked to continue them.

    Attributes:
        language: its name.
        version: of the protocol.
        kind: of the prompts, ``ood`` or ``id``.
        prompt_lengths: symbols in a prompt; by default the language's own length alone.
        limit: at most so many prompts, a random subset; None for all.
        alphabet: one of `ALPHABETS`, the texts that stand for the symbols.
        shots: K, the context words before each prompt.
        max_word_length: most symbols of a context word; by default 16, or 8 times the shortest word if that is more.
        context: one of `CONTEXTS`.
        rules_stated: the rules stand before the context, in words.
        chat: turns of a conversation, not a plain text.
        samples: completions drawn for each prompt, besides the greedy one.
        temperature: of these; all else about sampling is off (top-p 1, no top-k).
        max_new_symbols: most symbols in a completion; by default twice `max_word_length`.
        seed: of the prompts, the contexts and the samples.
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
        """Fill in what the language decides, and check the rest.

        Settings that a file records in full need no language, which may not be here or be a class in a file: a name in
        a file never starts code.

        Raises:
            RuleExtrapError: a value that cannot be.
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
        least = {"shots": 0, "samples": 0, "seed": 0, "max_new_symbols": 1, "limit": 1, "max_reasoning_tokens": 0}
        for name, value in least.items():
            given = getattr(self, name)
            if given is not None and given < value:
                raise RuleExtrapError(f"{name} is {given}: give {value} or more")
        if self.max_reasoning_tokens and not self.chat:
            raise RuleExtrapError("max_reasoning_tokens is for conversations: give --chat, or leave it out")

    def _fill_in(self, language: Language) -> None:
        """Set what the language decides where nothing is given, and check what it is to be asked for."""
        most = self.max_word_length or max(16, 8 * language.shortest)
        filled = {
            "prompt_lengths": self.prompt_lengths or (language.prompt_length,),
            "max_word_length": most,
            "max_new_symbols": self.max_new_symbols or 2 * most,
        }
        for name, value in filled.items():
            object.__setattr__(self, name, value)
        texts_of(self.alphabet, language.alphabet)
        language.check_length(self.max_word_length)

    @property
    def the_language(self) -> Language:
        """The language itself.

        Raises:
            RuleExtrapError: an unknown name, or a class in a file that `get_language` was not asked for before.
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
        """The prompts, labelled.

        Raises:
            RuleExtrapError: no such prompt exists.
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
        """All parameters by name."""
        return asdict(self)
