"""Rule extrapolation as text, for any language model: the prompts, their contexts, and how an answer is read.

Every result contains the version of the protocol, which changes when scores would change.
"""

from __future__ import annotations

from .parsing import STATUSES, Parsed, Status, parse, read_answer
from .rendering import Turn, context_text, context_words, rendered, rules_in_words, spelled
from .settings import (
    ALPHABETS,
    CONTEXTS,
    CONTROL_ALPHABETS,
    PROTOCOL_VERSION,
    ProtocolSettings,
    check_single_tokens,
    merged_ends,
)

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
    "read_answer",
    "rendered",
    "rules_in_words",
    "spelled",
]
