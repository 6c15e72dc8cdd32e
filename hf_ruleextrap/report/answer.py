"""Answer the question of a study in words: which model keeps which rule, and do level or loss explain the rates?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hf_ruleextrap.evaluation.references import ALWAYS_STOP, CEILING, UNIFORM, heading
from hf_ruleextrap.formal import LEVELS
from hf_ruleextrap.formal.measures import MEASURES

from .analysis import POOLED, WITHIN, Analysis, Relation, Verdict, labels, mean, reference
from .correlation import LEVEL
from .rows import Row, in_chomsky_order, language_of, level_of
from .spread import Spread
from .tables import Cell, Line, Section, Table, cell

_MARKS = {"above": "↑", "below": "↓", "unclear": "·"}
_RULES = {
    "ood_headline": "every open rule",
    "ood_r1": "R1",
    "ood_r2_completion": "R2 on the completion",
    "ood_finished": "completion finished",
}
_REFERENCES = (UNIFORM, ALWAYS_STOP, CEILING)
_CAUSES = {"level": "Chomsky level", "loss": "test loss", "complexity": "complexity"}


def answer_section(analysis: Analysis) -> Section:
    """Return the text at the top of the report, all of which is computed from the statistics."""
    title = "Which architecture keeps which rule?"
    if not analysis.ours:
        return Section(
            title,
            ["No run of a corrected recipe is in this study, and the authors' recipes cannot answer it."],
        )
    paragraphs = [_who(analysis), _from_level(analysis), _from_loss(analysis)]
    return Section(title, paragraphs, [_matrix(analysis), _correlations(analysis)])


def _who(analysis: Analysis) -> str:
    ours = analysis.ours
    verdicts = [analysis.verdicts.get((row.language, row.label, "ood_headline")) for row in ours]
    known = [verdict for verdict in verdicts if verdict is not None]
    counts = Counter(verdict.direction for verdict in known)
    alone = Counter(verdict.uncorrected for verdict in known)
    least, most = min(row.n for row in ours), max(row.n for row in ours)
    seeds = f"{least}" if least == most else f"{least} to {most}"
    text = (
        f"The study has {len(ours)} pairs of a language and a model, with {seeds} runs each. The rate at which every "
        f"open rule holds on OOD prompts is above chance in {counts['above']} pairs, below chance in "
        f"{counts['below']}, and unclear in {counts['unclear']}, at a false discovery rate of 5 % over these pairs "
        f"(without this correction: {alone['above']}, {alone['below']} and {alone['unclear']})"
    )
    missing = len(ours) - len(known)
    text += f"; {missing} pairs have no rate." if missing else "."
    best = [_best(ours, language) for language in in_chomsky_order(row.language for row in ours)]
    return f"{text} The highest means are: {'; '.join(filter(None, best))}."


def _best(ours: Sequence[Row], language: str) -> str:
    known = [row for row in ours if row.language == language and mean(row, "ood_headline") is not None]
    if not known:
        return ""
    top = max(mean(row, "ood_headline") or 0.0 for row in known)
    names = [row.label for row in known if mean(row, "ood_headline") == top]
    return f"{language} {' and '.join(names)} ({top:.2f}, n = {max(row.n for row in known)})"


def _from_level(analysis: Analysis) -> str:
    head = "Does the rate follow from the Chomsky level?"
    languages = {row.language for row in analysis.ours}
    levels = {level_of(name) for name in languages} & set(LEVELS)
    if len(languages) < 3 or len(levels) < 2:
        return f"{head} The test needs three languages on two levels; this study has {len(languages)} on {len(levels)}."
    relations = analysis.main("level")
    listed = "; ".join(f"{_model(relation)} {relation.correlation}" for relation in relations)
    return (
        f"{head} Chance and ceiling differ between languages, so the rate is rescaled: chance is 0, the ceiling "
        f"is 1. The rank correlations of that rate with the level, over {len(languages)} languages, are: {listed}. "
        + _conclusion(analysis, relations, "level", "falls as the level rises", "rises with the level")
    )


def _model(relation: Relation) -> str:
    return relation.over.split(", from chance to ceiling")[0]


def _from_loss(analysis: Analysis) -> str:
    within, pooled = (analysis.correlation("loss", over) for over in (WITHIN, POOLED))
    return (
        f"Does the rate follow from the test loss? The rank correlation of loss and rate over runs is {within} within "
        f"languages. Pooled over languages, where a difference between languages looks like a difference between "
        f"models, the correlation is {pooled}. "
        + _conclusion(analysis, analysis.main("loss"), "test loss", "falls as the loss rises", "rises with the loss")
    )


def _conclusion(analysis: Analysis, relations: Sequence[Relation], cause: str, falls: str, rises: str) -> str:
    """Return a sentence that says what the p-values show."""
    number = sum(relation.correlation.p is not None for relation in analysis.relations.values())
    if all(relation.correlation.p is None for relation in relations):
        return f"No correlation is defined, so the study says nothing about the {cause}."
    corrected = _directions(relations, [relation.corrected for relation in relations], falls, rises)
    alone = _directions(relations, [relation.correlation.p for relation in relations], falls, rises)
    if corrected:
        return f"After Holm's correction for the {number} correlations of this report, {corrected}."
    if alone:
        return (
            f"Without a correction {alone}; after Holm's correction for the {number} correlations of this report, "
            f"these runs do not show that the rate follows from the {cause}."
        )
    return f"No p-value is at most 0.05: these runs do not show that the rate follows from the {cause}."


def _directions(relations: Sequence[Relation], p_values: Sequence[float | None], falls: str, rises: str) -> str:
    """Return a phrase that lists the significant correlations by their sign; empty if there are none."""
    parts = []
    for sign, direction in ((-1, falls), (1, rises)):
        names = [
            f"{_model(relation)}, p = {p:.2g}"
            for relation, p in zip(relations, p_values, strict=True)
            if p is not None and p <= LEVEL and sign * (relation.correlation.value or 0.0) > 0
        ]
        parts += [f"the rate {direction} ({'; '.join(names)})"] if names else []
    return " and ".join(parts)


def _correlations(analysis: Analysis) -> Table:
    relations = sorted(analysis.relations.values(), key=lambda relation: list(_CAUSES).index(relation.cause))
    lines: list[Line] = []
    for place, relation in enumerate(relations):
        correlation = relation.correlation
        first = place == 0 or relations[place - 1].cause != relation.cause
        texts = [
            _CAUSES[relation.cause] if first else "",
            MEASURES[relation.over] if relation.cause == "complexity" else relation.over,
            str(correlation.n),
            "-" if correlation.value is None else f"{correlation.value:.2f}",
            "-" if correlation.low is None else f"[{correlation.low:.2f}, {correlation.high:.2f}]",
            "-" if correlation.p is None else f"{correlation.p:.4f}",
            "-" if relation.corrected is None else f"{relation.corrected:.4f}",
        ]
        lines.append(Line("ours" if first else "", [Cell(text) for text in texts]))
    caption = (
        "Spearman's rank correlations with the rate at which every open rule holds on OOD prompts. The level is "
        "correlated with the mean rate over n languages. The test loss above the entropy of the language's "
        "distribution, and the language's complexity, are correlated with the rate over n runs. The interval (95 %) "
        "and p belong to each correlation by itself and come from permutations of the languages and of the models, "
        "with seeds as replicates. The corrected p has Holm's correction for all correlations in this table. A dash "
        "stands where the study has too few languages or models for an interval."
    )
    headings = ["against", "of", "n", "correlation", "95 % interval", "p", "corrected p"]
    return Table("correlations", "Correlations with the rate", caption, headings, lines, text_columns=2)


def _matrix(analysis: Analysis) -> Table:
    ours = analysis.ours
    names = labels(ours)
    lines = []
    for language in in_chomsky_order(row.language for row in ours):
        known = language_of(language)
        for column, label in _RULES.items():
            references = (reference(analysis.rows, language, source, column) for source in _REFERENCES)
            cells = [_judged(analysis, language, name, column) for name in names]
            sentence = f"{label}: {known.rules[0].summary}" if known and column == "ood_r1" else label
            first = column == "ood_headline"
            others = [Cell("-" if value is None else f"{value:.2f}") for value in references]
            head = [Cell(language if first else ""), Cell(sentence)]
            lines.append(Line("ours" if first else "", [*head, *cells, *others]))
    caption = (
        "Rates on OOD prompts: mean ± standard deviation over runs (n). The signs mean: ↑ above chance, ↓ below "
        "chance, · unclear, at a false discovery rate of 5 % over the pairs of a language and a model. A sign in "
        "brackets marks a pair that is clear by itself and unclear after the correction. A pair is clear if both the "
        "interval over runs and the interval over prompts exclude chance. A model that stops at once keeps R2 on the "
        "completion wherever the empty completion keeps R2, so compare that row with the column for stopping at once. "
        "The ceiling of a row is the highest rate that completions can reach in that row alone."
    )
    headings = ["language", "holds", *names, *map(heading, _REFERENCES)]
    return Table("rules", "Rules kept on OOD prompts", caption, headings, lines, text_columns=2)


def _judged(analysis: Analysis, language: str, label: str, column: str) -> Cell:
    row = next((row for row in analysis.ours if row.language == language and row.label == label), None)
    if row is None:
        return Cell("-")
    shown = cell(row.values.get(column, Spread(None, None, 0)), digits=2, n=None)
    verdict = analysis.verdicts.get((language, label, column))
    return Cell(f"{shown.text} {_mark(verdict)}", shown.interval) if verdict else shown


def _mark(verdict: Verdict) -> str:
    if verdict.direction == verdict.uncorrected:
        return _MARKS[verdict.direction]
    return f"({_MARKS[verdict.uncorrected]})"
