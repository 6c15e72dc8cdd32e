"""Tables, and their text in Markdown and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hf_ruleextrap.errors import one_line

from .statistics import Correlation, Spread

# The special characters of LaTeX, and signs that its fonts may lack.
_TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # At the beginning of a row, LaTeX reads these as arguments of the line break before the row.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "±": r"$\pm$",
    "·": r"$\cdot$",
    "→": r"$\rightarrow$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
}
# A line of one of these kinds begins a group after a line of another kind.
_GROUPS = ("ours", "reference")
# The end of the code points that pdfLaTeX sets without packages.
_LATIN = 0x180
# An ampersand is markup only at the beginning of a character reference.
_MARKDOWN = re.compile(r"([\\|*_<>`\[\]$~]|&(?=#?\w+;))")


@dataclass(frozen=True)
class Cell:
    """The text of a cell, and an interval for formats that have room for it."""

    text: str
    interval: str = ""


@dataclass(frozen=True)
class Line:
    """A line of a table and its kind, which determines its style."""

    kind: str
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: The LaTeX label.
        title: The title above the table.
        caption: The explanation below the table.
        headings: One heading for each column.
        lines: The rows.
        text_columns: The number of columns, from the left, that contain words.
        note: An explanation of several tables. Pages show it once above the tables, and LaTeX in each caption.
    """

    name: str
    title: str
    caption: str
    headings: Sequence[str]
    lines: Sequence[Line]
    text_columns: int
    note: str = ""

    @property
    def intervals(self) -> bool:
        """Whether any cell has an interval."""
        return any(cell.interval for line in self.lines for cell in line.cells)


@dataclass(frozen=True)
class Section:
    """A section of the report.

    Attributes:
        title: The title of the section.
        paragraphs: The paragraphs of its text.
        tables: The tables below the text.
        figures: The names of the figures below the text. A name whose figure was not drawn is skipped.
        verdict: The answer to the claim that is the title; empty for other sections.
    """

    title: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[str] = ()
    verdict: str = ""

    @property
    def anchor(self) -> str:
        """The name of the section in links."""
        return re.sub(r"\W+", "-", self.title.lower()).strip("-")


def number(value: float | None, digits: int = 2) -> str:
    """Return a number as text; a dash where it is undefined, and no sign before a number that is shown as 0.

    >>> number(-0.001), number(None), number(-0.26, 1)
    ('0.00', '-', '-0.3')
    """
    # Rounding first and adding 0 makes -0.0 a 0.0.
    return "-" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"


def interval(low: float | None, high: float | None, digits: int = 2) -> str:
    """Return an interval as text; empty where it is unknown."""
    return "" if low is None or high is None else f"[{number(low, digits)}, {number(high, digits)}]"


def correlation_text(correlation: Correlation) -> str:
    """Return a correlation with its interval and its number of runs."""
    if correlation.value is None:
        return f"undefined (n = {correlation.n})"
    ends = interval(correlation.low, correlation.high) or "no interval"
    return f"{number(correlation.value)} {ends} (n = {correlation.n})"


def unclear(estimate: Spread | Correlation) -> str:
    """Return the verdict "unclear" with its reason: the number of values, and the width of the 95 % interval."""
    if estimate.low is None or estimate.high is None:
        return f"unclear (n = {estimate.n})"
    return f"unclear (n = {estimate.n}, the interval is {number(estimate.high - estimate.low)} wide)"


CORRELATION_HEADINGS = ("n", "correlation", "95 % interval", "p", "corrected p")
"""The headings of `correlation_cells`."""


def correlation_cells(correlation: Correlation) -> list[Cell]:
    """Return the cells of a correlation in a table of correlations."""
    p_values = ["-" if p is None else f"{p:.4f}" for p in (correlation.p, correlation.corrected)]
    ends = interval(correlation.low, correlation.high) or "-"
    return [*map(Cell, [str(correlation.n), number(correlation.value), ends, *p_values])]


def cell(spread: Spread | None, *, digits: int, n: int | None) -> Cell:
    """Return the cell for a number.

    Args:
        spread: The mean of the number over runs, with its standard deviation.
        digits: The number of digits after the decimal point.
        n: The number of runs of the line; a cell shows its own number of runs where the two differ.

    >>> cell(Spread(0.5, 0.25, 3), digits=2, n=3).text, cell(Spread(0.5, None, 1), digits=2, n=3).text
    ('0.50 ± 0.25', '0.50 (1)')
    >>> cell(None, digits=2, n=3).text
    '-'
    """
    if spread is None or spread.mean is None:
        return Cell("-")
    text = number(spread.mean, digits) + ("" if spread.std is None else f" ± {number(spread.std, digits)}")
    return Cell(text if spread.n == n else f"{text} ({spread.n})", interval(spread.low, spread.high, digits))


def markdown(table: Table) -> str:
    """Return a table in GitHub's Markdown."""
    rule = [":--"] * table.text_columns + ["--:"] * (len(table.headings) - table.text_columns)
    lines = [[escape_markdown(cell.text) for cell in line.cells] for line in table.lines]
    every = [[escape_markdown(heading) for heading in table.headings], rule, *lines]
    body = "\n".join(f"| {' | '.join(cells)} |" for cells in every)
    parts = [f"### {escape_markdown(table.title)}", body, escape_markdown(table.caption)]
    return "\n\n".join(filter(None, parts)) + "\n"


def escape_markdown(text: str) -> str:
    r"""Return a text in one line that neither Markdown nor HTML reads as markup.

    >>> print(escape_markdown("a|b*"))
    a\|b\*
    """
    return _MARKDOWN.sub(r"\\\1", one_line(text))


def latex(table: Table) -> str:
    """Return a table in LaTeX with booktabs; a table that is wider than the text is shrunk."""
    columns = "l" * table.text_columns + "r" * (len(table.headings) - table.text_columns)
    lines = []
    for place, line in enumerate(table.lines):
        if place and line.kind in _GROUPS and table.lines[place - 1].kind != line.kind:
            lines.append("\\midrule")
        lines.append(" & ".join(escape_latex(cell.text) for cell in line.cells) + " \\\\")
    return "\n".join(
        [
            "\\begin{table}",
            "\\centering",
            f"\\caption{{{escape_latex(f'{table.title}. {table.caption or table.note}')}}}",
            f"\\label{{tab:{table.name}}}",
            "\\medskip",
            "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%",
            f"\\begin{{tabular}}{{{columns}}}",
            "\\toprule",
            " & ".join(escape_latex(heading) for heading in table.headings) + " \\\\",
            "\\midrule",
            *lines,
            "\\bottomrule",
            "\\end{tabular}}",
            "\\end{table}",
            "",
        ]
    )


def escape_latex(text: str) -> str:
    r"""Return a text in one line that LaTeX does not read as commands; signs that pdfLaTeX lacks become question marks.

    >>> print(escape_latex("a_b ± 5 %"))
    a\_b $\pm$ 5 \%
    """
    return "".join(_TEX.get(sign) or (sign if ord(sign) < _LATIN else "?") for sign in one_line(text))
