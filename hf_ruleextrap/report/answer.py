"""The question of the study, answered from its numbers: who keeps which rule, and does level or loss tell?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hf_ruleextrap.formal import LEVELS
from hf_ruleextrap.train.results import Results

from .rows import Row, architectures, in_chomsky_order, language_of, level_of, source_of, variants
from .spread import Correlation, Spread, rank_correlation
from .tables import Cell, Line, Section, Table, cell

_MARKS = {"above": "↑", "below": "↓", "open": "·"}
_RULES = {
    "ood_headline": "every open rule",
    "ood_r1": "R1",
    "ood_r2_completion": "R2 on the completion",
    "ood_finished": "completion finished",
}


@dataclass(frozen=True)
class Point:
    """One run as a point.

    Attributes:
        language: its name.
        model: architecture and variant.
        max_length: most symbols in a word of its data.
        loss: test loss without PAD, less the floor where that is known, in nats per token.
        floor: whether it is.
        rate: of OOD prompts, every open rule holds.
    """

    language: str
    model: tuple[str, str]
    max_length: int
    loss: float
    floor: bool
    rate: float


@dataclass(frozen=True)
class LossCorrelations:
    """Test loss and OOD rate over runs: within each language, within all of them together, and pooled.

    Pooled, a difference between languages looks like one between models (Simpson's paradox), so both are there. In the
    intervals the seeds of a model count as one, where there are several models.
    """

    languages: dict[str, Correlation]
    within: Correlation
    pooled: Correlation


def points(runs: Sequence[Results]) -> list[Point]:
    """The runs of the corrected recipes that have both numbers; none that was trained on OOD prompts."""
    found = []
    for language in in_chomsky_order(run.recipe.language for run in runs):
        plain = [run for run in runs if run.recipe.language == language and source_of(run.recipe) == "ours"]
        for model, group in variants(plain).items():
            for run in group:
                rate, test = run.best.kinds["ood"].report.headline.rate, run.test_without_padding
                if rate is not None and math.isfinite(test.loss):
                    loss = test.loss - (test.floor or 0.0)
                    found.append(Point(language, model, run.recipe.max_length, loss, test.floor is not None, rate))
    return found


def loss_correlations(found: Sequence[Point]) -> LossCorrelations:
    """Of loss and rate. Pooled are the languages whose floor is known, since losses above it can be compared."""
    names = list(dict.fromkeys(point.language for point in found))
    of_language = {name: [point for point in found if point.language == name] for name in names}
    return LossCorrelations(
        languages={name: _correlation(group) for name, group in of_language.items()},
        within=_correlation(found, stratified=True),
        pooled=_correlation([point for point in found if point.floor]),
    )


def _correlation(found: Sequence[Point], *, stratified: bool = False) -> Correlation:
    models = [(point.language, point.model) for point in found]
    return rank_correlation(
        [point.loss for point in found],
        [point.rate for point in found],
        units=models if len(set(models)) > 1 else None,
        strata=[point.language for point in found] if stratified else None,
    )


Levels = dict[str, tuple[Correlation, Correlation]]


def level_correlations(rows: Sequence[Row]) -> Levels:
    """Of each model, over languages: level and mean OOD rate; level and the rate's way from chance to the ceiling."""
    ours = [row for row in rows if row.source == "ours" and level_of(row.language) in LEVELS]
    labels = {label: None for name in architectures(row.name for row in ours) for label in _labels(ours, name)}
    return {label: _of_levels([row for row in ours if row.label == label], rows) for label in labels}


def _labels(rows: Sequence[Row], name: str) -> list[str]:
    return [row.label for row in rows if row.name == name]


def _of_levels(ours: Sequence[Row], rows: Sequence[Row]) -> tuple[Correlation, Correlation]:
    raw = [(row.language, _mean(row, "ood_headline")) for row in ours]
    scaled = []
    for language, rate in raw:
        chance, ceiling = (reference(rows, language, source, "ood_headline") for source in ("uniform", "oracle"))
        known = rate is not None and chance is not None and ceiling is not None and ceiling > chance
        scaled.append((language, (rate - chance) / (ceiling - chance) if known else None))  # type: ignore[operator]  # known
    return _with_level(raw), _with_level(scaled)


def _with_level(found: Sequence[tuple[str, float | None]]) -> Correlation:
    known = [(LEVELS.index(level_of(language)), rate) for language, rate in found if rate is not None]
    return rank_correlation([level for level, _ in known], [rate for _, rate in known])


def reference(rows: Sequence[Row], language: str, source: str, column: str) -> float | None:
    """A reference's mean on the prompts of the corrected runs."""
    return next((_mean(row, column) for row in rows if _is(row, language, source)), None)


def _is(row: Row, language: str, source: str) -> bool:
    return (row.language, row.source, row.way) == (language, source, "corrected")


def _mean(row: Row, column: str) -> float | None:
    spread = row.values.get(column)
    return None if spread is None else spread.mean


def verdict(row: Row, column: str, chance: float | None) -> str | None:
    """Whether a mean rate is told from chance: ``above``, ``below`` or ``open``; None where one is not defined.

    Two intervals must say so: that of the mean over runs, where there are two of them, and the mean of the runs' own
    over their prompts. The first alone has no width where the runs agree.
    """
    spread, rates = row.values.get(column), row.rates.get(column, ())
    if spread is None or spread.mean is None or chance is None:
        return None
    lows = [spread.low, _average([rate.low for rate in rates])]
    highs = [spread.high, _average([rate.high for rate in rates])]
    if all(low is None for low in lows):
        return None
    if min(low for low in lows if low is not None) > chance:
        return "above"
    return "below" if max(high for high in highs if high is not None) < chance else "open"


def _average(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def answer(runs: Sequence[Results], rows: Sequence[Row]) -> Section:
    """The text at the top of the report. All of it is computed."""
    ours = [row for row in rows if row.source == "ours"]
    title = "Which architecture keeps which rule?"
    if not ours:
        return Section(title, ["No run of a corrected recipe is here, and in the authors' way it cannot be answered."])
    levels, losses = level_correlations(rows), loss_correlations(points(runs))
    paragraphs = [_who(ours, rows), _from_level(levels, rows), _from_loss(losses)]
    return Section(title, paragraphs, [_matrix(ours, rows), _correlations(levels, losses)])


def _who(ours: Sequence[Row], rows: Sequence[Row]) -> str:
    verdicts = [verdict(row, "ood_headline", reference(rows, row.language, "uniform", "ood_headline")) for row in ours]
    counts = {name: verdicts.count(name) for name in (*_MARKS, None)}
    least, most = min(row.n for row in ours), max(row.n for row in ours)
    seeds = f"{least}" if least == most else f"{least} to {most}"
    text = (
        f"Pairs of a language and a model: {len(ours)}, with {seeds} runs each. The rate at which every open rule "
        f"holds on OOD prompts is above chance in {counts['above']} of them, below it in {counts['below']}, and not "
        f"told from it in {counts['open']}"
    )
    text += f"; {counts[None]} have no such rate." if counts[None] else "."
    best = [_best(ours, language) for language in in_chomsky_order(row.language for row in ours)]
    return f"{text} Highest mean: {'; '.join(filter(None, best))}."


def _best(ours: Sequence[Row], language: str) -> str:
    known = [row for row in ours if row.language == language and _mean(row, "ood_headline") is not None]
    if not known:
        return ""
    top = max(_mean(row, "ood_headline") or 0.0 for row in known)
    names = [row.label for row in known if _mean(row, "ood_headline") == top]
    return f"{language} {' and '.join(names)} ({top:.2f}, n = {max(row.n for row in known)})"


def _from_level(found: Levels, rows: Sequence[Row]) -> str:
    head = "Does it follow from the Chomsky level?"
    languages = {row.language for row in rows if row.source == "ours"}
    levels = {level_of(name) for name in languages} & set(LEVELS)
    if len(languages) < 3 or len(levels) < 2:
        return f"{head} It takes three languages on two levels to ask; here are {len(languages)} on {len(levels)}."
    scaled = {label: scaled for label, (_, scaled) in found.items()}
    return (
        f"{head} Chance and ceiling differ between languages, so the rate is taken as the share of the way from one to "
        f"the other. Its rank correlation with the level, over {len(languages)} languages: {_listed(scaled)}. "
        + _conclusion(scaled, "level", "falls as the level rises", "rises with the level")
    )


def _from_loss(found: LossCorrelations) -> str:
    within = {"within languages": found.within}
    return (
        f"Or from the test loss? The rank correlation of loss and rate over runs, within languages: {found.within}; "
        f"pooled over languages, where a difference between languages looks like one between models: {found.pooled}. "
        + _conclusion(within, "test loss", "falls as the loss rises", "rises with the loss")
    )


def _listed(found: Mapping[str, Correlation]) -> str:
    return "; ".join(f"{name} {correlation}" for name, correlation in found.items())


def _conclusion(found: Mapping[str, Correlation], cause: str, falls: str, rises: str) -> str:
    """What the intervals say, and no more."""
    known = {name: (c.low, c.high) for name, c in found.items() if c.low is not None and c.high is not None}
    if not known:
        return f"There is no interval, so nothing can be said of the {cause}."
    down = [name for name, (_, high) in known.items() if high < 0]
    up = [name for name, (low, _) in known.items() if low > 0]
    said = [f"the rate {what} ({', '.join(names)})" for what, names in ((falls, down), (rises, up)) if names]
    if not said:
        return f"No interval leaves out 0: these runs do not show that it follows from the {cause}."
    rest = [name for name in found if name not in (*down, *up)]
    return f"By the intervals, {' and '.join(said)}" + (f"; not shown for {', '.join(rest)}." if rest else ".")


def _correlations(levels: Levels, losses: LossCorrelations) -> Table:
    level, loss = "Chomsky level", "test loss"
    rows = [(level, f"{label}, from chance to ceiling", scaled) for label, (_, scaled) in levels.items()]
    rows += [(level, f"{label}, plain rate", raw) for label, (raw, _) in levels.items()]
    rows += [(loss, "within languages, together", losses.within)]
    rows += [(loss, f"within {name}", correlation) for name, correlation in losses.languages.items()]
    rows += [(loss, "pooled over languages", losses.pooled)]
    lines: list[Line] = []
    for against, of, found in rows:
        interval = "-" if found.low is None else f"[{found.low:.2f}, {found.high:.2f}]"
        value = "-" if found.value is None else f"{found.value:.2f}"
        seen = {line.cells[0].text for line in lines}
        texts = ("" if against in seen else against, of, str(found.n), value, interval)
        lines.append(Line("ours" if against not in seen else "", [Cell(text) for text in texts]))
    caption = (
        "Spearman's rank correlation with the rate at which every open rule holds on OOD prompts: of the level, over "
        "languages (n), with the mean rate; of the test loss above the data's entropy, over runs (n). Intervals: 95 %, "
        "Bonett and Wright (2000), where the seeds of a model count as one."
    )
    headings = ["against", "of", "n", "correlation", "95 % interval"]
    return Table("correlations", "What goes with the rate", caption, headings, lines, text_columns=2)


def _matrix(ours: Sequence[Row], rows: Sequence[Row]) -> Table:
    labels = list(
        dict.fromkeys(label for name in architectures(row.name for row in ours) for label in _labels(ours, name))
    )
    lines = []
    for language in in_chomsky_order(row.language for row in ours):
        known = language_of(language)
        for column, what in _RULES.items():
            chance, stops, ceiling = (
                reference(rows, language, source, column) for source in ("uniform", "always-stop", "oracle")
            )
            cells = [_judged(ours, language, label, column, chance) for label in labels]
            sentence = f"{what}: {known.rules[0].summary}" if known and column == "ood_r1" else what
            first = column == "ood_headline"
            others = [Cell("-" if value is None else f"{value:.2f}") for value in (chance, stops, ceiling)]
            head = [Cell(language if first else ""), Cell(sentence)]
            lines.append(Line("ours" if first else "", [*head, *cells, *others]))
    caption = (
        "OOD prompts: mean ± standard deviation over runs (n). ↑ above chance, ↓ below, · not told from it: both the "
        "95 % interval over runs and the one over prompts must leave out chance. Of so many, some will err. A model "
        "that stops at once keeps R2 on the completion wherever the rule holds of nothing, so read that line beside "
        "its column."
    )
    headings = ["language", "holds", *labels, "chance", "stop at once", "ceiling"]
    return Table("rules", "Rules kept on OOD prompts", caption, headings, lines, text_columns=2)


def _judged(ours: Sequence[Row], language: str, label: str, column: str, chance: float | None) -> Cell:
    row = next((row for row in ours if row.language == language and row.label == label), None)
    if row is None:
        return Cell("-")
    spread = row.values.get(column, Spread(None, None, 0))
    shown = cell(spread, digits=2, n=None)
    found = verdict(row, column, chance) if column != "ood_finished" else None
    return Cell(f"{shown.text} {_MARKS[found]}", shown.interval) if found else shown
