"""An evaluation as a table people read: each rule's sentence, rate, interval, chance, n, finished."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hf_ruleextrap.formal import Rate

from .evaluate import Evaluation

if TYPE_CHECKING:
    from rich.table import Table

_KINDS = {"id": "in distribution", "ood": "out of distribution"}


def rows(evaluation: Evaluation) -> list[tuple[str, str, str, str, str, str]]:
    """The cells: prompts, what was asked, rate, 95 % interval, chance, n."""
    cells = []
    for kind, of_kind in evaluation.kinds.items():
        report, by_chance = of_kind.report, of_kind.chance
        asked: list[tuple[str, Rate, Rate | None]] = []
        if kind == "ood":
            asked.append(("every open rule holds (headline)", report.headline, by_chance.headline))
        for i, (name, rule) in enumerate(report.rules.items(), start=1):
            asked.append((f"R{i}: {rule.summary}", rule.word.all, by_chance.rules[name].word.all))
        asked.append(("completion finished", report.finished, by_chance.finished))
        for i, (what, rate, by) in enumerate(asked):
            label = f"{_KINDS[kind]} ({report.n})" if i == 0 else ""
            cells.append((label, what, number(rate), interval(rate), _chance(by), str(rate.n)))
    return cells


def table(evaluation: Evaluation, title: str) -> Table:
    """The table for the screen."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    shown = Table(title=title, box=SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for name, justify in zip(
        ("prompts", "over all prompts", "rate", "95 % interval", "chance", "n"),
        ("left", "left", "right", "left", "right", "right"),
        strict=True,
    ):
        shown.add_column(name, justify=justify)  # type: ignore[arg-type]  # rich's literals
    for cells in rows(evaluation):
        shown.add_row(*cells, end_section=False)
    return shown


def show(evaluation: Evaluation, title: str) -> None:
    """Print the table, and some completions to read."""
    from rich.console import Console

    console = Console()
    # A file or a pipe has no width; the table is then as wide as it needs to be.
    if not console.is_terminal:
        console = Console(width=140)
    console.print()
    console.print(table(evaluation, title))
    console.print("rules kept, prompt │ completion")
    for of_kind in evaluation.kinds.values():
        for sample in of_kind.samples:
            kept = " ".join(f"R{i}" if holds else "--" for i, holds in enumerate(sample.rules, start=1))
            console.print(f"  {kept}  {sample}", markup=False, highlight=False, soft_wrap=True)
    console.print()


def number(rate: Rate) -> str:
    """Two places; a dash where it is undefined."""
    return "-" if rate.rate is None else f"{rate.rate:.2f}"


def interval(rate: Rate) -> str:
    """The 95 % interval in brackets."""
    return "" if rate.low is None or rate.exact else f"[{rate.low:.2f}, {rate.high:.2f}]"


def _chance(rate: Rate | None) -> str:
    if rate is None or rate.rate is None:
        return "-"
    return f"{rate.rate:.2f}" if rate.exact else f"~{rate.rate:.2f}"
