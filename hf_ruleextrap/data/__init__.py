"""A language as data: words split into train, validation and test."""

from __future__ import annotations

from .splits import Splits, build_splits, count_train_words, draw_train_words

__all__ = ["Splits", "build_splits", "count_train_words", "draw_train_words"]
