"""Prompts: prefixes handed to a model, each labelled with what can still be kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from .words import BoolArray, IntArray, WordBatch

Kind: TypeAlias = Literal["id", "ood"]
"""``id``: some suffix puts the prompt in the language; ``ood``: none does."""


@dataclass(frozen=True)
class Prompt:
    """One prompt.

    Attributes:
        text: its symbols.
        kind: ``"id"`` or ``"ood"``.
        broken: names of the rules that no suffix can repair.
        open: names of the rules that some suffix can still make hold.
    """

    text: str
    kind: Kind
    broken: tuple[str, ...]
    open: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class PromptSet(Sequence[Prompt]):
    """N prompts of a language with R rules.

    Attributes:
        words: the prefixes.
        ood: (N,) bool, no suffix puts the prompt in the language.
        open: (N, R) bool, the rule is still viable. An OOD prompt may leave each rule open, and yet not both
            at once (``abb`` for a^n b^n).
        rules: the names of the rules, in the language's order.
    """

    words: WordBatch
    ood: BoolArray
    open: BoolArray
    rules: tuple[str, ...]

    def take(self, rows: IntArray | BoolArray | slice) -> PromptSet:
        """The set of some rows, as NumPy would index them."""
        return PromptSet(self.words.take(rows), self.ood[rows], self.open[rows], self.rules)

    def of_kind(self, kind: Kind) -> PromptSet:
        """The prompts of one kind."""
        return self.take(self.ood if kind == "ood" else ~self.ood)

    @property
    def asked(self) -> BoolArray:
        """(N,) bool: OOD, and some rule is open. Of any other prompt the headline asks nothing."""
        return np.asarray(self.ood & self.open.any(axis=1))

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
