"""Print an evaluation as tables, for checkpoints and for models of text."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from textwrap import wrap
from typing import Literal, TypeAlias

from hf_ruleextrap.errors import WIDTH, folded
from hf_ruleextrap.formal import Rate, Report
from hf_ruleextrap.languages import recorded_language

from .protocol import ProtocolSettings
from .references import ALWAYS_STOP, CEILING, UNIFORM, heading, is_ngram
from .results import Condition, Evaluation, Sample

Table: TypeAlias = tuple[list[str], list[list[str]]]
"""The headings and the rows of cells."""

Decoding: TypeAlias = Literal["greedy", "drawn"]

KIND_NAMES = {"id": "in distribution", "ood": "out of distribution"}
"""The kinds of prompts in words, for the first column of a table."""


def rates_table(evaluation: Evaluation, decoding: Decoding = "greedy") -> Table:
    """Return all rates of the conditions that are no controls, each beside the references on the same prompts.

    The columns are the prompts, what is counted, the rate with its 95 % interval, the references, and the number of
    completions. Of the n-grams, the strongest is shown.

    Args:
        evaluation: The evaluation.
        decoding: Whether the completions are greedy or drawn.
    """
    ngram = strongest_ngram(evaluation.main)
    names = [UNIFORM, ALWAYS_STOP, *([ngram] if ngram else []), CEILING]
    headings = ["prompts", "over all prompts", decoding, "95 % interval", *map(heading, names), "n"]
    rows = []
    for condition in evaluation.kinds.values():
        if (outcome := getattr(condition, decoding)) is None:
            continue
        label = f"{KIND_NAMES[condition.kind]} ({condition.greedy.report.n})"
        label += _not_greedy(condition) if decoding == "greedy" else ""
        for what, rate_of in _counted(condition):
            rate = rate_of(outcome.report)
            reports = map(condition.references.get, names)
            references = ["-" if report is None else reference_number(rate_of(report)) for report in reports]
            rows.append([label, what, rate.rate_text, rate.interval_text, *references, str(rate.n)])
            label = ""
    return headings, rows


def controls_table(evaluation: Evaluation) -> Table:
    """Return a row for each condition, including the controls: the headline, chance and the strongest n-gram."""
    headings = ["condition", "greedy", "95 % interval", "drawn", heading(UNIFORM), "n-gram", "finished", "n"]
    rows = []
    for condition in evaluation.conditions:
        (_, rate_of), *_ = _counted(condition)
        report, ngram = condition.greedy.report, strongest_ngram(condition)
        rate = rate_of(report)
        cells = [rate.rate_text, rate.interval_text]
        cells.append("-" if condition.drawn is None else rate_of(condition.drawn.report).rate_text)
        cells.append(reference_number(rate_of(condition.chance)))
        cells.append(reference_number(rate_of(condition.references[ngram])) if ngram else "-")
        rows.append([condition.name + _not_greedy(condition), *cells, report.finished.rate_text, str(rate.n)])
    return headings, rows


def statuses_table(evaluation: Evaluation) -> Table:
    """Return the number of answers of each status over all conditions, the most frequent status first."""
    counts: dict[str, list[int]] = {}
    for condition in evaluation.conditions:
        for place, outcome in enumerate((condition.greedy, condition.drawn)):
            for status, n in (outcome.statuses if outcome else {}).items():
                counts.setdefault(status, [0, 0])[place] += n
    rows = [[status, str(g), str(d), evaluation.faults.get(status, "")] for status, (g, d) in counts.items()]
    return ["status", "greedy", "drawn", "fault"], sorted(rows, key=lambda row: -int(row[1]) - int(row[2]))


def strongest_ngram(condition: Condition) -> str:
    """Return the name of the n-gram with the highest headline on the condition's prompts, or an empty text."""
    (_, rate_of), *_ = _counted(condition)
    rates = {name: rate_of(report).rate or 0.0 for name, report in condition.references.items() if is_ngram(name)}
    return max(rates, key=rates.__getitem__, default="")


