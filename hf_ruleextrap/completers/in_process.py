"""Text completers for a language model in this process: the base class, and the conversion of texts to tokens and back.

The classes work with any tokenizer, but refuse a tokenizer that changes a text.
"""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.formal.words import FloatArray
from hf_ruleextrap.tokenization import writes_text

from .base import Abilities, Answer, BackendConfig, Request
from .reading import opened_thought

_WHOLE_VOCABULARY = 1 << 14
_PROBE = "a a\na"
_BORDER = "\n"
MOST_TEMPLATE_SECONDS = 5.0
"""The longest time for one conversation in a chat template, which takes about a millisecond."""

_MOST_CHARACTERS = 100_000
"""The largest number of characters that a chat template may add to a conversation."""


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


class TextTokens:
    """The conversion of texts to tokens with one tokenizer.

    A tokenizer may add special tokens before a text (BOS) and after a text (EOS). The tokens before the text are kept.
    The tokens after the text are removed, because they would end the text that the model has to continue. A tokenizer
    that changes a text is refused.

    Attributes:
        front: The special tokens before each text.
    """

    def __init__(self, tokenizer: Any, name: str) -> None:
        """Check how the tokenizer encodes a text.

        Args:
            tokenizer: A tokenizer of transformers.
            name: The name of the model, for messages.

        Raises:
            RuleExtrapError: If the tokenizer changes texts, or adds tokens that are not special.
        """
        self.tokenizer, self.name = tokenizer, name
        self._special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
        whole = list(tokenizer.encode(_PROBE))
        bare = self._bare(whole)
        if bare != self._bare(tokenizer.encode(_PROBE, add_special_tokens=False)):
            raise RuleExtrapError(
                f"the tokenizer of {name} changes the text where it adds its special tokens ({_PROBE!r} becomes "
                f"{tokenizer.convert_ids_to_tokens(whole)}): give a model whose tokenizer does not change texts"
            )
        self.front = list(takewhile(self._special.__contains__, whole))
        self.plain(_PROBE)

    def of(self, text: str) -> list[int]:
        """Return the token ids of a text, preceded by the special tokens before each text.

        Raises:
            RuleExtrapError: If the tokenizer changes the text.
        """
        return self.front + self.plain(text)

    def plain(self, text: str) -> list[int]:
        """Return the token ids of a text without special tokens.

        Raises:
            RuleExtrapError: If the tokenizer changes the text, so that the tokens represent another text.
        """
        # Some tokenizers add their special tokens to every text.
        ids = self._bare(self.tokenizer.encode(text, add_special_tokens=False))
        written = self.text(ids)
        if written == text:
            return ids
        # Some tokenizers add a space before a text, but not before a line break.
        inside = self.behind(text)
        if inside is not None:
            return inside
        pairs = enumerate(zip(text, written, strict=False))
        first_change = next((i for i, (before, after) in pairs if before != after), len(text))
        excerpt = slice(max(first_change - 10, 0), first_change + 20)
        raise RuleExtrapError(
            f"the tokenizer of {self.name} changes the text: {text[excerpt]!r} becomes {written[excerpt]!r}; "
            "give a model whose tokenizer does not change texts, or another alphabet"
        )

    def behind(self, text: str) -> list[int] | None:
        """Return the token ids of a text that follows another text, or None if it merges with a line break."""
        border = self._bare(self.tokenizer.encode(_BORDER, add_special_tokens=False))
        whole = self._bare(self.tokenizer.encode(_BORDER + text, add_special_tokens=False))
        kept = whole[: len(border)] == border and self.text(whole) == self.text(border) + text
        return whole[len(border) :] if kept else None

    def pair(self, before: str, after: str) -> tuple[list[int], list[int]]:
        """Return the token ids of two consecutive texts.

        Raises:
            RuleExtrapError: If a token contains the end of the first text and the beginning of the second text.
        """
        first, whole = self.of(before), self.of(before + after)
        if whole[: len(first)] == first:
            return first, whole[len(first) :]
        second = self.behind(after)
        if second is None:
            raise RuleExtrapError(
                f"the tokenizer of {self.name} merges {before[-10:]!r} and {after[:10]!r} into one token, so the "
                "probability of the second after the first is not defined: give another alphabet"
            )
        return first, second

    def conversation(self, turns: Sequence[dict[str, str]]) -> list[int]:
        """Return the token ids of a conversation in the chat template, up to the position of the model's answer.

        Raises:
            RuleExtrapError: If the template fails, or if the tokens do not contain a turn unchanged.
        """
        try:
            # The text is encoded separately, because the type of the tokens differs between versions of transformers.
            with _time_limit(MOST_TEMPLATE_SECONDS):
                text = self.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        # A template is a program that comes with the checkpoint, and may raise any exception.
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise RuleExtrapError(
                f"the chat template of {self.name} cannot be used: {reason}; leave out --chat"
            ) from None
        if len(text) > _MOST_CHARACTERS + 10 * sum(len(turn["content"]) for turn in turns):
            raise RuleExtrapError(
                f"the chat template of {self.name} writes {len(text):,} characters around a short conversation: "
                "leave out --chat"
            )
        ids = list(self.tokenizer.encode(text, add_special_tokens=False))
        bos = self.tokenizer.bos_token_id
        # The template may write BOS although the tokenizer adds BOS to every text.
        if bos is not None and ids[:2] == [bos, bos]:
            ids = ids[1:]
        written, place = self.text(ids), 0
        for turn in turns:
            place = written.find(turn["content"], place)
            if place < 0:
                raise RuleExtrapError(
                    f"the chat template or the tokenizer of {self.name} changes the turn {turn['content'][:40]!r}: "
                    "leave out --chat"
                )
            place += len(turn["content"])
        return ids

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of tokens, including special tokens."""
        written = self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return str(written)

    def added(self, before: Sequence[int], new: Sequence[int]) -> str:
        """Return the text that new tokens add to the text of the tokens before them."""
        # The text of a token may depend on the token before it, for example for a leading space.
        prefix, whole = self.text(before), self.text([*before, *new])
        return whole[len(prefix) :] if whole.startswith(prefix) else self.text(new)

    def _bare(self, ids: Sequence[int]) -> list[int]:
        """Return tokens without the special tokens at the beginning and at the end."""
        places = [place for place, token in enumerate(ids) if token not in self._special]
        return list(ids[places[0] : places[-1] + 1]) if places else []

    def check_ends(self, ids: Sequence[int]) -> None:
        """Raise an error for end tokens that are ordinary text, because the text would end an answer too early.

        Raises:
            RuleExtrapError: If an end token is neither a special token nor an addition to the vocabulary.
        """
        for token in ids:
            if token not in self._special and token < len(self.tokenizer):
                raise RuleExtrapError(
                    f"the generation settings of {self.name} end an answer at {self.text([token])!r}, which is text: "
                    "remove this token from eos_token_id in its generation_config.json"
                )


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise a TimeoutError in the code of the context once it has run for some seconds.

    The limit works in any thread and on any system, because it is checked at each line of Python that runs.
    """
    deadline, outer = time.monotonic() + seconds, sys.gettrace()

    def check(*_: object) -> Any:
        if time.monotonic() > deadline:
            raise TimeoutError(f"it did not end within {seconds:g} seconds")
        return check

    sys.settrace(check)
    try:
        yield
    finally:
        sys.settrace(outer)
