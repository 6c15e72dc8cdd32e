"""The report of a study as files: Markdown, CSV, LaTeX, and one page of HTML that needs no other file."""

from __future__ import annotations

import csv
import html
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

from hf_ruleextrap import __version__
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.languages import get_language
from hf_ruleextrap.train.results import Results

from .rows import COLUMNS, PAPER, SOURCES, Row, Spread, summarize

_NOTES = (
    "Mean ± standard deviation over seeds (n). *Over all prompts*: a completion that did not end counts as a failure. "
    "*Finished only*: among completions that ended, at the lowest validation loss, the loss with PAD positions, as in "
    "the authors' tables.",
    "*Authors*: larger models, words of up to 256 symbols, and of each rate its best validation check; no target for "
    "recipes of other sizes. " + PAPER["note"],
    "*Chance*: uniformly random symbols and an end, on the same prompts.",
)


def write_report(results: Sequence[Results], out: str | Path) -> list[Path]:
    """Write ``report.md``, ``report.csv``, ``report.tex``, ``index.html`` and ``figures/``.

    Args:
        results: of `hf_ruleextrap.train.sweep.read_store`.
        out: a folder; files of the same name are replaced.

    Returns:
        The files.

    Raises:
        RuleExtrapError: no results, or matplotlib is not installed.
    """
    if not results:
        raise RuleExtrapError("there are no results to report: run a sweep first")
    if find_spec("matplotlib") is None:
        raise RuleExtrapError("the report's figures need matplotlib: pip install 'hf-ruleextrap[plot]'")
    from .figures import draw_all

    folder = Path(out)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    rows = summarize(results)
    drawn = draw_all(results, folder / "figures")
    files = {
        folder / "report.md": _markdown(rows, results, drawn),
        folder / "report.tex": _latex(rows),
        folder / "index.html": _page(rows, results, drawn),
    }
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    _write_csv(rows, folder / "report.csv")
    pictures = [path for path, _ in drawn] + [path.with_suffix(".png") for path, _ in drawn]
    return sorted([*files, folder / "report.csv", *pictures])


def shown(spread: Spread | None, *, mark: str = "±") -> str:
    """A number as it stands in a table.

    >>> shown(Spread(0.5, 0.25, 3)), shown(Spread(0.5, None, 1)), shown(Spread(None, None, 0))
    ('0.50 ± 0.25', '0.50', '-')
    """
    if spread is None or spread.mean is None:
        return "-"
    return f"{spread.mean:.2f}" + ("" if spread.std is None else f" {mark} {spread.std:.2f}")


def _cells(row: Row, *, mark: str = "±") -> list[str]:
    name = f"{row.architecture} {row.variant}".strip()
    runs = max(spread.n for spread in row.values.values())
    source = SOURCES[row.source] + ("" if row.source == "chance" else f" ({runs})")
    return [name, source, *(shown(row.values.get(column), mark=mark) for column in COLUMNS)]


_HEADINGS = ["architecture", "numbers (n)", *COLUMNS.values()]


def _tables(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    return [(name, list(group)) for name, group in groupby(rows, key=lambda row: row.language)]


def _about(name: str, results: Sequence[Results]) -> str:
    """A language, the entropy floor of its test words, and its rules."""
    language = get_language(name)
    floors = {run.test.floor for run in results if run.recipe.language == name and run.test.floor is not None}
    floor = f" The data's own entropy: {min(floors):.3f} nats per token." if floors else ""
    rules = " ".join(f"R{i}: {rule.summary}." for i, rule in enumerate(language.rules, start=1))
    return f"{language.summary} ({language.level}). {rules}{floor}"


def _markdown(rows: Sequence[Row], results: Sequence[Results], drawn: Sequence[tuple[Path, str]]) -> str:
    parts = ["# Rule extrapolation\n", _origin(results) + "\n"]
    parts += [f"- {note}" for note in _NOTES]
    for name, of_language in _tables(rows):
        parts += [f"\n## {name}\n", _about(name, results) + "\n", _line(_HEADINGS), "|---" * len(_HEADINGS) + "|"]
        parts += [_line(_cells(row)) for row in of_language]
    for path, caption in drawn:
        parts.append(f"\n![{caption}](figures/{path.with_suffix('.png').name})\n\n{caption}")
    parts.append(f"\nThe authors' numbers: {PAPER['source']}.\n")
    return "\n".join(parts)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _origin(results: Sequence[Results]) -> str:
    devices = ", ".join(sorted({run.timing.device for run in results}))
    torch = ", ".join(sorted({str(run.versions.get("torch")) for run in results}))
    hours = sum(run.timing.train_seconds + run.timing.evaluate_seconds for run in results) / 3600
    made = f"hf-ruleextrap {__version__}, torch {torch}"
    return f"{len(results)} runs, {hours:.2f} hours of one worker each on {devices}; {made}."


def _write_csv(rows: Sequence[Row], path: Path) -> None:
    statistics: list[tuple[str, Callable[[Spread], float | None]]] = [
        ("mean", lambda spread: spread.mean),
        ("std", lambda spread: spread.std),
        ("n", lambda spread: spread.n),
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        names = [f"{column}_{name}" for column in COLUMNS for name, _ in statistics]
        writer.writerow(["language", "architecture", "variant", "source", *names])
        empty = Spread(None, None, 0)
        for row in rows:
            values = [get(row.values.get(column, empty)) for column in COLUMNS for _, get in statistics]
            head = [row.language, row.architecture, row.variant, row.source]
            writer.writerow([*head, *("" if value is None else value for value in values)])


def _latex(rows: Sequence[Row]) -> str:
    parts = ["% Needs \\usepackage{booktabs}."]
    for name, of_language in _tables(rows):
        parts += [f"% {name}", f"\\begin{{tabular}}{{ll{'r' * len(COLUMNS)}}}", "\\toprule"]
        parts += [" & ".join(_HEADINGS) + " \\\\", "\\midrule"]
        parts += [" & ".join(_cells(row, mark="$\\pm$")).replace("_", "\\_") + " \\\\" for row in of_language]
        parts += ["\\bottomrule", "\\end{tabular}", ""]
    return "\n".join(parts)


def _page(rows: Sequence[Row], results: Sequence[Results], drawn: Sequence[tuple[Path, str]]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, autoescape=True)
    pictures = [(_inline(path), caption) for path, caption in drawn]
    tables = [
        (name, _about(name, results), [(row.source, _cells(row)) for row in of_language])
        for name, of_language in _tables(rows)
    ]
    notes = [html.escape(note, quote=False).replace("*", "") for note in _NOTES]
    return templates.get_template("page.html").render(
        origin=_origin(results),
        notes=notes,
        headings=_HEADINGS,
        tables=tables,
        pictures=pictures,
        source=PAPER["source"],
    )


def _inline(path: Path) -> str:
    """An SVG without what stands before its element."""
    text = path.read_text(encoding="utf-8")
    return text[text.index("<svg") :]
