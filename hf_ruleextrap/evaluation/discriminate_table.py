"""A discrimination as a table people read."""

from __future__ import annotations

from hf_ruleextrap.formal import Language

from .discrimination import Accuracy, Discrimination
from .references import UNIFORM, heading
from .table import print_table, wide_console


def rows(found: Discrimination) -> tuple[list[str], list[list[str]]]:
    """The headings and the cells: rule, accuracy, interval, chance, each n-gram, pairs, ties, words."""
    names = list(dict.fromkeys(name for rule in found.rules for name in rule.references))
    headings = [
        "the word is more likely (over pairs)",
        "accuracy",
        "95 % interval",
        heading(UNIFORM),
        *names,
        "pairs",
        "ties",
        "words",
    ]
    cells = []
    for i, rule in enumerate(found.rules, start=1):
        accuracy = rule.accuracy
        numbers = [_number(accuracy), f"[{accuracy.low:.2f}, {accuracy.high:.2f}]" if accuracy else ""]
        numbers += [f"{found.chance:.2f}", *(_number(rule.references.get(name)) for name in names)]
        numbers += [str(accuracy.n), str(accuracy.ties)] if accuracy else ["0", "0"]
        cells.append([f"R{i}: {rule.summary}", *numbers, str(rule.words)])
    return headings, cells


def remarks(found: Discrimination) -> list[str]:
    """The lines below the table: the verdict of each rule, or why it has none, and what a reader should know."""
    lines = []
    for i, rule in enumerate(found.rules, start=1):
        lines.append(f"R{i}: {rule.verdict or f'not asked: {rule.reason}'}")
        if rule.other_length:
            lines.append(f"R{i}: in {rule.other_length} pairs the two words differ in length")
        if rule.skipped:
            lines.append(
                f"R{i}: {rule.skipped} pairs are left out, since too few context lines begin with neither word"
            )
    return lines


def show(found: Discrimination, language: Language) -> None:
    """Print the table and the remarks."""
    console = wide_console(140)
    form = (
        "symbol by symbol"
        if found.protocol == "symbols"
        else f"protocol {found.protocol}, K = {found.settings['shots']}"
    )
    title = f"{found.model} on {language.name}: {language.summary}; {form}"
    console.print()
    print_table(console, title, rows(found), left=(0, 2))
    for line in remarks(found):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _number(accuracy: Accuracy | None) -> str:
    return "-" if accuracy is None else f"{accuracy.rate:.2f}"
