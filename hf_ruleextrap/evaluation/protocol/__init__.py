"""Rule extrapolation as text, for any language model: prompts, contexts, renderings, parsing. No model in it.

The version stands in every result; it changes when scores would.
"""

from __future__ import annotations

from .alphabets import ALPHABETS, CONTROL_ALPHABETS, check_single_tokens, merged_ends
from .contexts import context_words
from .parsing import STATUSES, Parsed, Status, parse
from .rendering import Turn, context_text, rendered, rules_in_words, spelled
from .settings import CONTEXTS, PROTOCOL_VERSION, ProtocolSettings

__all__ = [
    "ALPHABETS",
    "CONTEXTS",
    "CONTROL_ALPHABETS",
    "PROTOCOL_VERSION",
    "STATUSES",
    "Parsed",
    "ProtocolSettings",
    "Status",
    "Turn",
    "check_single_tokens",
    "context_text",
    "context_words",
    "merged_ends",
    "parse",
    "rendered",
    "rules_in_words",
    "spelled",
]
