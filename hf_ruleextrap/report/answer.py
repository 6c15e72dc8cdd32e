"""The answers to the three claims in words, each with its verdict, and the tables behind them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hf_ruleextrap.evaluation.references import GREEDY
from hf_ruleextrap.formal import LEVELS
from hf_ruleextrap.formal.measures import MEASURES
from hf_ruleextrap.formal.rational import LEARNERS
from hf_ruleextrap.languages import get_language, list_languages

from .analysis import LANGUAGE_CAUSES, OUTCOMES, Analysis, Relation
from .combinations import FEWEST_RUNS, HEADLINE, Combination, Verdict
from .pairs import APART, TOLERANCE, EqualLoss
from .rows import in_chomsky_order, level_of, reference
from .statistics import Spread, power
from .tables import (
    CORRELATION_HEADINGS,
    Cell,
    Line,
    Section,
    Table,
    cell,
    correlation_cells,
    correlation_text,
    count,
    interval,
    number,
)

_RELATED = 0.8
"""The true correlation whose detection the report states."""

_KINDS = {
    "seed": "seeds of one recipe",
    "optimizer": "optimizers and learning rates",
    "architecture": "architectures",
    "objective": "objectives (control)",
}
_CAUSES = {"level": "Chomsky level", **MEASURES, "loss": "excess loss, within languages"}
_OUTCOMES = {"way": "rate, from best baseline to ceiling", "learning time": "learning time in steps"}

METHOD = (
    "A run is the unit of all statistics. A run has learned its language if, at an evaluation and at the next one, R1 "
    "holds on at least 95 % of the ID prompts, all completions of ID prompts finish, and the excess loss is small. OOD "
    "rates are those of the runs that have learned; the other runs are shown in grey and are in no mean.",
    "A combination is all runs of one language and one model. The claims use, for each language and architecture, "
    "the recipe with the most runs. The way of a run is its OOD rate on a scale from 0, the best of chance, a "
    "completer that stops at once and n-grams, to 1, the ceiling. A combination with at least "
    f"{FEWEST_RUNS} learned runs is judged: it is above (or below) if its mean way differs from 0 both over runs "
    "(Student's t) and over prompts (the runs' own intervals), at a false discovery rate of 5 % over the judged "
    "combinations. The interval of a mean way is the wider of the two at each end.",
    "Most models keep the other rule: supported if more than half of the judged combinations are above; contradicted "
    "if at most half would be above even if all unclear combinations were; otherwise open.",
    f"Equal loss, different behaviour: two runs have equal losses if the 90 % interval of the difference of their "
    f"excess losses lies within {TOLERANCE} nats per token (two one-sided tests at 5 %). The claim is supported if the "
    f"95 % interval of the mean difference between OOD rates lies above {APART}, contradicted if the interval lies "
    "below, and otherwise open. The interval comes from resampling the runs of each combination, so it holds for these "
    f"combinations. Only combinations with at least {FEWEST_RUNS} learned runs enter.",
    "The Chomsky level does not predict it: a rank correlation contradicts the claim if it is significant at 5 % after "
    "Holm's correction for all correlations of the report, and supports it if its 95 % interval lies within ± 0.5; "
    "otherwise the claim is open. Both outcomes, the OOD rate and the learning time, must support the claim. The cases "
    "of these correlations are the languages: the outcome of a language is the mean rank of its runs among the runs of "
    "the same model. A run that never learned counts as later than all others. Recipes differ between combinations, "
    "and so do the steps that one recipe needs.",
)
"""The definitions of the verdicts."""


TITLES = (
    "Most models keep the other rule",
    "Equal loss, different behaviour",
    "The Chomsky level does not predict it",
)
"""The three claims."""


def claims(analysis: Analysis) -> list[Section]:
    """Return a section with one sentence for each claim, and a section with the numbers and the figure of each."""
    if not analysis.combinations:
        text = "No run of a corrected recipe is in this study, and the authors' recipes cannot answer the claims."
        return [Section("Answer", [text])]
    verdicts: tuple[Verdict, ...] = (
        analysis.verdict,
        analysis.equal[0].verdict,
        _both([analysis.relations[outcome, "level"] for outcome in OUTCOMES]),
    )
    texts = (_keep(analysis), _equal(analysis), _level(analysis))
    answers = [
        f"{title}: {verdict}. {first}" for title, verdict, (first, *_) in zip(TITLES, verdicts, texts, strict=True)
    ]
    return [
        Section("Answer", answers),
        *(
            Section(title, details, figures=[figure], verdict=verdict)
            for title, verdict, (_, *details), figure in zip(
                TITLES, verdicts, texts, ("rates", "pairs", "causes"), strict=True
            )
        ),
    ]


def claim_tables(analysis: Analysis) -> list[Table]:
    """Return the tables behind the claims."""
    if not analysis.combinations:
        return []
    return [_cells(analysis), _pairs(analysis), _correlations(analysis), *_after_learning(analysis)]


def _keep(analysis: Analysis) -> list[str]:
    main = analysis.main
    judged = [each for each in main if each.judged]
    learned, total = sum(len(each.learned) for each in main), sum(len(each.runs) for each in main)
    share = f"{learned} of {count(total, 'run')} have learned their language, and {len(judged)} of "
    share += f"{count(len(main), 'combination')} have the {FEWEST_RUNS} learned runs that a judgement needs."
    unknown = sum(run.learned is None for each in main for run in each.runs)
    if unknown:
        share += f" For {count(unknown, 'run')} it is unknown whether they have learned."
    if not judged:
        return [f"No combination has {FEWEST_RUNS} learned runs, so the study says nothing about this claim.", share]
    directions = Counter(each.direction for each in judged)
    ranked = sorted(judged, key=lambda each: each.spread.mean or 0.0)
    mean = sum(each.spread.mean or 0.0 for each in judged) / len(judged)
    first = (
        f"In {directions['above']} of {count(len(judged), 'judged combination')} the OOD rate is clearly above the "
        f"best of chance, stopping at once and n-grams, in {directions['below']} clearly below, and in "
        f"{directions['unclear']} unclear; the mean way from that baseline (0) to the ceiling (1) is {number(mean)}."
    )
    ends = f"The mean ways of the judged combinations reach from {_named(ranked[0])} to {_named(ranked[-1])}."
    return [first, ends, *_rational(analysis), share]


def _named(each: Combination) -> str:
    return f"{number(each.spread.mean)} ({each.language}, {each.label})"


def _rational(analysis: Analysis) -> list[str]:
    """Return a sentence on the rational learners, over the languages for which their rates are known."""
    languages = in_chomsky_order(each.language for each in analysis.main)
    parts = []
    for learner, name in LEARNERS.items():
        ways = [way for language in languages if (way := _learner_way(analysis, language, learner)) is not None]
        if ways:
            parts.append(f"{name} {number(sum(ways) / len(ways))} ({count(len(ways), 'language')})")
    if not parts:
        return []
    return [f"The mean ways of the greedy completions of the rational learners: {', '.join(parts)}."]


def _learner_way(analysis: Analysis, language: str, learner: str) -> float | None:
    """Return the rate of a rational learner's greedy completions on the way from the best baseline to the ceiling."""
    rate = reference(analysis.rows, language, f"{learner}{GREEDY}", HEADLINE)
    ways = [way for each in analysis.main if each.language == language for way in each.ways]
    if rate is None or not ways:
        return None
    baseline, ceiling = (sum(getattr(way, name) for way in ways) / len(ways) for name in ("baseline", "ceiling"))
    return (rate - baseline) / (ceiling - baseline)


