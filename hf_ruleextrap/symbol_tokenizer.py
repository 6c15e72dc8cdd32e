"""The class of a language's tokenizer, whose error for an unknown symbol is one sentence.

The tokenizer is saved as a plain ``tokenizer.json``. `AutoTokenizer` also loads that file where this package is not
installed; an unknown symbol then raises an error of the library ``tokenizers``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from transformers import BatchEncoding, PreTrainedTokenizerFast

from .errors import RuleExtrapError

# For stop strings, transformers encodes this text to learn how tokens look inside a text. A symbol looks the same
# everywhere, so letters that are not in the alphabet can have ids after the vocabulary without any harm.
_STOP_STRING_PROBE = "abcdef"


class SymbolTokenizer(PreTrainedTokenizerFast):
    """A tokenizer whose tokens are single symbols.

    Raises:
        RuleExtrapError: If an encoded text contains a character that is not a symbol. The message names the character
            and the alphabet.
    """

    # All methods that encode a text call this method.
    def _encode_plus(  # type: ignore[override]  # the rest of the arguments is passed on
        self, text: Any, text_pair: Any = None, add_special_tokens: bool = True, **kwargs: Any
    ) -> BatchEncoding:
        try:
            return super()._encode_plus(text, text_pair, add_special_tokens, **kwargs)
        # The library tokenizers raises a plain Exception.
        except Exception:
            unknown = self._unknown(text, text_pair)
            if unknown is None:
                raise
        vocabulary = self.get_vocab()
        if text == _STOP_STRING_PROBE and text_pair is None and not add_special_tokens:
            return BatchEncoding({"input_ids": [vocabulary.get(letter, len(self) + ord(letter)) for letter in text]})
        symbols = sorted(set(vocabulary) - set(self.all_special_tokens), key=vocabulary.__getitem__)
        raise RuleExtrapError(
            f"{unknown!r} is not a symbol of the alphabet {{{', '.join(symbols)}}}: "
            "write a word as a sequence of these symbols, without spaces"
        )

    def _convert_id_to_token(self, index: int) -> str | None:
        if int(index) >= len(self):
            return chr(int(index) - len(self))
        token: str | None = super()._convert_id_to_token(index)
        return token

    def _unknown(self, *texts: Any) -> str | None:
        """Return the first character that is neither a symbol nor part of a special token, or None."""
        known = set(self.get_vocab())
        for text in _strings(texts):
            for special in self.all_special_tokens:
                text = text.replace(special, "")
            for symbol in text:
                if symbol not in known:
                    return symbol
        return None


def _strings(texts: Any) -> Iterator[str]:
    if isinstance(texts, str):
        yield texts
    elif isinstance(texts, (list, tuple)):
        for text in texts:
            yield from _strings(text)
