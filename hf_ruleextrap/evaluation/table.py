"""An evaluation as tables that people read, whoever was evaluated and in whatever way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from hf_ruleextrap.formal import Rate, Report
from hf_ruleextrap.languages import recorded_language

from .protocol import ProtocolSettings
from .references import ALWAYS_STOP, CEILING, UNIFORM, heading, is_ngram
from .results import Condition, Evaluation, Sample

if TYPE_CHECKING:
    from rich.console import Console

Table: TypeAlias = tuple[list[str], list[list[str]]]
"""The headings and the rows of cells."""

KINDS = {"id": "in distribution", "ood": "out of distribution"}


def rates_table(evaluation: Evaluation) -> Table:
    """Return all rates of the conditions that are no controls, each beside the references on the same prompts.

    The columns are the prompts, what is counted, the greedy rate with its 95 % interval, the same of drawn completions
    where there are some, the references, and the number of completions. Of the n-grams, the strongest is shown.
    """
    conditions = list(evaluation.kinds.values())
    ngram = strongest_ngram(evaluation.main)
    names = [UNIFORM, ALWAYS_STOP, *([ngram] if ngram else []), CEILING]
    drawn = ["drawn", "95 % interval"] if any(condition.drawn for condition in conditions) else []
    headings = ["prompts", "over all prompts", "greedy", "95 % interval", *drawn, *map(heading, names), "n"]
    rows = []
    for condition in conditions:
        label = f"{KINDS[condition.kind]} ({condition.greedy.report.n}){_not_greedy(condition)}"
        for what, rate_of in _counted(condition):
            greedy = rate_of(condition.greedy.report)
            cells = [number(greedy), interval(greedy)]
            if drawn:
                rate = None if condition.drawn is None else rate_of(condition.drawn.report)
                cells += ["-", ""] if rate is None else [number(rate), interval(rate)]
            reports = map(condition.references.get, names)
            cells += ["-" if report is None else reference_number(rate_of(report)) for report in reports]
            rows.append([label, what, *cells, str(greedy.n)])
            label = ""
    return headings, rows


def controls_table(evaluation: Evaluation) -> Table:
    """Return a row for each condition, controls too: its headline beside chance and the strongest n-gram."""
    headings = ["condition", "greedy", "95 % interval", "drawn", heading(UNIFORM), "n-gram"]
    rows = []
    for condition in evaluation.conditions:
        (_, rate_of), *_ = _counted(condition)
        report, ngram = condition.greedy.report, strongest_ngram(condition)
        cells = [number(rate_of(report)), interval(rate_of(report))]
        cells.append("-" if condition.drawn is None else number(rate_of(condition.drawn.report)))
        cells.append(reference_number(rate_of(condition.chance)))
        cells.append(reference_number(rate_of(condition.references[ngram])) if ngram else "-")
        cells += [number(rate) for rate in (report.finished, report.empty, report.unparsable)]
        verdict = condition.greedy.verdict.text if condition.greedy.verdict else ""
        rows.append([condition.name + _not_greedy(condition), *cells, str(rate_of(report).n), verdict])
    return [*headings, "finished", "empty", "unparsable", "n", "verdict (greedy)"], rows


def statuses_table(evaluation: Evaluation) -> Table:
    """Return the number of answers of each status over all conditions, the most frequent first."""
    counts: dict[str, list[int]] = {}
    for condition in evaluation.conditions:
        for place, outcome in enumerate((condition.greedy, condition.drawn)):
            for status, n in (outcome.statuses if outcome else {}).items():
                counts.setdefault(status, [0, 0])[place] += n
    rows = [[status, str(g), str(d), evaluation.faults.get(status, "")] for status, (g, d) in counts.items()]
    return ["status", "greedy", "drawn", "fault"], sorted(rows, key=lambda row: -int(row[1]) - int(row[2]))


def strongest_ngram(condition: Condition) -> str:
    """Return the name of the n-gram with the highest headline on the condition's prompts; empty where there is none."""
    (_, rate_of), *_ = _counted(condition)
    rates = {name: rate_of(report).rate or 0.0 for name, report in condition.references.items() if is_ngram(name)}
    return max(rates, key=rates.__getitem__, default="")


def title_of(evaluation: Evaluation, summary: str | None = None) -> str:
    """Return the model, the language and the way of asking as a line.

    Args:
        evaluation: what is shown.
        summary: of the language; by default that of the language with the evaluation's name.
    """
    if summary is None:
        language = recorded_language(evaluation.language)
        summary = language.summary if language else ""
    settings, way = evaluation.main.settings, "symbol by symbol"
    if isinstance(settings, ProtocolSettings):
        form = "conversation" if settings.chat else "plain text"
        way = f"protocol v{settings.version}, {form}, {settings.alphabet}, K = {settings.shots}"
    return f"{evaluation.model} on {evaluation.language}{f': {summary}' if summary else ''}; {way}"


