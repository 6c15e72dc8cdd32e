"""The contracts: who continues prompts of a language, and who continues any text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.formal import PromptSet, WordBatch
from hf_ruleextrap.formal.words import BoolArray, FloatArray


@dataclass(frozen=True, eq=False)
class Completions:
    """What was added to each prompt.

    Attributes:
        words: N completions, without BOS and EOS.
        finished: (N,) bool, the completer ended it by itself, within the limit.
        statuses: N words for how each went, where there is more to say than that: ``ok``, ``unparsable``, a fault.
    """

    words: WordBatch
    finished: BoolArray
    statuses: tuple[str, ...] | None = None


class Completer(Protocol):
    """Continues prompts of one language."""

    def complete(
        self, prompts: PromptSet, *, max_new_symbols: int, samples: int | None = None, seed: int = 0
    ) -> Completions:
        """Continue each prompt.

        Args:
            prompts: N prompts.
            max_new_symbols: most symbols in a completion; one that has not ended after so many is unfinished.
            samples: None for the most likely continuation, symbol by symbol (greedy), one row a prompt; or how many to
                draw for each prompt, its rows next to each other.
            seed: of the draw.
        """
        ...


@dataclass(frozen=True)
class Turn:
    """One message of a conversation."""

    role: Literal["user", "assistant"]
    content: str


@dataclass(frozen=True)
class Request:
    """One text to be continued.

    Attributes:
        prompt: a plain text, or the turns of a conversation, the user's last.
        max_new_tokens: most tokens of the answer.
        temperature: 0 for the most likely token each time; else tokens are drawn at this temperature, and nothing else
            (no top-k, top-p 1).
        sample: 0 for the greedy answer, 1 and so on for those that are drawn.
        seed: of the draw.
        stop: what ends the answer, besides the model's own end; None for nothing.
    """

    prompt: str | tuple[Turn, ...]
    max_new_tokens: int
    temperature: float
    sample: int
    seed: int
    stop: str | None

    @property
    def chat(self) -> bool:
        """It is a conversation."""
        return not isinstance(self.prompt, str)


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        text: the answer alone, perhaps with what ended it.
        ended: the model stopped by itself, not at the limit.
        fault: why there is no answer, as one word (``http-401``, ``timeout``); empty where there is one.
        detail: of the fault, a line to be read.
        thought: the model used up the limit with thinking and had not begun to answer.
    """

    text: str
    ended: bool
    fault: str = ""
    detail: str = ""
    thought: bool = False


@dataclass(frozen=True)
class Abilities:
    """What a text completer can do.

    Attributes:
        plain: continue a plain text verbatim.
        chat: answer in a conversation.
        sampling: draw at a temperature, not only take the most likely token.
        log_probabilities: say how likely a given continuation is.
    """

    plain: bool
    chat: bool
    sampling: bool
    log_probabilities: bool


@dataclass(frozen=True)
class BackendConfig:
    """The settings from which a text completer is built; each backend reads those that it needs.

    Attributes:
        model: a name or a folder; for a replay, the file.
        base_url: of a server, up to and with its ``/v1``.
        key_env: the environment variable that holds the server's key. The key itself is never stored.
        concurrency: most requests at once.
        timeout: seconds that one request may take, from the connection to the last byte of the response.
        retries: how often a request is sent again when that may help.
        back_off: seconds before the second attempt, doubled before each further one, if the server names none.
        max_wait: the most seconds before a request is sent again, whatever the server asks for.
        batch_size: rows that go through a model in this process together.
        trust_remote_code: run code that a checkpoint brings.
        tokenizer: that of the checkpoint, where it has been loaded already.
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
            RuleExtrapError: one of them cannot be.
        """
        numbers = {"concurrency": 1, "timeout": 0.001, "retries": 0, "back_off": 0, "max_wait": 0, "batch_size": 1}
        for name, least in numbers.items():
            # NaN is not above anything.
            value = getattr(self, name)
            if not least <= value < math.inf:
                finite = "" if value < least else ", and a finite number"
                raise RuleExtrapError(f"{name} is {value}: give {least} or more{finite}")


class TextCompleter(Protocol):
    """Continues texts. A class of a user's own takes a `BackendConfig` and has these three methods and two attributes.

    Attributes:
        abilities: what it can do; it is never asked for more.
        identity: what the answers depend on besides the request (the model, its weights, the endpoint), as JSON; part
            of the key under which answers are stored.
    """

    abilities: Abilities
    identity: dict[str, Any]

    def answers(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """Answer requests, in any order: the place of a request and its answer, as soon as that is there."""
        ...

    def encode(self, text: str) -> Sequence[int] | None:
        """The token ids of a text without special tokens; None where the tokenizer is not known."""
        ...

    def log_probabilities(self, pairs: Sequence[tuple[str, str]]) -> FloatArray:
        """(N,) float64: the log-probability, in nats, of the second text of each pair after the first."""
        ...
