"""Write the report of a study as Markdown, CSV, LaTeX, and one HTML page that needs no other file."""

from __future__ import annotations

import csv
import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from hf_ruleextrap import __version__
from hf_ruleextrap.errors import RuleExtrapError, counted
from hf_ruleextrap.files import hold, replacing, write_text, writing
from hf_ruleextrap.languages import is_file, not_run

from .analysis import analyze
from .answer import METHOD, claims
from .claim_tables import tables_of_claims
from .network_complexity import code_lengths
from .read import Study
from .record import HEADLINE, REFERENCES, Run
from .rows import COLUMNS, PAPER, SOURCES, WITHOUT_MODEL, Row, Way, all_rows, in_chomsky_order, language_of, level_of
from .store import FILE, write_store
from .stream_section import METHOD as STREAM_METHOD
from .stream_section import code_length_section
from .style import COLOURS, GREY, SHADE
from .tables import Cell, Line, Section, Table, cell, escape_markdown, latex, markdown

if TYPE_CHECKING:
    from .figures import Picture

_NOTES: dict[Way, str] = {
    "corrected": (
        "Corrected rates are over all prompts: a completion that did not finish, or that contains a token that is not "
        "a symbol, is a failure. Each number is the mean ± standard deviation over n runs; a number in brackets is the "
        "number of runs where it is smaller than n. The loss is in nats per token, without PAD. Chance draws symbols "
        "and the end uniformly. A reference is the mean over the prompts, or the test words, of n runs. The means of a "
        "model are over the runs that have learned the language; the other runs have lines of their own, in grey. A "
        "line states how many of its runs diverged; the numbers of such a run are those of its last checkpoint before."
    ),
    "reproduced": (
        "Reproduced rates are those of the authors' recipes, counted in the authors' way: rates among finished "
        "completions, and the loss with PAD. Best check is the largest value of each rate over a run's evaluations, as "
        "in the authors' tables; this value is biased upwards. Lowest loss takes all rates at the evaluation with the "
        "lowest validation loss. Where no completion finished, a rate is undefined here and 0 in the authors' tables. "
        "Each number is the mean ± standard deviation over n runs."
    ),
}
_TITLES: dict[Way, str] = {"corrected": "corrected, over all prompts", "reproduced": "reproduced, the authors' way"}
_COLUMNS_OF: dict[Way, list[str]] = {
    "corrected": list(COLUMNS),
    "reproduced": [column for column in COLUMNS if column not in ("excess", HEADLINE)],
}
_RECORDED = (
    *("parameters", "steps", "best_step", "checkpoint_step", "learned", "learned_at", "diverged_at"),
    *("test_loss", "test_floor", "excess", "excess_error"),
)
_STATES = {"": "", "not learned": ": not learned", "unknown": ": unknown whether learned"}


def write_report(study: Study, out: str | Path, *, wait: bool = False) -> list[Path]:
    """Write a study's report as ``report.md``, ``report.tex``, ``index.html`` and ``figures/``.

    Beside them stand the numbers of the tables (``report.csv``), those of the runs with six digits (``runs.csv``), and
    the study itself (``runs.parquet``), from which `read_study` gives the same report.

    Args:
        study: The study that `read_study` returns.
        out: The folder for the files; files of the same name are replaced.
        wait: Whether to wait while another process writes a report into the folder.

    Returns:
        The paths of the files.

    Raises:
        RuleExtrapError: If the study is empty, ``out`` cannot be a folder, or matplotlib is not installed.
    """
    if not study.runs and not study.rows:
        advice = "run a sweep first"
        if study.missing:
            name, reason = next(iter(study.missing.items()))
            advice = f"{counted(len(study.missing), 'run has')} none; {name}: {reason}"
        raise RuleExtrapError(f"there are no results to report: {advice}")
    if find_spec("matplotlib") is None:
        raise RuleExtrapError("the report's figures need matplotlib: pip install 'hf-ruleextrap[plot]'")
    folder = Path(out)
    with hold(folder, wait=wait), writing(folder):
        (folder / "figures").mkdir(exist_ok=True)
        return _write_files(study, folder)


