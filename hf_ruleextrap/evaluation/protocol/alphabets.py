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
"""By name, the text of a language's first symbol, second symbol, and so on.

``digits`` are two tokens each for many tokenizers, a space and a digit; `check_single_tokens` says so.
"""

CONTROL_ALPHABETS = ("letters", "swapped", "words", "brackets", "signs")
"""Those that the controls compare."""


def texts_of(alphabet: str, symbols: Sequence[str]) -> dict[str, str]:
    """The text of each symbol of a language.

    Args:
        alphabet: one of `ALPHABETS`.
        symbols: the language's symbols, in order.

    Raises:
        RuleExtrapError: unknown name, or too few texts for so many symbols.

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
    """Hold a tokenizer to one token for each symbol with the space before it.

    Otherwise tokens would merge across the border between prompt and completion, or the model would have to spell.

    Args:
        texts: what stands for the symbols.
        encode: the token ids of a text, without special tokens.

    Raises:
        RuleExtrapError: a symbol is not one token after another symbol; the message names it.
    """
    for before, text in product(texts, texts):
        alone, together = list(encode(before)), list(encode(f"{before} {text}"))
        more = len(together) - len(alone)
        # Else the symbol before it would be another token at the end of a prompt.
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
    """The symbols that this tokenizer merges with the end of a line that follows them.

    In the context their ends are then one token with the symbol, which the model cannot use to end the prompt itself.

    Args:
        texts: what stands for the symbols.
        encode: the token ids of a text, without special tokens.
    """
    return [text for text in texts if len(encode(f"{text} {text}\n{text}")) < len(encode(f"{text} {text}")) + 2]
