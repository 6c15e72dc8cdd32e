"""Texts as tokens and back, with any tokenizer: what a model reads is the text, and what it writes is what is read."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from hf_ruleextrap.errors import RuleExtrapError

_PROBE = "a a\na"
_BORDER = "\n"


class TextTokens:
    """The tokens of texts.

    A tokenizer may put special tokens in front of a text (BOS), which belongs there, and behind it (EOS), which would
    end the text that is to be continued. Only the former are kept. A tokenizer that changes a text is refused.

    Attributes:
        front: the special tokens in front of each text.
    """

    def __init__(self, tokenizer: Any, name: str) -> None:
        """Look at what the tokenizer does to a text.

        Args:
            tokenizer: a tokenizer of transformers.
            name: the name of its model, for messages.

        Raises:
            RuleExtrapError: The tokenizer changes texts, or adds tokens that are not special.
        """
        self.tokenizer, self.name = tokenizer, name
        self._special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
        whole = list(tokenizer.encode(_PROBE))
        bare = self._bare(whole)
        if bare != self._bare(tokenizer.encode(_PROBE, add_special_tokens=False)):
            raise RuleExtrapError(
                f"the tokenizer of {name} changes the text where it adds its special tokens ({_PROBE!r} becomes "
                f"{tokenizer.convert_ids_to_tokens(whole)}): give a model whose tokenizer leaves texts as they are"
            )
        self.front = list(takewhile(self._special.__contains__, whole))
        self.plain(_PROBE)

    def of(self, text: str) -> list[int]:
        """Return the token ids of a text as a model reads it: the special tokens of its beginning, then the text.

        Raises:
            RuleExtrapError: The tokenizer changes the text.
        """
        return self.front + self.plain(text)

    def plain(self, text: str) -> list[int]:
        """Return the token ids of a text without special tokens.

        Raises:
            RuleExtrapError: The tokenizer changes the text: the tokens stand for another one.
        """
        # Some tokenizers add their special tokens to every text.
        ids = self._bare(self.tokenizer.encode(text, add_special_tokens=False))
        written = self.text(ids)
        if written == text:
            return ids
        # Some tokenizers put a space before a text. They have none to put before a line break.
        inside = self.behind(text)
        if inside is not None:
            return inside
        place = next((i for i, (one, other) in enumerate(zip(text, written, strict=False)) if one != other), len(text))
        here = slice(max(place - 10, 0), place + 20)
        raise RuleExtrapError(
            f"the tokenizer of {self.name} changes the text: {text[here]!r} becomes {written[here]!r}; "
            "give a model whose tokenizer keeps it, or another alphabet"
        )

    def behind(self, text: str) -> list[int] | None:
        """Return the token ids of a text that follows another one; None where it merges with a line break."""
        border = self._bare(self.tokenizer.encode(_BORDER, add_special_tokens=False))
        whole = self._bare(self.tokenizer.encode(_BORDER + text, add_special_tokens=False))
        kept = whole[: len(border)] == border and self.text(whole) == self.text(border) + text
        return whole[len(border) :] if kept else None

    def pair(self, before: str, after: str) -> tuple[list[int], list[int]]:
        """Return the token ids of two texts, the second of which follows the first.

        Raises:
            RuleExtrapError: A token holds the end of the first text and the beginning of the second.
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
        """Return the token ids of a conversation up to where the model answers, as the chat template has it.

        Raises:
            RuleExtrapError: The template fails, or a turn is not in what the model reads.
        """
        from jinja2 import TemplateError

        try:
            # As text first: what the call gives for tokens differs between versions.
            text = self.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        except (TemplateError, TypeError, ValueError, KeyError, AttributeError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise RuleExtrapError(f"the chat template of {self.name} cannot be used: {reason}") from None
        ids = list(self.tokenizer.encode(text, add_special_tokens=False))
        bos = self.tokenizer.bos_token_id
        # The template's own, and one that the tokenizer adds to every text.
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
        """Return the text of tokens, special tokens among them."""
        written = self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return str(written)

    def added(self, before: Sequence[int], new: Sequence[int]) -> str:
        """Return the text that new tokens add to the text of the tokens before them."""
        # A token's text may depend on the one before it (a first space, for one).
        prefix, whole = self.text(before), self.text([*before, *new])
        return whole[len(prefix) :] if whole.startswith(prefix) else self.text(new)

    def _bare(self, ids: Sequence[int]) -> list[int]:
        """Return tokens without the special ones in front and behind."""
        places = [place for place, token in enumerate(ids) if token not in self._special]
        return list(ids[places[0] : places[-1] + 1]) if places else []

    def check_ends(self, ids: Sequence[int]) -> None:
        """Refuse tokens that end an answer and are text, since the model would be cut off where it writes that text.

        Raises:
            RuleExtrapError: One of them is neither special nor an addition to the vocabulary.
        """
        for token in ids:
            if token not in self._special and token < len(self.tokenizer):
                raise RuleExtrapError(
                    f"the generation settings of {self.name} end an answer at {self.text([token])!r}, which is text: "
                    "take it out of eos_token_id in its generation_config.json"
                )