def _equal(analysis: Analysis) -> list[str]:
    overall, *by_kind = analysis.equal
    if overall.mean is None:
        if not overall.tested:
            return [
                "No two learned runs of one language have test losses that can be compared: the claim needs "
                f"combinations with {FEWEST_RUNS} learned runs, and runs that record the standard error of their "
                "excess loss."
            ]
        return [f"Of {count(overall.tested, 'pair')} of learned runs, none has equal test losses."]
    clear = sum(pair.clear for pair in overall.pairs)
    widest = max(overall.pairs, key=lambda pair: pair.apart)
    rates = sorted((run.rates[HEADLINE].rate or 0.0, run.key) for run in (widest.first, widest.second))
    first = (
        f"{len(overall.pairs)} of {count(overall.tested, 'pair')} of learned runs of one language have equal test "
        f"losses, and the OOD rates of the two differ by {number(overall.mean)} {interval(overall.low, overall.high)} "
        f"on average, clearly in {100 * clear / len(overall.pairs):.0f} % of these pairs."
    )
    far = (
        f"The pair that is furthest apart has OOD rates of {number(rates[0][0])} ({rates[0][1]}) and "
        f"{number(rates[1][0])} ({rates[1][1]})."
    )
    parts = [
        f"{_KINDS[each.kinds[0]]} {number(each.mean)} {interval(each.low, each.high)} "
        f"({count(len(each.pairs), 'pair')})"
        for each in by_kind
        if each.mean is not None
    ]
    return [first, far, f"The mean differences by the kind of pair: {'; '.join(parts)}."]


