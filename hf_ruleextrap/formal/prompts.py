"""Prompts: prefixes that a model completes, each labelled with its kind and its open rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from .words import BoolArray, IntArray, WordBatch

Kind: TypeAlias = Literal["id", "ood"]
"""``id``: the prompt is viable for the language; ``ood``: it is not viable."""


@dataclass(frozen=True)
class Prompt:
    """One prompt.

    Attributes:
        text: The symbols of the prompt.
        kind: ``"id"`` or ``"ood"``.
        broken: The names of the rules for which the prompt is not viable.
        open: The names of the rules for which the prompt is viable.
    """

    text: str
    kind: Kind
    broken: tuple[str, ...]
    open: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class PromptSet(Sequence[Prompt]):
    """N prompts of a language with R rules.

    Attributes:
        words: The prefixes.
        ood: (N,) bool, whether the prompt is not viable for the language.
        open: (N, R) bool, whether the prompt is viable for the rule. An OOD prompt may leave each rule open, but not
            all of them at once (``abb`` for a^n b^n).
        rules: The names of the rules, in the order of the language.
    """

    words: WordBatch
    ood: BoolArray
    open: BoolArray
    rules: tuple[str, ...]

    def take(self, rows: IntArray | BoolArray | slice) -> PromptSet:
        """Return the prompts of some rows, indexed as NumPy indexes arrays."""
        return PromptSet(self.words.take(rows), self.ood[rows], self.open[rows], self.rules)

    def of_kind(self, kind: Kind) -> PromptSet:
        """Return the prompts of one kind."""
        return self.take(self.ood if kind == "ood" else ~self.ood)

    @property
    def in_headline(self) -> BoolArray:
        """(N,) bool: whether the prompt counts for the headline: it is OOD and leaves a rule open."""
        return np.asarray(self.ood & self.open.any(axis=1))

    @property
    def judged(self) -> BoolArray:
        """(N,) bool: whether a completion can succeed (`Verdicts.success`): the prompt is ID or leaves a rule open."""
        return np.asarray(self.in_headline | ~self.ood)

    @property
    def texts(self) -> list[str]:
        """The prompts as strings."""
        return list(self.words)

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, row: int) -> Prompt:  # type: ignore[override]  # slices are `take`'s
        names = np.array(self.rules)
        return Prompt(
            text=self.words[row],
            kind="ood" if self.ood[row] else "id",
            broken=tuple(names[~self.open[row]].tolist()),
            open=tuple(names[self.open[row]].tolist()),
        )

    def __iter__(self) -> Iterator[Prompt]:
        return (self[row] for row in range(len(self)))

    def __repr__(self) -> str:
        return f"PromptSet({int((~self.ood).sum())} id, {int(self.ood.sum())} ood: {self.words!r})"
