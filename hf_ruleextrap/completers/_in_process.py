"""The base class of text completers for a language model in this process, with any tokenizer and any library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.formal.words import FloatArray
from hf_ruleextrap.tokenization import writes_text

from .base import Abilities, Answer, BackendConfig, Request
from .reading import opened_thought
from .tokens import TextTokens

_WHOLE_VOCABULARY = 1 << 14


class InProcess(ABC):
    """A text completer that gives a model the tokens of a text and reads the tokens of the answer.

    A subclass names its library in ``backend_name`` and runs the model.
    """

    backend_name: ClassVar[str]

    def __init__(self, backend: BackendConfig, tokenizer: Any, *, end_ids: object, identity: dict[str, Any]) -> None:
        """Check the tokenizer.

        Args:
            backend: The settings.
            tokenizer: The tokenizer of the model.
            end_ids: ``eos_token_id`` of the model's generation config: one id, several ids or none.
            identity: Everything besides the name and the weights of the model on which the answers depend.

        Raises:
            RuleExtrapError: If the tokenizer cannot encode the protocol's texts, or if an end is ordinary text.
        """
        name = backend.model
        if not writes_text(tokenizer):
            raise RuleExtrapError(
                f"the tokenizer of {name} has no spaces and line breaks, which the text protocol needs: "
                "leave out the flags of the protocol, and the model is evaluated symbol by symbol"
            )
        self.tokenizer, self.batch_size = tokenizer, backend.batch_size
        self.texts = TextTokens(tokenizer, name)
        chat = tokenizer.chat_template is not None
        self.abilities = Abilities(plain=True, chat=chat, sampling=True, log_probabilities=True)
        weights = {"weights": _weights(Path(name))} if Path(name).is_dir() else {}
        self.identity: dict[str, Any] = {"backend": self.backend_name, "model": name, **identity, **weights}
        model_ends = _ids(end_ids, name)
        self.texts.check_ends(sorted(model_ends))
        self.end_ids = model_ends | _ids(tokenizer.eos_token_id, name)
        self._stops: dict[str, set[int]] = {}

    @abstractmethod
    def check_length(self, tokens: int, what: str, advice: str) -> None:
        """Raise an error if sequences are longer than the model can read; see `check_positions`."""

    @abstractmethod
    def new_tokens(self, tokens: list[list[int]], requests: list[Request], stops: list[int]) -> list[list[int]]:
        """Return the tokens with which the model continues each row.

        Args:
            tokens: The tokens of each prompt; all rows have the same length.
            requests: The requests of the rows, with the same limit.
            stops: The tokens that end an answer.
        """

    @abstractmethod
    def token_log_probabilities(self, tokens: list[list[int]]) -> FloatArray:
        """Return the (B, T - 1) log-probability of each token but the first, for B rows of T tokens."""

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text; see `TextCompleter.encode`.

        Raises:
            RuleExtrapError: If the tokenizer changes the text.
        """
        return self.texts.plain(text)

    def answers(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """Answer requests; see `TextCompleter.answers`.

        Raises:
            RuleExtrapError: If a prompt and its completion are longer than the model can read.
        """
        tokens = [self._tokens(request) for request in requests]
        # The model does not read the last new token.
        longest = max(
            (len(ids) + request.max_new_tokens - 1 for ids, request in zip(tokens, requests, strict=True)), default=0
        )
        advice = "give fewer context words or new symbols, or use a model with more positions"
        self.check_length(longest, "the prompts and their completions", advice)

        def alike(row: int) -> tuple[int, int, str]:
            return len(tokens[row]), requests[row].max_new_tokens, requests[row].stop or ""

        for rows in _batches([alike(row) for row in range(len(requests))], self.batch_size):
            stop = requests[rows[0]].stop
            stops = self.end_ids | (self._holding(stop) if stop else set())
            prompts, batch = [tokens[row] for row in rows], [requests[row] for row in rows]
            for row, new in zip(rows, self.new_tokens(prompts, batch, sorted(stops)), strict=True):
                yield row, self._answer(tokens[row], new, stops, chat=requests[row].chat)

    def log_probabilities(self, pairs: Sequence[tuple[str, str]]) -> FloatArray:
        """Compute log-probabilities; see `TextCompleter.log_probabilities`.

        The two texts of a pair are tokenized together. If the border between them is inside a token, they are
        tokenized separately.

        Raises:
            RuleExtrapError: If the tokenizer changes a text, if the border of a pair cannot be determined, or if a pair
                is longer than the model can read.
        """
        sums = np.zeros(len(pairs))
        tokens_of = [self.texts.pair(before, after) for before, after in pairs]
        longest = max((len(first) + len(second) for first, second in tokens_of), default=0)
        self.check_length(longest, "the pairs of texts", "give fewer context words or shorter words")
        for rows in _batches([(len(first) + len(second),) for first, second in tokens_of], self.batch_size):
            each = self.token_log_probabilities([[*tokens_of[row][0], *tokens_of[row][1]] for row in rows])
            for row, values in zip(rows, each, strict=True):
                sums[row] = values[max(len(tokens_of[row][0]) - 1, 0) :].sum()
        return sums

    def _tokens(self, request: Request) -> list[int]:
        if isinstance(request.prompt, str):
            return self.texts.of(request.prompt)
        return self.texts.conversation([{"role": turn.role, "content": turn.content} for turn in request.prompt])

    def _answer(self, before: list[int], new: list[int], stops: set[int], *, chat: bool) -> Answer:
        place = next((i for i, token in enumerate(new) if token in stops), None)
        kept = new if place is None else new[: place + 1]
        # The end is no text. Any other special token is text that is no symbol.
        if place is not None and new[place] in self.end_ids:
            kept = new[:place]
        opening = opened_thought(self.texts.text(before)) if chat else ""
        return Answer(opening + self.texts.added(before, kept), ended=place is not None)

    def _holding(self, stop: str) -> set[int]:
        """Return the tokens that contain a text."""
        if stop not in self._stops:
            stop_ids: set[int] = set()
            for first in range(0, len(self.tokenizer), _WHOLE_VOCABULARY):
                ids = range(first, min(first + _WHOLE_VOCABULARY, len(self.tokenizer)))
                texts = self.tokenizer.batch_decode([[i] for i in ids], clean_up_tokenization_spaces=False)
                stop_ids |= {i for i, text in zip(ids, texts, strict=True) if stop in text}
            self._stops[stop] = stop_ids
        return self._stops[stop]


def _batches(keys: Sequence[tuple[Any, ...]], size: int) -> Iterator[list[int]]:
    """Yield batches of at most ``size`` indices with equal keys, the smallest keys first."""
    by_key: dict[tuple[Any, ...], list[int]] = {}
    for place, key in enumerate(keys):
        by_key.setdefault(key, []).append(place)
    for key in sorted(by_key):
        for first in range(0, len(by_key[key]), size):
            yield by_key[key][first : first + size]


def _ids(setting: object, name: str) -> set[int]:
    """Return the token ids of a setting that holds one id, several ids or none."""
    ids = [] if setting is None else setting if isinstance(setting, list) else [setting]
    if not all(isinstance(token, int) and token >= 0 for token in ids):
        raise RuleExtrapError(f"eos_token_id of {name} is {setting}: give token ids in its generation_config.json")
    return set(ids)


def _weights(folder: Path) -> list[tuple[str, int, int]]:
    """Return the name, size and time of a checkpoint's files, so that answers of an older checkpoint are not reused."""
    files = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors", ".jinja", ".model"))
    return [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