def _both(relations: Sequence[Relation]) -> Verdict:
    verdicts = {relation.verdict for relation in relations}
    return "contradicted" if "contradicted" in verdicts else "supported" if verdicts == {"supported"} else "open"


def _level(analysis: Analysis) -> list[str]:
    rate, time = (analysis.relations[outcome, "level"] for outcome in ("way", "learning time"))
    names = in_chomsky_order(each.language for each in analysis.main if each.learned)
    first = (
        f"Over languages, the rank correlation of the Chomsky level with the OOD rate is "
        f"{correlation_text(rate.correlation)}, and with the learning time {correlation_text(time.correlation)}."
    )
    significant = [
        f"{_OUTCOMES[relation.outcome]} against {_CAUSES[relation.cause]} {number(relation.correlation.value)}"
        for relation in analysis.relations.values()
        if relation.verdict == "contradicted" and relation.cause != "level"
    ]
    others = (
        f"Of the other correlations, these are significant after correction: {'; '.join(significant)}."
        if significant
        else "No correlation with another property of the languages, or with the loss, is significant after correction."
    )
    return [first, others, *_power(names)]


def _power(names: Sequence[str]) -> list[str]:
    """Return a sentence on what the study would have seen if the level did predict the outcomes."""
    levels = [LEVELS.index(level_of(name)) for name in names if level_of(name) in LEVELS]
    every = [LEVELS.index(get_language(name).level) for name in list_languages()]
    if len(set(levels)) < 2:
        return []
    here, all_languages = (100 * power(tuple(sorted(each)), _RELATED) for each in (levels, every))
    return [
        f"If the level and the mean outcome of a language had a correlation of {_RELATED}, a test by itself would find "
        f"it in {here:.0f} % of studies with {count(len(levels), 'language')} of these levels, and in "
        f"{all_languages:.0f} % with the {len(every)} languages of this package, without any noise from seeds."
    ]


def _cells(analysis: Analysis) -> Table:
    lines = []
    before = ""
    main = {(each.language, each.model) for each in analysis.main}
    for each in analysis.combinations:
        spread = each.spread
        rate = Spread.over([run.rates[HEADLINE].rate for run in each.learned if HEADLINE in run.rates])
        baseline, ceiling = (
            number(sum(getattr(way, name) for way in each.ways) / len(each.ways)) if each.ways else "-"
            for name in ("baseline", "ceiling")
        )
        texts = [each.language if each.language != before else "", each.label]
        cells = [
            *map(Cell, texts),
            Cell(f"{len(each.learned)} of {len(each.runs)}"),
            cell(rate, digits=2, n=len(each.learned)),
            Cell(baseline),
            Cell(ceiling),
            Cell(number(spread.mean)),
            Cell(interval(spread.low, spread.high) or "-"),
            Cell("-" if each.corrected is None else f"{each.corrected:.3f}"),
            Cell(_reason(each) if (each.language, each.model) in main else f"{_reason(each)}; other recipe"),
        ]
        lines.append(Line("ours" if each.language != before else "" if each.learned else "quiet", cells))
        before = each.language
    caption = (
        "Rates of the learned runs: mean ± standard deviation. The baseline is the best of chance, stopping at once "
        "and n-grams. The way is 0 at the baseline and 1 at the ceiling, with its 95 % interval. The corrected p "
        "belongs to the difference of the way from 0. Lines of another recipe are in no claim."
    )
    headings = ["language", "model", "learned", "OOD rate", "baseline", "ceiling", "way"]
    headings += ["95 % interval", "corrected p", "verdict"]
    return Table(
        "combinations", "The way from the best baseline to the ceiling", caption, headings, lines, text_columns=2
    )


