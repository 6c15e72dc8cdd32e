"""The interfaces of completers, which continue the prompts of a language, and of text completers, for any text.

A text completer is created by name, and its backend is imported then.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any, Literal, Protocol, cast

from hf_ruleextrap.errors import RuleExtrapError, unknown
from hf_ruleextrap.formal import PromptSet, WordBatch
from hf_ruleextrap.formal.words import BoolArray, FloatArray
from hf_ruleextrap.inputs import run_file


@dataclass(frozen=True, eq=False)
class Completions:
    """The completions of N prompts.

    Attributes:
        words: The N completions, without BOS and EOS.
        finished: (N,) bool; True if the completer ended the completion itself, within the limit.
        statuses: The status of each completion (``ok``, ``unparsable``, or a fault), if the completer reports one.
    """

    words: WordBatch
    finished: BoolArray
    statuses: tuple[str, ...] | None = None

    def take(self, rows: BoolArray) -> Completions:
        """Return the completions of the rows for which ``rows``, (N,) bool, is True."""
        statuses = None if self.statuses is None else tuple(compress(self.statuses, rows))
        return Completions(self.words.take(rows), self.finished[rows], statuses)


class Completer(Protocol):
    """A completer continues the prompts of one language."""

    def complete(
        self, prompts: PromptSet, *, max_new_symbols: int, samples: int | None = None, seed: int = 0
    ) -> Completions:
        """Continue each prompt.

        Args:
            prompts: The N prompts.
            max_new_symbols: The largest number of symbols in a completion. A completion that has not ended by then is
                unfinished.
            samples: None for greedy completions, which take the most likely symbol at each step, with one row for each
                prompt. Otherwise the number of samples for each prompt; the samples of a prompt are adjacent rows.
            seed: The random seed for drawing samples.
        """
        ...


@dataclass(frozen=True)
class Turn:
    """One message of a conversation."""

    role: Literal["user", "assistant"]
    content: str


@dataclass(frozen=True)
class Request:
    """A request to continue one text.

    Attributes:
        prompt: A plain text, or the turns of a conversation, of which the last is the user's.
        max_new_tokens: The largest number of tokens of the answer.
        temperature: 0 for the most likely token at each step. Otherwise the temperature at which tokens are drawn from
            the whole distribution (no top-k, and top-p 1).
        sample: 0 for the greedy answer; 1 and above for the samples.
        seed: The random seed for drawing samples.
        stop: A text that ends the answer, in addition to the model's own end; None if there is no such text.
    """

    prompt: str | tuple[Turn, ...]
    max_new_tokens: int
    temperature: float
    sample: int
    seed: int
    stop: str | None

    @property
    def chat(self) -> bool:
        """Whether the prompt is a conversation."""
        return not isinstance(self.prompt, str)


@dataclass(frozen=True)
class Answer:
    """The answer to a request.

    Attributes:
        text: The answer without the prompt. It may include the text that ended the answer.
        ended: Whether the model stopped by itself, not at the limit.
        fault: The reason why there is no answer, as one word (``http-401``, ``timeout``); empty for an answer.
        detail: An explanation of the fault in one line.
        thought: Whether the model reached the limit while it was reasoning, before the answer began.
        reasoning_tokens: The number of tokens of reasoning that are not part of the text.
        refused: The parameters of the request that the server refused, each with the name under which the server took
            the parameter instead, or None if the request was sent without the parameter.
    """

    text: str
    ended: bool
    fault: str = ""
    detail: str = ""
    thought: bool = False
    reasoning_tokens: int = 0
    refused: Mapping[str, str | None] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Abilities:
    """The abilities of a text completer.

    Attributes:
        plain: Whether the completer continues a plain text verbatim.
        chat: Whether the completer answers in a conversation.
        sampling: Whether the completer draws tokens at a temperature, in addition to greedy answers.
        log_probabilities: Whether the completer computes the log-probability of a given continuation.
    """

    plain: bool
    chat: bool
    sampling: bool
    log_probabilities: bool


@dataclass(frozen=True)
class BackendConfig:
    """The settings from which a text completer is built. Each backend reads the settings that it needs.

    Attributes:
        model: The name or folder of a model; for a replay, the file of recorded answers.
        base_url: The URL of a server, up to and including ``/v1``.
        key_env: The environment variable that holds the server's key. The key itself is never stored.
        concurrency: The largest number of simultaneous requests.
        timeout: The number of seconds for one request, from the connection to the last byte of the response.
        retries: The number of times that a request is sent again after a fault that may be temporary.
        back_off: The number of seconds before the second attempt, if the server names none. The wait doubles before
            each further attempt.
        max_wait: The largest number of seconds before another attempt, even if the server names a longer time.
        batch_size: The number of rows in a batch of a model in this process.
        trust_remote_code: Whether to run the code that a checkpoint contains.
        tokenizer: The tokenizer of the checkpoint, if it is already loaded.
    """

    model: str
    base_url: str | None = None
    key_env: str | None = None
    concurrency: int = 4
    timeout: float = 120.0
    retries: int = 4
    back_off: float = 0.5
    max_wait: float = 60.0
    batch_size: int = 32
    trust_remote_code: bool = False
    tokenizer: Any = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            RuleExtrapError: If a number is below its smallest allowed value, or not finite.
        """
        numbers = {"concurrency": 1, "timeout": 0.001, "retries": 0, "back_off": 0, "max_wait": 0, "batch_size": 1}
        for name, smallest in numbers.items():
            # The comparison is written so that NaN fails.
            value = getattr(self, name)
            if not smallest <= value < math.inf:
                finite = "" if value < smallest else ", and a finite number"
                raise RuleExtrapError(f"{name} is {value}: give {smallest} or more{finite}")


