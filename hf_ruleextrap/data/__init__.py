"""A language as data: words split into train, validation and test."""

from __future__ import annotations

from .splits import (
    Fingerprints,
    Splits,
    build_splits,
    count_train_words,
    draw_train_words,
    fingerprints,
    replace_by_noise,
)

__all__ = [
    "Fingerprints",
    "Splits",
    "build_splits",
    "count_train_words",
    "draw_train_words",
    "fingerprints",
    "replace_by_noise",
]
