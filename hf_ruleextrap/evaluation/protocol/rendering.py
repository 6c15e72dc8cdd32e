"""A prompt as a model gets it: a plain text, or the turns of a conversation."""

from __future__ import annotations

from collections.abc import Sequence

from hf_ruleextrap.completers.base import Turn

from .contexts import context_words, prompt_rng
from .settings import ProtocolSettings


def spelled(settings: ProtocolSettings, symbols: str) -> str:
    """Symbols as text, one space between them."""
    return " ".join(settings.texts[symbol] for symbol in symbols)


def rules_in_words(settings: ProtocolSettings) -> str:
    """The symbols, and each rule as a sentence in the language's own symbols."""
    rules = "; ".join(rule.summary for rule in settings.the_language.rules)
    known = [text if text == symbol else f"{text} (for {symbol})" for symbol, text in settings.texts.items()]
    return f"The symbols are: {' '.join(known)}\nRules of every word: {rules}."


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
    if settings.chat:
        return _chat(settings, prompt, words)
    return context_text(settings, words) + spelled(settings, prompt)


def context_text(settings: ProtocolSettings, words: Sequence[str]) -> str:
    """The context words as the lines of a plain text, the rules before them if they are stated."""
    head = rules_in_words(settings) + "\n\n" if settings.rules_stated else ""
    return head + "".join(spelled(settings, word) + "\n" for word in words)


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
