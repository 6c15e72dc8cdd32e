"""Tables once, and as Markdown, LaTeX and cells of a page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from hf_ruleextrap.errors import one_line

from .spread import Spread

# What LaTeX reads as its own, and signs that its fonts may lack.
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
    # At the beginning of a row these would belong to the end of the row before.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "±": r"$\pm$",
    "·": r"$\cdot$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
}
# A line of these kinds after one of another begins a group.
_GROUPS = ("ours", "reference")
# Where the letters end that pdfLaTeX sets without packages.
_LATIN = 0x180
# An ampersand is markup where it begins the name of a character.
_MARKDOWN = re.compile(r"([\\|*_<>`\[\]$~]|&(?=#?\w+;))")


@dataclass(frozen=True)
class Cell:
    """What stands in a cell; the interval where there is room for it."""

    text: str
    interval: str = ""


@dataclass(frozen=True)
class Line:
    """A line of a table, and of what kind it is."""

    kind: str
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: its LaTeX label.
        title: above it.
        caption: below it.
        headings: one a column.
        lines: the rows.
        text_columns: how many columns, from the left, hold words.
    """

    name: str
    title: str
    caption: str
    headings: Sequence[str]
    lines: Sequence[Line]
    text_columns: int

    @property
    def intervals(self) -> bool:
        """Whether any cell has one."""
        return any(cell.interval for line in self.lines for cell in line.cells)


@dataclass(frozen=True)
class Section:
    """A title, a text, and tables."""

    title: str
    paragraphs: Sequence[str]
    tables: Sequence[Table] = field(default_factory=list)


def cell(spread: Spread | None, *, digits: int, n: int | None) -> Cell:
    """A number as it stands in a table.

    Args:
        spread: the number.
        digits: behind the point.
        n: how many runs the line says it has; where the number has it of fewer, or the line says nothing, n is shown.

    >>> cell(Spread(0.5, 0.25, 3), digits=2, n=3).text, cell(Spread(0.5, None, 1), digits=2, n=3).text
    ('0.50 ± 0.25', '0.50 (1)')
    >>> cell(None, digits=2, n=3).text
    '-'
    """
    if spread is None or spread.mean is None:
        return Cell("-")
    text = f"{spread.mean:.{digits}f}" + ("" if spread.std is None else f" ± {spread.std:.{digits}f}")
    interval = "" if spread.low is None else f"[{spread.low:.{digits}f}, {spread.high:.{digits}f}]"
    return Cell(text if spread.n == n else f"{text} ({spread.n})", interval)


def markdown(table: Table) -> str:
    """A table as GitHub's Markdown has it."""
    rule = [":--"] * table.text_columns + ["--:"] * (len(table.headings) - table.text_columns)
    lines = [[escape_markdown(cell.text) for cell in line.cells] for line in table.lines]
    every = [[escape_markdown(heading) for heading in table.headings], rule, *lines]
    body = "\n".join(f"| {' | '.join(cells)} |" for cells in every)
    return f"### {escape_markdown(table.title)}\n\n{body}\n\n{escape_markdown(table.caption)}\n"


def escape_markdown(text: str) -> str:
    r"""A text that is not to be read as markup, in one line: neither as Markdown nor as HTML.

    >>> print(escape_markdown("a|b*"))
    a\|b\*
    """
    return _MARKDOWN.sub(r"\\\1", one_line(text))


def latex(table: Table) -> str:
    """A table as LaTeX has it, with booktabs, shrunk to the width of the text where it is wider."""
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
            f"\\caption{{{escape_latex(f'{table.title}. {table.caption}')}}}",
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
    r"""A text that is not to be read as commands, in one line; a sign that pdfLaTeX lacks is a question mark.

    >>> print(escape_latex("a_b ± 5 %"))
    a\_b $\pm$ 5 \%
    """
    return "".join(_TEX.get(sign) or (sign if ord(sign) < _LATIN else "?") for sign in one_line(text))
