"""The texts that stand for a language's symbols."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product

from hf_ruleextrap.errors import RuleExtrapError, unknown

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
