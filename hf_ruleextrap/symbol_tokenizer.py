"""The class of a language's tokenizer, which says in a sentence which symbol it does not know.

What it saves is a plain ``tokenizer.json`` that `AutoTokenizer` also loads where this package is not installed; there
an unknown symbol is an error of the library ``tokenizers``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from transformers import BatchEncoding, PreTrainedTokenizerFast

from .errors import RuleExtrapError

# To find out how each token reads inside a text, stop strings have the tokenizer spell this one. Ours reads the same
# anywhere, so a spelling in which unknown letters have ids behind the vocabulary serves as well.
_STOP_STRING_PROBE = "abcdef"


class SymbolTokenizer(PreTrainedTokenizerFast):
    """A tokenizer of single symbols.

    Raises:
        RuleExtrapError: a text, wherever transformers encodes one, holds something that is no symbol; the message names
            that and the alphabet.
    """

    # Every way to encode a text ends here.
    def _encode_plus(  # type: ignore[override]  # the rest of the arguments is passed on
        self, text: Any, text_pair: Any = None, add_special_tokens: bool = True, **kwargs: Any
    ) -> BatchEncoding:
        try:
            return super()._encode_plus(text, text_pair, add_special_tokens, **kwargs)
        # The library raises a bare Exception.
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
            "write a word as these symbols, with nothing between them"
        )

    def _convert_id_to_token(self, index: int) -> str | None:
        if int(index) >= len(self):
            return chr(int(index) - len(self))
        token: str | None = super()._convert_id_to_token(index)
        return token

    def _unknown(self, *texts: Any) -> str | None:
        """The first character that is neither a symbol nor part of a special token."""
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
