"""The tokenizer of a language: each symbol is one token. A saved tokenizer loads without this package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.formal import Language, WordBatch
from hf_ruleextrap.formal.words import FOREIGN_CODE, BoolArray, IntArray, symbol_codes

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
SPECIAL_TOKENS = (PAD, BOS, EOS)
PAD_ID, BOS_ID, EOS_ID = range(3)


def vocabulary(language: Language) -> dict[str, int]:
    """Return the id of each token: first the special tokens, then the symbols in the alphabet's order."""
    return _tokens(language.alphabet)


def _tokens(alphabet: Sequence[str]) -> dict[str, int]:
    return {token: i for i, token in enumerate((*SPECIAL_TOKENS, *alphabet))}


def alphabet_of(tokens: Mapping[str, int]) -> tuple[str, ...]:
    """Return the alphabet whose `vocabulary` has these tokens.

    Raises:
        ValueError: If the tokens are not those of an alphabet of visible single characters.

    >>> alphabet_of({"<pad>": 0, "<bos>": 1, "<eos>": 2, "a": 3, "b": 4})
    ('a', 'b')
    """
    alphabet = tuple(sorted(tokens, key=tokens.__getitem__)[len(SPECIAL_TOKENS) :])
    if _tokens(alphabet) != tokens or not all(len(symbol) == 1 and symbol.isprintable() for symbol in alphabet):
        raise ValueError("these are not the tokens of an alphabet")
    return alphabet


def build_tokenizer(language: Language) -> PreTrainedTokenizerBase:
    """Build the tokenizer of a language, in which every symbol is one token; see `tokenizer_of`.

    Args:
        language: The language whose symbols become the tokens.

    Returns:
        A fast tokenizer whose ids 0, 1 and 2 are ``<pad>``, ``<bos>`` and ``<eos>``, followed by the alphabet.

    >>> from hf_ruleextrap import build_tokenizer, get_language
    >>> build_tokenizer(get_language("anbn"))("aab")["input_ids"]
    [1, 3, 3, 4]
    """
    return tokenizer_of(language.alphabet)


def tokenizer_of(alphabet: Sequence[str]) -> PreTrainedTokenizerBase:
    """Build the tokenizer of an alphabet.

    The tokenizer adds ``<bos>`` at the beginning, splits a text into single characters, and pads on the left, because
    generation requires that. `AutoTokenizer` loads the saved ``tokenizer.json`` with or without this package. An
    unknown symbol raises an error that names the symbol and the alphabet; where this package is not imported, the error
    is that of the library ``tokenizers``.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    from .symbol_tokenizer import SymbolTokenizer

    fast = Tokenizer(models.WordLevel(_tokens(alphabet), unk_token=None))
    fast.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    fast.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, BOS_ID)]
    )
    fast.decoder = decoders.Fuse()
    return SymbolTokenizer(tokenizer_object=fast, bos_token=BOS, eos_token=EOS, pad_token=PAD, padding_side="left")


def symbol_ids(tokenizer: PreTrainedTokenizerBase, language: Language) -> IntArray:
    """Return the token id of each symbol of the language, (k,) int64.

    Raises:
        RuleExtrapError: If the tokenizer lacks a symbol, BOS or EOS, and therefore belongs to another language.
    """
    known = tokenizer.get_vocab()
    lacking = [token for token in language.alphabet if token not in known]
    if lacking or tokenizer.bos_token_id is None or tokenizer.eos_token_id is None:
        shown = " ".join(sorted(known, key=known.__getitem__)[:12])
        raise RuleExtrapError(
            f"the checkpoint's tokenizer does not fit {language.name}: it lacks "
            f"{', '.join(map(repr, lacking)) or 'BOS or EOS'} (its tokens: {shown}); "
            f"give the language that the checkpoint was trained on"
        )
    return np.array([known[token] for token in language.alphabet], dtype=np.int64)


def writes_text(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether a tokenizer encodes spaces and line breaks; tokenizers of this package do not."""
    try:
        return "a\na a" in tokenizer.decode(tokenizer.encode("a\na a", add_special_tokens=False))
    # A tokenizer of single symbols may raise any exception of its library for this text.
    except Exception:
        return False


def encode(words: WordBatch, language: Language, ids: IntArray | None = None) -> IntArray:
    """Return the token ids of words, without special tokens.

    Args:
        words: N words of at most T symbols.
        language: The language of the words.
        ids: (k,) the id of each symbol; the default is that of `vocabulary`.

    Returns:
        (N, T) int64, with ``PAD_ID`` after the end of a word.

    Raises:
        RuleExtrapError: If a word contains a character outside the alphabet; the message names both.
    """
    words = WordBatch.of(words, language.alphabet)
    table = np.full(256, PAD_ID, dtype=np.int64)
    for i, symbol in enumerate(language.alphabet):
        table[ord(symbol)] = len(SPECIAL_TOKENS) + i if ids is None else ids[i]
    return np.asarray(table[words.codes])


def decode_completions(
    tokens: npt.NDArray[np.int64], language: Language, *, ids: IntArray, eos_id: int
) -> tuple[WordBatch, BoolArray]:
    """Return the completions that a model generated, each up to its first EOS.

    Args:
        tokens: (N, T) generated ids, without the prompt.
        language: The language of the prompts.
        ids: (k,) the id of each symbol.
        eos_id: The id that ends a completion.

    Returns:
        The completions, and whether each completion ended, (N,) bool. A token that is not a symbol becomes a foreign
        code, so that scoring counts the completion as unparsable.
    """
    ends = tokens == eos_id
    finished = ends.any(axis=1)
    lengths = np.where(finished, ends.argmax(axis=1), tokens.shape[1]).astype(np.int64)
    table = np.full(int(max(tokens.max(initial=0), ids.max())) + 1, FOREIGN_CODE, dtype=np.uint8)
    table[ids] = symbol_codes(language.alphabet)
    return WordBatch.from_codes(table[tokens], lengths), finished