def _write_files(study: Study, folder: Path) -> list[Path]:
    from .figures import draw_all

    # A run on a stream answers what is hard to learn. Its rates belong to no claim.
    runs = [run for run in study.runs if run.code_length is None]
    rows = all_rows(runs, study.rows)
    analysis = analyze(runs, rows)
    lengths = code_lengths(study.runs, analysis.main)
    pictures, absent = draw_all(runs, analysis, folder / "figures", lengths=lengths)
    with TemporaryDirectory() as scratch:
        narrow, _ = draw_all(runs, analysis, Path(scratch), narrow=True, lengths=lengths)
        drawings = {
            name: {"picture": picture, "broad": _inline(picture, "broad"), "slim": _inline(narrow[name], "slim")}
            for name, picture in pictures.items()
        }
    answers = claims(analysis) if rows else []
    if lengths is not None:
        answers.append(code_length_section(lengths))
    # The answers show their own figures, and the other figures have a section of their own.
    others = [name for name in pictures if not any(name in section.figures for section in answers)]
    method = [*(METHOD if rows else ()), *(STREAM_METHOD if lengths is not None else ()), *_origin(study)]
    if rows:
        method.append(f"The authors' numbers: {PAPER['source']}. {PAPER['note']}")
    sections = [
        *answers,
        *([Section("Tables of the claims", tables=tables)] if (tables := tables_of_claims(analysis)) else []),
        *_languages(rows),
        *([Section("Other figures", absent, figures=others)] if rows else []),
        Section("Method", method),
    ]
    text = {
        folder / "report.md": _markdown(sections, pictures),
        folder / "report.tex": _latex(sections),
        folder / "index.html": _page(sections, drawings),
    }
    for path, content in text.items():
        write_text(path, content)
    _write_csv(folder / "report.csv", map(_tidy, rows))
    _write_csv(folder / "runs.csv", ([_run_line(run)] for run in study.runs))
    store = write_store(folder / FILE, study.runs, study.missing, study.rows)
    figures = [path for picture in pictures.values() for path in picture.files]
    return sorted([*text, folder / "report.csv", folder / "runs.csv", store, *figures])


def _languages(rows: Sequence[Row]) -> list[Section]:
    """Return a section with the notes of all tables, and a section for each language, with a table for each way."""
    ways = [way for way in _NOTES if any(row.way == way for row in rows)]
    notes = [_NOTES[way] for way in ways]
    if "reproduced" in ways and not any(row.source == "best_check" for row in rows):
        notes.append("No run of an authors' recipe is in this study.")
    sections = [Section("Tables of the languages", notes)] if rows else []
    for name in in_chomsky_order(row.language for row in rows):
        by_way = {way: [row for row in rows if (row.language, row.way) == (name, way)] for way in ways}
        tables = [_table(name, way, way_rows) for way, way_rows in by_way.items() if way_rows]
        sections.append(Section(name, [_about(name)], tables))
    return sections


def _about(name: str) -> str:
    language = language_of(name)
    if language is None:
        unknown = "This version of the package does not have the language, so the rules are unknown."
        return not_run(name) if is_file(name) else unknown
    rules = " ".join(f"R{i}: {rule.summary}." for i, rule in enumerate(language.rules, start=1))
    return f"{language.summary} ({language.level}). {rules}"


def _table(name: str, way: Way, rows: Sequence[Row]) -> Table:
    columns = [column for column in _COLUMNS_OF[way] if any(column in row.values for row in rows)]
    lines = [_line(row, columns) for row in rows]
    headings = ["model", *(["numbers"] if way == "reproduced" else []), "n", *(COLUMNS[c].heading for c in columns)]
    return Table(
        re.sub(r"\W+", "-", f"{name}-{way}"),
        f"{name}, {_TITLES[way]}",
        "",
        headings,
        lines,
        2 if way == "reproduced" else 1,
        note=_NOTES[way],
    )


def _line(row: Row, columns: Sequence[str]) -> Line:
    kind = "reference" if row.source in WITHOUT_MODEL else row.source if row.source in SOURCES else "other"
    diverged = f" ({row.diverged} diverged)" if row.diverged else ""
    head = [Cell(f"{row.label}{_STATES[row.state]}{diverged}")]
    if row.way == "reproduced":
        head = [Cell(row.label if row.name else ""), Cell(SOURCES.get(row.source, row.source))]
    runs = f"{row.n} of {row.total}" if row.total else str(row.n)
    cells = [cell(row.values.get(column), digits=COLUMNS[column].digits, n=row.n) for column in columns]
    if kind == "reference":
        # References differ between runs only by the prompts, so an interval over runs would be meaningless.
        cells = [Cell(shown.text) for shown in cells]
    return Line("quiet" if row.state else kind, [*head, Cell(runs), *cells])


def _origin(study: Study) -> list[str]:
    """Return paragraphs on the runs, their machines, and the runs without results."""
    runs = study.runs
    paragraphs = []
    if runs:
        devices = ", ".join(sorted({run.device for run in runs}))
        torch = ", ".join(sorted({str(run.torch) for run in runs}))
        hours = sum(run.train_seconds + run.evaluate_seconds for run in runs) / 3600
        paper = sum(run.recipe.paper for run in runs)
        paragraphs.append(
            f"The study has {counted(len(runs), 'run')}, of which {paper} {'is' if paper == 1 else 'are'} of the "
            f"authors' recipes. Training and evaluation took {hours:.2f} hours on {devices}, with hf-ruleextrap "
            f"{__version__} and torch {torch}."
        )
    diverged = [f"{run.key} at step {run.diverged_at}" for run in runs if run.diverged_at is not None]
    if diverged:
        paragraphs.append(
            f"The validation loss of {counted(len(diverged), 'run')} diverged ({'; '.join(diverged)}). The numbers of "
            "such a run are those of a checkpoint before that step."
        )
    others = sorted({f"{row.name} ({row.source})" for row in study.rows if row.name})
    if others:
        paragraphs.append(f"Results of other sources: {', '.join(others)}.")
    if study.missing:
        listed = "; ".join(f"{name}: {reason}" for name, reason in study.missing.items())
        paragraphs.append(
            f"{counted(len(study.missing), 'run has')} no results ({listed}). Runs without results are in no number of "
            "this report."
        )
    return paragraphs


