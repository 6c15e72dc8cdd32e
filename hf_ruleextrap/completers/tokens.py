"""Convert texts to tokens and back with any tokenizer, and refuse a tokenizer that changes a text."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

from hf_ruleextrap.errors import RuleExtrapError

_PROBE = "a a\na"
_BORDER = "\n"
MOST_TEMPLATE_SECONDS = 5.0
"""The longest time for one conversation in a chat template, which takes about a millisecond."""
_MOST_CHARACTERS = 100_000
"""The largest number of characters that a chat template may add to a conversation."""


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
        # A template is a program of a stranger, and may raise any exception.
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