def _reason(each: Combination) -> str:
    """Return the verdict on a combination, with the reason where it is not clear."""
    if each.direction == "too few runs":
        return f"too few runs (n = {len(each.ways)})"
    return _unclear(each.spread) if each.direction == "unclear" else each.direction


def _pairs(analysis: Analysis) -> Table:
    lines = [_pair_line(each) for each in analysis.equal]
    caption = (
        "Pairs of learned runs of one language. The difference is the mean absolute difference between the OOD rates "
        "of two runs with equal test losses, with its 95 % interval from resampling the runs. A pair is clear if the "
        "interval of its difference over prompts excludes 0. Objectives that train on OOD prompts are a control and "
        "are not in the first line."
    )
    headings = ["pairs over", "compared", "equal loss", "difference", "95 % interval", "median", "largest", "clear"]
    headings += ["verdict"]
    return Table("pairs", "Pairs of runs with equal test loss", caption, headings, lines, text_columns=1)


def _pair_line(each: EqualLoss) -> Line:
    name = "seeds, optimizers, architectures" if len(each.kinds) > 1 else _KINDS[each.kinds[0]]
    apart = sorted(pair.apart for pair in each.pairs)
    numbers = ["-"] * 5
    if apart:
        clear = f"{100 * sum(pair.clear for pair in each.pairs) / len(apart):.0f} %"
        median = (apart[(len(apart) - 1) // 2] + apart[len(apart) // 2]) / 2
        numbers = [number(each.mean), interval(each.low, each.high), number(median), number(apart[-1]), clear]
    texts = [name, str(each.tested), str(len(apart)), *numbers, each.verdict if apart else "open (no pair)"]
    return Line("ours" if len(each.kinds) > 1 else "", [*map(Cell, texts)])


def _correlations(analysis: Analysis) -> Table:
    lines = []
    for (outcome, cause), relation in analysis.relations.items():
        first = cause == LANGUAGE_CAUSES[0]
        names = [Cell(_OUTCOMES[outcome] if first else ""), Cell(_CAUSES[cause])]
        cells = correlation_cells(relation.correlation, relation.corrected)
        lines.append(Line("ours" if first else "", [*names, *cells]))
    caption = (
        "Spearman's rank correlations. Those with a property of the language are over n languages, and that with the "
        "loss over n runs, within languages. The interval (95 %) and p belong to each correlation by itself. The "
        "corrected p has Holm's correction for all correlations in this table. A dash stands where the study has too "
        "few languages or models."
    )
    headings = ["correlation of", "with", *CORRELATION_HEADINGS]
    return Table("correlations", "Correlations", caption, headings, lines, text_columns=2)


def _after_learning(analysis: Analysis) -> list[Table]:
    lines = []
    for each in analysis.main:
        if each.changes:
            start, end = (Spread.over(rates) for rates in zip(*each.changes, strict=True))
            change = Spread.over([last - first for first, last in each.changes], rate=False)
            texts = [
                each.language,
                each.label,
                str(change.n),
                *(number(spread.mean) for spread in (start, end, change)),
            ]
            texts += [interval(change.low, change.high) or "-", _course(change)]
            lines.append(Line("", [*map(Cell, texts)]))
    if not lines:
        return []
    caption = (
        "OOD rates of the learned runs at the evaluation since which they have learned, and at their last evaluation; "
        "the change has its 95 % interval over runs (Student's t). A rate stays if that interval lies within "
        f"± {APART}."
    )
    headings = ["language", "model", "n", "at learning", "at the end", "change", "95 % interval", "verdict"]
    return [Table("after-learning", "After learning", caption, headings, lines, text_columns=2)]


def _course(change: Spread) -> str:
    """Return whether a rate rises, falls or stays after learning, or why that is not clear."""
    if change.low is None or change.high is None or change.n < FEWEST_RUNS:
        return f"too few runs (n = {change.n})"
    if change.low > 0 or change.high < 0:
        return "rises" if change.low > 0 else "falls"
    if change.low > -APART and change.high < APART:
        return "stays"
    return _unclear(change)


def _unclear(spread: Spread) -> str:
    """Return the reason why a mean is not clear."""
    return f"unclear (n = {spread.n}, the interval is {number((spread.high or 0.0) - (spread.low or 0.0))} wide)"
