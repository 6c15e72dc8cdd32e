"""A prompt as a model gets it: a plain text, or the turns of a conversation."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hf_ruleextrap.completers.base import Turn
from hf_ruleextrap.formal.brackets import Balanced

from .contexts import context_words, prompt_rng
from .settings import ProtocolSettings


def spelled(settings: ProtocolSettings, symbols: str) -> str:
    """Symbols as text, one space between them."""
    return " ".join(settings.texts[symbol] for symbol in symbols)


def rules_in_words(settings: ProtocolSettings) -> str:
    """The symbols and the rules as a sentence each."""
    language, texts = settings.the_language, settings.texts
    # A symbol within a rule's sentence stands alone, or before a comma.
    pattern = re.compile(rf"(?<!\S)({'|'.join(map(re.escape, texts))})(?=[\s,]|$)")
    rules = [pattern.sub(lambda found: texts[found[1]], rule.summary) for rule in language.rules]
    pairs = [rule for rule in language.rules if isinstance(rule, Balanced)]
    known = " ".join(texts.values())
    opens = "".join(f"{texts[pair.opening]} opens and {texts[pair.closing]} closes.\n" for pair in pairs)
    return f"The symbols are: {known}\n{opens}Rules of every word: {'; '.join(rules)}."


def rendered(settings: ProtocolSettings, prompt: str) -> str | tuple[Turn, ...]:
    """The prompt with its context.

    Args:
        settings: the condition.
        prompt: its symbols.

    Returns:
        For a base model a text: K lines, then the prompt, and no space behind it. For a chat model turns: K times a
        word's beginning and its rest, then the prompt.
    """
    words = context_words(settings, prompt)
    return _chat(settings, prompt, words) if settings.chat else _base(settings, prompt, words)


def _base(settings: ProtocolSettings, prompt: str, words: Sequence[str]) -> str:
    head = rules_in_words(settings) + "\n\n" if settings.rules_stated else ""
    return head + "".join(spelled(settings, word) + "\n" for word in words) + spelled(settings, prompt)


def _chat(settings: ProtocolSettings, prompt: str, words: Sequence[str]) -> tuple[Turn, ...]:
    rng = prompt_rng(settings, prompt, 1)
    said: list[str] = []
    for word in words:
        cut = int(rng.integers(1, len(word)))
        said += [spelled(settings, word[:cut]), spelled(settings, word[cut:])]
    said.append(spelled(settings, prompt))
    if settings.rules_stated:
        said[0] = f"I give the beginning of a word, you give the rest. {rules_in_words(settings)}\n\n{said[0]}"
    return tuple(Turn("assistant" if place % 2 else "user", content) for place, content in enumerate(said))
