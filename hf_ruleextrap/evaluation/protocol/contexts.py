"""The words that a prompt is shown: fresh for each, from its own seed, and never with its answer among them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.formal import WordBatch
from hf_ruleextrap.formal.sampling import shuffled

from .settings import ProtocolSettings

# Words are drawn in blocks of one size, so that the first K are the same for every K.
_BLOCK = 64
_PATIENCE = 8
_MOST_BLOCKS = 200


def prompt_rng(settings: ProtocolSettings, prompt: str, purpose: int) -> np.random.Generator:
    """The randomness of one prompt: from the seed, the language and the prompt, and nothing else.

    Args:
        settings: the condition.
        prompt: its symbols.
        purpose: 0 for the words, 1 for where chat turns cut them.
    """
    digest = hashlib.sha256(f"{settings.language}\n{prompt}".encode()).digest()
    return np.random.default_rng([settings.seed, int.from_bytes(digest[:16], "big"), purpose])


def context_words(settings: ProtocolSettings, prompt: str, *others: str) -> list[str]:
    """The K lines before a prompt, in the language's own symbols.

    No line begins with the prompt. So no line is the prompt with a correct completion, whatever the length of that
    completion and whichever rules it keeps; and a prompt has no example of how it goes on. With the same seed the
    lines are the same for every alphabet, and the first ones for every K.

    Args:
        settings: the condition.
        prompt: its symbols; the randomness is its own.
        others: more that no line begins with.

    Raises:
        RuleExtrapError: there are not enough such words.
    """
    return list(_lines(settings, (prompt, *others)))


# The references are shown the very lines that a model is shown.
@lru_cache(1 << 14)
def _lines(settings: ProtocolSettings, prompts: tuple[str, ...]) -> tuple[str, ...]:
    language = settings.the_language
    rng = prompt_rng(settings, prompts[0], 0)
    first, second = language.rules[:2]
    make, keeps = _MAKERS[settings.context]
    found: list[str] = []
    for block in range(_MOST_BLOCKS):
        if len(found) >= settings.shots:
            return tuple(found[: settings.shots])
        # No word of 1* can be shuffled so that it breaks a rule.
        if block == _PATIENCE and not found:
            make = _any_line
        lines = make(language.sample(_BLOCK, max_length=settings.max_word_length, rng=rng), language.alphabet, rng)
        good = (first.holds(lines) == keeps[0]) & (second.holds(lines) == keeps[1])
        # A chat turn cuts a word into a beginning and a rest, neither of them empty.
        least = 2 if settings.chat else 1
        found += [line for line in lines.take(good) if len(line) >= least and not line.startswith(prompts)]
    beginning = " or ".join(map(repr, prompts))
    raise RuleExtrapError(
        f"too few context lines ({settings.context}) of {language.name} with at most {settings.max_word_length} "
        f"symbols do not begin with the prompt {beginning}: give longer prompts or a larger max_word_length"
    )


def _as_they_are(words: WordBatch, alphabet: tuple[str, ...], rng: np.random.Generator) -> WordBatch:
    del alphabet, rng
    return words


def _shuffled(words: WordBatch, alphabet: tuple[str, ...], rng: np.random.Generator) -> WordBatch:
    del alphabet
    return shuffled(words, rng)


def _crossed(words: WordBatch, alphabet: tuple[str, ...], rng: np.random.Generator) -> WordBatch:
    """The first half of each word, and the second half of the next one's."""
    del alphabet, rng
    texts = list(words)
    following = texts[1:] + texts[:1]
    pairs = zip(texts, following, strict=True)
    return WordBatch.from_strings([one[: (len(one) + 1) // 2] + other[len(other) // 2 :] for one, other in pairs])


def _random(words: WordBatch, alphabet: tuple[str, ...], rng: np.random.Generator) -> WordBatch:
    """As long as the words, each symbol drawn uniformly."""
    codes = np.frombuffer("".join(alphabet).encode("ascii"), dtype=np.uint8)
    return WordBatch.from_codes(rng.choice(codes, size=words.codes.shape), words.lengths)


def _any_line(words: WordBatch, alphabet: tuple[str, ...], rng: np.random.Generator) -> WordBatch:
    """Of any length up to the longest word's, each symbol drawn uniformly."""
    width = words.codes.shape[1]
    longer = WordBatch(np.zeros((len(words), width), np.uint8), rng.integers(1, width, len(words), endpoint=True))
    return _random(longer, alphabet, rng)


_Maker = Callable[[WordBatch, tuple[str, ...], np.random.Generator], WordBatch]

# By context: what makes candidates of words, and whether R1 and R2 are to hold for them.
_MAKERS: dict[str, tuple[_Maker, tuple[bool, bool]]] = {
    "intact": (_as_they_are, (True, True)),
    "r2-broken": (_shuffled, (True, False)),
    "r1-broken": (_crossed, (False, True)),
    "both-broken": (_random, (False, False)),
}