def title_of(evaluation: Evaluation, summary: str | None = None) -> str:
    """Return the model, the language and the protocol as a line.

    Args:
        evaluation: The evaluation.
        summary: The summary of the language; by default the summary of the known language of this name.
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
    """Return the lines below the tables: missing answers, verdicts, rational learners, notes, and skipped controls."""
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
        evaluation: The evaluation.
        title: The line above the table; by default the line that `title_of` returns.
    """
    texts = ("over all prompts",)
    print_table(title or title_of(evaluation), rates_table(evaluation), texts=texts, grouped=True)
    if any(condition.drawn for condition in evaluation.kinds.values()):
        print_table(
            "drawn completions of the same prompts", rates_table(evaluation, "drawn"), texts=texts, grouped=True
        )
    if len(evaluation.conditions) > len(evaluation.kinds):
        title = "controls, which change one parameter each"
        print_table(title, controls_table(evaluation), texts=("condition",))
        for condition in evaluation.conditions:
            if condition.greedy.verdict:
                print_line(f"{condition.name}: {condition.greedy.verdict.text}", indent=2)
    if evaluation.protocol != "symbols":
        print_table("answers of all conditions", statuses_table(evaluation), texts=("status", "fault"))
    print_line("rules that prompt and finished completion keep, prompt │ greedy completion")
    for line in sample_lines(sample for condition in evaluation.kinds.values() for sample in condition.samples):
        print_line(line, indent=11)
    print_line()
    for line in remarks(evaluation):
        print_line(line, indent=2)


def print_line(line: str = "", *, indent: int = 0) -> None:
    """Print a line. A line of more than `WIDTH` columns continues on the next line, indented."""
    print(folded(line, indent))


def print_table(title: str, table: Table, *, texts: Collection[str], grouped: bool = False) -> None:
    """Print a table of at most `WIDTH` columns. Headings and texts that are too long continue on the next line.

    Args:
        title: The line above the table.
        table: The headings and the rows.
        texts: The headings of the columns of texts, which are aligned to the left and shrink to fit.
        grouped: Whether the first column labels groups of rows. Each label then stands on a line above its rows.
    """
    headings, rows = table[0][grouped:], [row[grouped:] for row in table[1]]
    widths = [
        max([_heading_width(heading), *(len(row[place]) for row in rows)]) for place, heading in enumerate(headings)
    ]
    flexible = [place for place, heading in enumerate(headings) if heading in texts]
    while (excess := sum(widths) + 2 * (len(widths) - 1) - WIDTH) > 0 and flexible:
        widest = max(flexible, key=widths.__getitem__)
        others = max((widths[place] for place in flexible if place != widest), default=0)
        widths[widest] -= min(excess, max(1, widths[widest] - others))

    def print_row(cells: Sequence[str], *, at_the_bottom: bool = False) -> None:
        parts = [_parts(cell, width) for cell, width in zip(cells, widths, strict=True)]
        height = max(map(len, parts))
        empty = [[""] * (height - len(part)) for part in parts]
        columns = [(more + part if at_the_bottom else part + more) for part, more in zip(parts, empty, strict=True)]
        for line in zip(*columns, strict=True):
            aligned = [f"{cell:{'<' if place in flexible else '>'}{widths[place]}}" for place, cell in enumerate(line)]
            print("  ".join(aligned).rstrip())

    print(f"\n{folded(title)}\n")
    print_row(headings, at_the_bottom=True)
    print("─" * (sum(widths) + 2 * (len(widths) - 1)))
    for number, (row, cells) in enumerate(zip(table[1], rows, strict=True)):
        if grouped and row[0]:
            print(("\n" if number else "") + folded(row[0]))
        print_row(cells)
    print()


def _heading_width(heading: str) -> int:
    """Return the smallest width in which a heading fits on two lines."""
    longest_word = max(map(len, heading.split()))
    return next(width for width in range(longest_word, len(heading) + 1) if len(_parts(heading, width)) <= 2)


def _parts(cell: str, width: int) -> list[str]:
    return wrap(cell, width, break_on_hyphens=False) or [""]


def sample_lines(samples: Iterable[Sample]) -> Iterator[str]:
    """Return a line for each sample: the rules that it keeps, the prompt and the completion."""
    for sample in samples:
        kept = " ".join(f"R{i}" if holds else "--" for i, holds in enumerate(sample.rules, start=1))
        yield f"  {kept}  {sample}"


def reference_number(rate: Rate) -> str:
    """Return a rate with two decimal places, and with a tilde if the rate was sampled."""
    return f"{'' if rate.exact or rate.rate is None else '~'}{rate.rate_text}"


def _not_greedy(condition: Condition) -> str:
    return "" if condition.greedy.is_greedy else ", not greedy"


def _counted(condition: Condition) -> list[tuple[str, Callable[[Report], Rate]]]:
    """Return the name of each rate in the table and the function that reads it from a report, the headline first."""
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
