"""An evaluation by the protocol as tables people read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hf_ruleextrap.evaluation.table import interval, number, of_reference, sample_lines
from hf_ruleextrap.formal import Rate, Report

from .references import CEILING, CHANCE
from .results import Condition, TextEvaluation

if TYPE_CHECKING:
    from rich.table import Table

_Rows = list[list[str]]


def rates_table(condition: Condition) -> tuple[list[str], _Rows]:
    """The headings and cells of one condition: each rate, greedy and drawn, beside the references."""
    others = {"chance": CHANCE, "stop at once": "always-stop", strongest_ngram(condition): strongest_ngram(condition)}
    # An evaluation that was stored before each rate had its own ceiling has none.
    others |= {"row ceiling": CEILING if CEILING in condition.references else ""}
    others = {heading: name for heading, name in others.items() if name}
    headings = ["over all prompts", "greedy", "95 % interval", "drawn", "95 % interval", *others, "n"]
    rows = []
    for what, get in _asked(condition):
        greedy = get(condition.greedy.report)
        drawn = None if condition.drawn is None else get(condition.drawn.report)
        both = [number(greedy), interval(greedy), *(["-", ""] if drawn is None else [number(drawn), interval(drawn)])]
        rows.append(
            [what, *both, *(of_reference(get(condition.references[name])) for name in others.values()), str(greedy.n)]
        )
    return headings, rows


def strongest_ngram(condition: Condition) -> str:
    """The n-gram with the highest success on the condition's prompts; empty where there is none."""
    get = _headline(condition)
    rates = {name: get(report).rate or 0.0 for name, report in condition.references.items() if "gram" in name}
    return max(rates, key=rates.__getitem__, default="")


def conditions_table(evaluation: TextEvaluation) -> tuple[list[str], _Rows]:
    """The headings and cells of all conditions, one row each."""
    headings = ["condition", "greedy", "95 % interval", "drawn", "chance", "n-gram", "finished", "empty", "unparsable"]
    rows = []
    for condition in evaluation.conditions:
        get, report = _headline(condition), condition.greedy.report
        ngram = strongest_ngram(condition)
        cells = [number(get(report)), interval(get(report))]
        cells.append("-" if condition.drawn is None else number(get(condition.drawn.report)))
        cells.append(of_reference(get(condition.references[CHANCE])))
        cells.append(of_reference(get(condition.references[ngram])) if ngram else "-")
        cells += [number(rate) for rate in (report.finished, report.empty, report.unparsable)]
        rows.append([condition.name, *cells, str(get(report).n), condition.greedy.verdict.text])
    return [*headings, "n", "verdict (greedy)"], rows


def statuses_table(evaluation: TextEvaluation) -> tuple[list[str], _Rows]:
    """How many answers of each status, over all conditions."""
    counts: dict[str, list[int]] = {}
    for condition in evaluation.conditions:
        for place, decoded in enumerate((condition.greedy, condition.drawn)):
            for status, n in (decoded.statuses if decoded else {}).items():
                counts.setdefault(status, [0, 0])[place] += n
    rows = [[status, str(g), str(d), evaluation.faults.get(status, "")] for status, (g, d) in counts.items()]
    return ["status", "greedy", "drawn", "what was said"], sorted(rows, key=lambda row: -int(row[1]) - int(row[2]))


def title(evaluation: TextEvaluation) -> str:
    """The model, the language, and how it was asked."""
    settings = evaluation.main.settings
    form = "conversation" if settings.chat else "plain text"
    about = f"{evaluation.model} on {settings.language}: {settings.the_language.summary}"
    return f"{about}; protocol v{settings.version}, {form}, {settings.alphabet}, K = {settings.shots}"


def verdicts(evaluation: TextEvaluation) -> list[str]:
    """The lines below the tables: verdict, notes, what is missing."""
    main = evaluation.main
    missing = sum(condition.unanswered for condition in evaluation.conditions)
    lines = []
    if missing:
        lines.append(f"incomplete: {missing} answers are missing, and count as failures in all that is said here")
    lines.append(f"greedy: {main.greedy.verdict.text}")
    if main.drawn is not None:
        lines.append(f"drawn: {main.drawn.verdict.text}")
    lines += [f"note: {note}" for note in main.notes]
    lines += [f"not run: {name}: {why}" for name, why in evaluation.skipped.items()]
    return lines


def show(evaluation: TextEvaluation) -> None:
    """Print the tables, some answers, and the verdict."""
    from rich.console import Console

    console = Console()
    # A file or a pipe has no width; the table is then as wide as it needs to be.
    if not console.is_terminal:
        console = Console(width=200)
    console.print()
    console.print(_table(title(evaluation), *rates_table(evaluation.main), left=(0,)))
    if len(evaluation.conditions) > 1:
        console.print(_table("controls: one parameter changed each", *conditions_table(evaluation), left=(0, 10)))
    console.print(_table("answers of all conditions", *statuses_table(evaluation), left=(0, 3)))
    console.print("rules kept by prompt and finished answer, prompt │ greedy answer")
    for line in sample_lines(evaluation.main.examples):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print()
    for line in verdicts(evaluation):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _table(heading: str, headings: Sequence[str], rows: _Rows, *, left: Sequence[int]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=Text(heading), box=SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for place, name in enumerate(headings):
        shown.add_column(name, justify="left" if place in left else "right")
    for row in rows:
        # What a server said is no markup.
        shown.add_row(*map(Text, row))
    return shown


def _headline(condition: Condition) -> Callable[[Report], Rate]:
    if condition.settings.kind == "id":
        return lambda report: report.grammatical
    return lambda report: report.headline


def _asked(condition: Condition) -> list[tuple[str, Callable[[Report], Rate]]]:
    what = "a word of the language" if condition.settings.kind == "id" else "every open rule holds (headline)"
    asked = [(what, _headline(condition))]
    for i, (name, rule) in enumerate(condition.greedy.report.rules.items(), start=1):
        asked.append((f"R{i}: {rule.summary}", lambda report, name=name: report.rules[name].word.all))  # type: ignore[misc]  # a default binds the name
    return [
        *asked,
        ("answer finished", lambda report: report.finished),
        ("answer empty", lambda report: report.empty),
        ("answer unparsable or missing", lambda report: report.unparsable),
    ]