class TextCompleter(Protocol):
    """A text completer continues any text. A class of the user's own takes a `BackendConfig` and has these members.

    Attributes:
        abilities: The abilities of the completer. The evaluation requests nothing beyond them.
        identity: Everything besides the request on which the answers depend (the model, its weights, the endpoint), as
            JSON. The identity is part of the key under which answers are stored.
    """

    abilities: Abilities
    identity: dict[str, Any]

    def answers(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """Answer requests in any order. Yield the index of a request with its answer as soon as the answer arrives."""
        ...

    def encode(self, text: str) -> Sequence[int] | None:
        """Return the token ids of a text without special tokens, or None if the tokenizer is not available."""
        ...

    def log_probabilities(self, pairs: Sequence[tuple[str, str]]) -> FloatArray:
        """Return, for each pair, the log-probability of the second text after the first: (N,) float64, in nats."""
        ...


BACKENDS: Mapping[str, str] = {
    "hf": "hf_ruleextrap.completers.hf:HfCompleter",
    "openai": "hf_ruleextrap.completers.openai:OpenAICompleter",
    "vllm": "hf_ruleextrap.completers.vllm:VllmCompleter",
    "replay": "hf_ruleextrap.completers.replay:Replay",
}
"""The ``module:Class`` of each backend. A new backend needs one line here."""


def text_completer(name: str, backend: BackendConfig) -> TextCompleter:
    """Create a text completer.

    Args:
        name: One of `BACKENDS`, or ``file.py:Class`` or ``package.module:Class`` for a class of the user's own.
        backend: The settings of the completer.

    Raises:
        RuleExtrapError: If there is no backend of this name, or if the completer refuses its settings.
    """
    if name not in BACKENDS and ":" not in name:
        raise unknown("backend", name, BACKENDS, "Or give file.py:Class for your own.")
    place, _, attribute = BACKENDS.get(name, name).rpartition(":")
    completer = getattr(_module(place), attribute, None)
    if completer is None:
        raise RuleExtrapError(f"{place} has no {attribute!r}: give file.py:Class")
    if not isinstance(completer, type) or not hasattr(completer, "answers"):
        raise RuleExtrapError(
            f"{name} is not a text completer: give file.py:Class, a class with the methods of "
            "hf_ruleextrap.completers.TextCompleter"
        )
    return cast("Callable[[BackendConfig], TextCompleter]", completer)(backend)


def _module(place: str) -> object:
    if place.endswith(".py"):
        return run_file(place)
    try:
        return importlib.import_module(place)
    except (ImportError, ValueError) as error:
        raise RuleExtrapError(
            f"cannot import {place!r}: {error}; give package.module:Class, or file.py:Class"
        ) from None
