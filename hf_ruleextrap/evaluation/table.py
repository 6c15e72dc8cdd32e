"""An evaluation as a table people read: each rule's sentence, rate, interval, chance, n, finished."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from hf_ruleextrap.formal import Kind, Rate, Report

from .evaluate import Evaluation, Sample

if TYPE_CHECKING:
    from rich.table import Table

_KINDS = {"id": "in distribution", "ood": "out of distribution"}

# The references that have a column, and its heading.
_COLUMNS = {"uniform": "chance", "always-stop": "stop at once", "trigram": "trigram", "ceiling": "row ceiling"}


def rows(evaluation: Evaluation) -> tuple[list[str], list[list[str]]]:
    """The headings and the cells: prompts, what was asked, rate, 95 % interval, each reference, n."""
    references = [name for name in _COLUMNS if name in evaluation.kinds["id"].references]
    headings = ["prompts", "over all prompts", "rate", "95 % interval", *(_COLUMNS[name] for name in references), "n"]
    cells = []
    for kind, of_kind in evaluation.kinds.items():
        label = f"{_KINDS[kind]} ({of_kind.report.n})"
        for what, get in _asked(kind, of_kind.report):
            rate = get(of_kind.report)
            others = [of_reference(get(of_kind.references[name])) for name in references]
            cells.append([label, what, number(rate), interval(rate), *others, str(rate.n)])
            label = ""
    return headings, cells


def _asked(kind: Kind, report: Report) -> list[tuple[str, Callable[[Report], Rate]]]:
    """What the table shows of a report, and how to get it."""
    asked: list[tuple[str, Callable[[Report], Rate]]] = []
    if kind == "ood":
        asked.append(("every open rule holds (headline)", lambda report: report.headline))
    for i, (name, rule) in enumerate(report.rules.items(), start=1):
        asked.append((f"R{i}: {rule.summary}", lambda report, name=name: report.rules[name].word.all))  # type: ignore[misc]  # a default binds the name
    asked.append(("completion finished", lambda report: report.finished))
    return asked


def of_reference(rate: Rate) -> str:
    """Two places, with a tilde where the rate was sampled."""
    return f"{'' if rate.exact or rate.rate is None else '~'}{number(rate)}"


def evaluation_table(evaluation: Evaluation, title: str) -> Table:
    """The table for the screen."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    shown = Table(title=title, box=SIMPLE_HEAD, title_justify="left", pad_edge=False)
    headings, cells = rows(evaluation)
    for place, heading in enumerate(headings):
        shown.add_column(heading, justify="left" if place in (0, 1, 3) else "right")
    for row in cells:
        shown.add_row(*row)
    return shown


def show(evaluation: Evaluation, title: str) -> None:
    """Print the table, and some completions to read."""
    from rich.console import Console

    console = Console()
    # A file or a pipe has no width; the table is then as wide as it needs to be.
    if not console.is_terminal:
        console = Console(width=140)
    console.print()
    console.print(evaluation_table(evaluation, title))
    console.print("rules kept by prompt and finished completion, prompt │ completion")
    for line in sample_lines([sample for of_kind in evaluation.kinds.values() for sample in of_kind.samples]):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print()


def sample_lines(samples: Iterable[Sample]) -> Iterator[str]:
    """A line for each sample: the rules that it keeps, the prompt and the completion."""
    for sample in samples:
        kept = " ".join(f"R{i}" if holds else "--" for i, holds in enumerate(sample.rules, start=1))
        yield f"  {kept}  {sample}"


def number(rate: Rate) -> str:
    """Two places; a dash where it is undefined."""
    return "-" if rate.rate is None else f"{rate.rate:.2f}"


def interval(rate: Rate) -> str:
    """The 95 % interval in brackets."""
    return "" if rate.low is None or rate.exact else f"[{rate.low:.2f}, {rate.high:.2f}]"
