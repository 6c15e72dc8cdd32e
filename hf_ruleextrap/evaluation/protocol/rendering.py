"""The form in which a model reads a prompt: its context words, then the prompt, as a text or as a conversation.

The context words are drawn anew for each prompt, and never contain an answer to the prompt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from hf_ruleextrap.completers.base import Turn
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.formal import WordBatch
from hf_ruleextrap.formal.families import shuffled
from hf_ruleextrap.formal.words import symbol_codes

from .settings import ProtocolSettings

# Words are drawn in blocks of one size, so that a smaller K has the first lines of a larger K.
_BLOCK = 64
_PATIENCE = 8
_MOST_BLOCKS = 200


def spelled(settings: ProtocolSettings, symbols: str) -> str:
    """Return symbols as text, with one space between them."""
    return " ".join(settings.texts[symbol] for symbol in symbols)


def rules_in_words(settings: ProtocolSettings) -> str:
    """Return the symbols as text, and each rule as a sentence about the symbols of the language."""
    rules = "; ".join(rule.summary for rule in settings.the_language.rules)
    texts = [text if text == symbol else f"{text} (for {symbol})" for symbol, text in settings.texts.items()]
    return f"The symbols are: {' '.join(texts)}\nRules of every word: {rules}."


def rendered(settings: ProtocolSettings, prompt: str) -> str | tuple[Turn, ...]:
    """Return a prompt with its context.

    Args:
        settings: The condition.
        prompt: The symbols of the prompt.

    Returns:
        For a base model a text: K lines, then the prompt without a space after it. For a chat model turns: the
        beginning and the rest of each of the K words, then the prompt.
    """
    words = context_words(settings, prompt)
    if settings.chat:
        return _chat(settings, prompt, words)
    return context_text(settings, words) + spelled(settings, prompt)


def context_text(settings: ProtocolSettings, words: Sequence[str]) -> str:
    """Return the context words as the lines of a plain text, after the rules if the settings state them."""
    head = rules_in_words(settings) + "\n\n" if settings.rules_stated else ""
    return head + "".join(spelled(settings, word) + "\n" for word in words)


def _chat(settings: ProtocolSettings, prompt: str, words: Sequence[str]) -> tuple[Turn, ...]:
    rng = prompt_rng(settings, prompt, 1)
    contents: list[str] = []
    for word in words:
        cut = int(rng.integers(1, len(word)))
        contents += [spelled(settings, word[:cut]), spelled(settings, word[cut:])]
    contents.append(spelled(settings, prompt))
    if settings.rules_stated:
        contents[0] = f"I give the beginning of a word, you give the rest. {rules_in_words(settings)}\n\n{contents[0]}"
    return tuple(Turn("assistant" if place % 2 else "user", content) for place, content in enumerate(contents))


def prompt_rng(settings: ProtocolSettings, prompt: str, purpose: int) -> np.random.Generator:
    """Return the random numbers of one prompt, which depend on the seed, the language and the prompt alone.

    Args:
        settings: The condition.
        prompt: The symbols of the prompt.
        purpose: 0 for drawing words, 1 for the places at which chat turns divide them.
    """
    digest = hashlib.sha256(f"{settings.language}\n{prompt}".encode()).digest()
    return np.random.default_rng([settings.seed, int.from_bytes(digest[:16], "big"), purpose])


def context_words(settings: ProtocolSettings, prompt: str, *others: str) -> list[str]:
    """Return the K lines before a prompt, in the symbols of the language.

    No line begins with the prompt. The context therefore contains no correct completion of the prompt, whatever its
    length and whichever rules it keeps. With the same seed, the lines are the same for every alphabet, and a smaller K
    has the first lines of a larger K.

    Args:
        settings: The condition.
        prompt: The symbols of the prompt.
        others: Further strings with which no line may begin.

    Raises:
        RuleExtrapError: If there are fewer than K lines of this kind.
    """
    return list(_lines(settings, (prompt, *others)))


# The references are fitted on the same lines that a model reads.
@lru_cache(1 << 14)
def _lines(settings: ProtocolSettings, prompts: tuple[str, ...]) -> tuple[str, ...]:
    language = settings.the_language
    rng = prompt_rng(settings, prompts[0], 0)
    first, second = language.rules[:2]
    make, keeps = _MAKERS[settings.context]
    accepted: list[str] = []
    for block in range(_MOST_BLOCKS):
        if len(accepted) >= settings.shots:
            return tuple(accepted[: settings.shots])
        # In some languages, such as 1*, no shuffled word breaks a rule.
        if block == _PATIENCE and not accepted:
            make = _any_line
        lines = make(language.sample(_BLOCK, max_length=settings.max_word_length, rng=rng), language.alphabet, rng)
        fits = (first.holds(lines) == keeps[0]) & (second.holds(lines) == keeps[1])
        # A chat turn divides a word into a beginning and a rest, and neither may be empty.
        shortest = 2 if settings.chat else 1
        accepted += [line for line in lines.take(fits) if len(line) >= shortest and not line.startswith(prompts)]
    beginning = " or ".join(map(repr, prompts))
    raise RuleExtrapError(
        f"too few context lines ({settings.context}) of {language.name} with at most {settings.max_word_length} "
        f"symbols do not begin with the prompt {beginning}: give longer prompts or a larger max_word_length"
    )


def _unchanged(words: WordBatch, alphabet: tuple[str, ...], rng: np.random.Generator) -> WordBatch:
    del alphabet, rng
    return words


def _shuffled(words: WordBatch, alphabet: tuple[str, ...], rng: np.random.Generator) -> WordBatch:
    del alphabet
    return shuffled(words, rng)


def _crossed(words: WordBatch, alphabet: tuple[str, ...], rng: np.random.Generator) -> WordBatch:
    """Return the first half of each word with the second half of the next word."""
    del alphabet, rng
    texts = list(words)
    following = texts[1:] + texts[:1]
    pairs = zip(texts, following, strict=True)
    return WordBatch.from_strings([one[: (len(one) + 1) // 2] + other[len(other) // 2 :] for one, other in pairs])


def _random(words: WordBatch, alphabet: tuple[str, ...], rng: np.random.Generator) -> WordBatch:
    """Return strings of the lengths of the words, with each symbol drawn uniformly."""
    return WordBatch.from_codes(rng.choice(symbol_codes(alphabet), size=words.codes.shape), words.lengths)


def _any_line(words: WordBatch, alphabet: tuple[str, ...], rng: np.random.Generator) -> WordBatch:
    """Return strings of any length up to that of the longest word, with each symbol drawn uniformly."""
    width = words.codes.shape[1]
    longer = WordBatch(np.zeros((len(words), width), np.uint8), rng.integers(1, width, len(words), endpoint=True))
    return _random(longer, alphabet, rng)


_Maker = Callable[[WordBatch, tuple[str, ...], np.random.Generator], WordBatch]

# For each context: the function that makes lines from words, and whether R1 and R2 must hold for a line.
_MAKERS: dict[str, tuple[_Maker, tuple[bool, bool]]] = {
    "intact": (_unchanged, (True, True)),
    "r2-broken": (_shuffled, (True, False)),
    "r1-broken": (_crossed, (False, True)),
    "both-broken": (_random, (False, False)),
}