def _markdown(sections: Sequence[Section], pictures: Mapping[str, Picture]) -> str:
    return "\n".join(["# Rule extrapolation\n", *(_markdown_section(section, pictures) for section in sections)])


def _markdown_section(section: Section, pictures: Mapping[str, Picture]) -> str:
    title = f"{section.title}: {section.verdict}" if section.verdict else section.title
    parts = [f"## {escape_markdown(title)}\n", *(f"{escape_markdown(text)}\n" for text in section.paragraphs)]
    for picture in (pictures[name] for name in section.figures if name in pictures):
        image = f"![{escape_markdown(picture.title)}](figures/{picture.name}.png)"
        parts.append(f"{image}\n\n{escape_markdown(picture.caption)}\n")
    return "\n".join([*parts, *map(markdown, section.tables)])


def _latex(sections: Sequence[Section]) -> str:
    head = "% \\input this. It needs \\usepackage{booktabs,graphicx}.\n"
    return "\n".join([head, *(latex(table) for section in sections for table in section.tables)])


def _page(sections: Sequence[Section], figures: Mapping[str, Mapping[str, object]]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, autoescape=True)
    return templates.get_template("page.html").render(sections=sections, figures=figures)


# The colours of the figures, which the page shows by names that have other values in the dark.
_PAGE_COLOURS = {
    "#000000": "text",
    "#ffffff": "page",
    SHADE: "shade",
    GREY: "grey",
    **{colour.lower(): f"c{place}" for place, colour in enumerate((*COLOURS, "#999999"), start=1)},
}


def _inline(picture: Picture, form: str) -> str:
    """Return an SVG as an element of a page: unique ids, the colours of the page, and a title for screen readers."""
    text = picture.svg.read_text(encoding="utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{picture.name}-{form}-", text)
    text = re.sub("#[0-9a-f]{6}", lambda colour: _page_colour(colour[0]), text)
    return text.replace("<svg", f'<svg role="img" aria-label="{html.escape(picture.title)}"', 1)


def _page_colour(colour: str) -> str:
    return f"var(--{_PAGE_COLOURS[colour]})" if colour in _PAGE_COLOURS else colour


def _write_csv(path: Path, groups: Iterable[Sequence[dict[str, object]]]) -> None:
    lines = [line for group in groups for line in group]
    with replacing(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        # The results of another version may lack some columns.
        writer = csv.DictWriter(file, list(dict.fromkeys(key for line in lines for key in line)))
        writer.writeheader()
        writer.writerows({name: _inert(value) for name, value in line.items()} for line in lines)


def _inert(value: object) -> object:
    """Return a cell that no spreadsheet program takes for a formula: an apostrophe marks a text as text."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _tidy(row: Row) -> list[dict[str, object]]:
    """Return a line for each number of a row."""
    return [
        {
            "language": row.language,
            "level": level_of(row.language),
            "way": row.way,
            "source": row.source,
            "model": row.name,
            "variant": row.variant,
            "state": row.state,
            "column": column,
            **asdict(spread),
        }
        for column, spread in row.values.items()
    ]


def _run_line(run: Run) -> dict[str, object]:
    """Return the line of a run: its numbers over all prompts, and its references."""
    recipe = run.recipe
    line: dict[str, object] = {
        "run": run.key,
        "language": recipe.language,
        "level": level_of(recipe.language),
        "architecture": recipe.architecture,
        "paper": recipe.paper,
        "seed": recipe.seed,
        **{name: getattr(run, name) for name in _RECORDED},
        "learned": {True: "yes", False: "no", None: "unknown"}[run.learned],
        "excess_code_bits": None if run.code_length is None else run.code_length.excess_bits,
        "test_loss_with_padding": run.test_loss_with_padding,
        "test_floor_with_padding": run.test_floor_with_padding,
    }
    for column, rate in run.rates.items():
        line |= {column: rate.rate, **{f"{column}_{part}": getattr(rate, part) for part in ("low", "high", "n")}}
    for name in REFERENCES:
        line[f"{HEADLINE}_{name}"] = run.reference_rate(name)
    line |= {"seconds": run.train_seconds, "git_commit": run.git_commit}
    # The Parquet file has all digits.
    return {name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in line.items()}