def remarks(evaluation: Evaluation) -> list[str]:
    """Return the lines below the tables: missing answers, the verdicts, notes, and controls that were not run."""
    main = evaluation.main
    missing = sum(condition.unanswered for condition in evaluation.conditions)
    lines = [f"incomplete: {missing} answers are missing, and each counts as a failure"] if missing else []
    for name, outcome in (("greedy", main.greedy), ("drawn", main.drawn)):
        if outcome is not None and outcome.verdict is not None:
            lines.append(f"{name}: {outcome.verdict.text}")
    if main.rational:
        lines.append("rational learners of the training words, every open rule holds (docs/rational.md):")
        lines += [f"  {rates}" for rates in main.rational]
    lines += [f"note: {note}" for note in main.notes]
    return lines + [f"not run: {name}: {reason}" for name, reason in evaluation.skipped.items()]


def show(evaluation: Evaluation, title: str | None = None) -> None:
    """Print the tables, some completions, and the verdict.

    Args:
        evaluation: what is shown.
        title: the line above the table; by default that of `title_of`.
    """
    by_text = evaluation.protocol != "symbols"
    console = wide_console(200 if by_text else 140)
    console.print()
    headings, rows = rates_table(evaluation)
    left = [place for place, name in enumerate(headings) if name in ("prompts", "over all prompts", "95 % interval")]
    print_table(console, title or title_of(evaluation), (headings, rows), left=left)
    if len(evaluation.conditions) > len(evaluation.kinds):
        print_table(console, "controls: one parameter changed each", controls_table(evaluation), left=(0, 10))
    if by_text:
        print_table(console, "answers of all conditions", statuses_table(evaluation), left=(0, 3))
    lines = ["rules kept by prompt and finished completion, prompt │ greedy completion"]
    lines += sample_lines(sample for condition in evaluation.kinds.values() for sample in condition.samples)
    for line in [*lines, "", *remarks(evaluation)]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def wide_console(width: int) -> Console:
    """Return a console that is as wide as the terminal; a file or a pipe has no width, and gets the given one."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=width)


def print_table(console: Console, title: str, table: Table, *, left: Sequence[int]) -> None:
    """Print a table whose columns ``left`` are aligned to the left, and all others to the right."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    # What a server or a file said is no markup.
    shown = Table(title=Text(title), box=SIMPLE_HEAD, title_justify="left", pad_edge=False)
    headings, rows = table
    for place, name in enumerate(headings):
        shown.add_column(name, justify="left" if place in left else "right")
    for row in rows:
        shown.add_row(*map(Text, row))
    console.print(shown)


def sample_lines(samples: Iterable[Sample]) -> Iterator[str]:
    """Return a line for each sample: the rules that it keeps, the prompt and the completion."""
    for sample in samples:
        kept = " ".join(f"R{i}" if holds else "--" for i, holds in enumerate(sample.rules, start=1))
        yield f"  {kept}  {sample}"


def number(rate: Rate) -> str:
    """Two places; a dash where it is undefined."""
    return "-" if rate.rate is None else f"{rate.rate:.2f}"


def reference_number(rate: Rate) -> str:
    """Two places, with a tilde where the rate was sampled."""
    return f"{'' if rate.exact or rate.rate is None else '~'}{number(rate)}"


def interval(rate: Rate) -> str:
    """The 95 % interval in brackets."""
    return "" if rate.low is None or rate.exact else f"[{rate.low:.2f}, {rate.high:.2f}]"


def _not_greedy(condition: Condition) -> str:
    return "" if condition.greedy.is_greedy else ", not greedy"


def _counted(condition: Condition) -> list[tuple[str, Callable[[Report], Rate]]]:
    """What the table shows of a report and how to get it; the headline first."""
    lines: list[tuple[str, Callable[[Report], Rate]]]
    if condition.kind == "id":
        lines = [("a word of the language", lambda report: report.grammatical)]
    else:
        lines = [("every open rule holds (headline)", lambda report: report.headline)]
    for i, (name, rule) in enumerate(condition.greedy.report.rules.items(), start=1):
        lines.append((f"R{i}: {rule.summary}", lambda report, name=name: report.rules[name].word.all))  # type: ignore[misc]  # a default binds the name
    lines.append(("completion finished", lambda report: report.finished))
    if isinstance(condition.settings, ProtocolSettings):
        lines.append(("completion empty", lambda report: report.empty))
        lines.append(("completion unparsable or missing", lambda report: report.unparsable))
    return lines
