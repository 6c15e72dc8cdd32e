"""The answers to the three claims in words, each with its verdict, and the tables behind them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hf_ruleextrap.errors import counted
from hf_ruleextrap.formal import LEVELS
from hf_ruleextrap.formal.rational import LEARNERS
from hf_ruleextrap.languages import built_in_languages, get_language

from .analysis import OUTCOMES, Analysis
from .claim_tables import CAUSES, OUTCOME_NAMES, PAIR_NAMES, is_clear
from .combinations import APART, FEWEST_RUNS, TOLERANCE, Combination, mean_ends
from .rows import in_chomsky_order, level_of
from .statistics import mean_over_groups, power
from .tables import Section, correlation_text, interval, number

_RELATED = 0.8
"""The true correlation whose detection the report states."""

METHOD = (
    "A run is the unit of all statistics. A run has learned its language if, at an evaluation and at the next one, R1 "
    "holds on at least 95 % of the ID prompts, all completions of ID prompts finish, and the excess loss is small, and "
    "if the described checkpoint meets this criterion. OOD rates are those of the runs that have learned; the other "
    "runs are shown in grey and are in no mean.",
    "A combination is all runs of one language and one model. The claims use, for each language and architecture, "
    "the recipe with the most runs. The way of a run is its OOD rate on a scale from 0, the best of chance, a "
    "completer that stops at once and n-grams, to 1, the ceiling. A combination with at least "
    f"{FEWEST_RUNS} learned runs is judged: it is above (or below) if its mean way differs from 0 both over runs "
    "(Student's t) and over prompts (the runs' own intervals), at a false discovery rate of 5 % over the judged "
    "combinations. The interval of a mean way is the wider of the two at each end; that of the mean over all judged "
    "combinations is over runs.",
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
        text = "No run of a corrected recipe that trains on words alone is in this study, so the claims have no answer."
        return [Section("Answer", [text])]
    verdicts = (analysis.verdict, analysis.equal[0].verdict, analysis.independence("level"))
    texts = (_keep(analysis), _equal(analysis), _level(analysis))
    figures = ("rates", "pairs", "causes")
    answers, sections = [], []
    for title, verdict, (first, *details), figure in zip(TITLES, verdicts, texts, figures, strict=True):
        answers.append(f"{title}: {verdict}. {first}")
        sections.append(Section(title, details, figures=[figure], verdict=verdict))
    return [Section("Answer", answers), *sections]


def _keep(analysis: Analysis) -> list[str]:
    main = analysis.main
    judged = [each for each in main if each.judged]
    learned, total = sum(len(each.learned) for each in main), sum(len(each.runs) for each in main)
    share = f"{learned} of {counted(total, 'run')} have learned their language, and {len(judged)} of "
    share += f"{counted(len(main), 'combination')} have the {FEWEST_RUNS} learned runs that a judgement needs."
    without_scale = [each for each in main if each.direction == "no scale"]
    if without_scale:
        share += f" {counted(len(without_scale), 'other combination has')} them, but no baseline below the ceiling."
    unknown = sum(run.learned is None for each in main for run in each.runs)
    if unknown:
        share += f" For {counted(unknown, 'run')} it is unknown whether they have learned."
    if not judged:
        reason = f"{FEWEST_RUNS} learned runs" + (" and a baseline below the ceiling" if without_scale else "")
        no_answer = f"No combination has {reason}, so the study says nothing about this claim."
        return [no_answer, *_nearest(analysis), share]
    directions = Counter(each.direction for each in judged)
    ranked = sorted(judged, key=lambda each: each.spread.mean or 0.0)
    mean = mean_over_groups([each.spread for each in judged])
    first = (
        f"In {directions['above']} of {counted(len(judged), 'judged combination')} the OOD rate is clearly above the "
        f"best of chance, stopping at once and n-grams, in {directions['below']} clearly below, and in "
        f"{directions['unclear']} unclear; the mean way from that baseline (0) to the ceiling (1) is "
        f"{number(mean.mean)} {interval(mean.low, mean.high)}."
    )
    ends = f"The mean ways of the judged combinations reach from {_named(ranked[0])} to {_named(ranked[-1])}."
    return [first, ends, *_rational(analysis), *_nearest(analysis), share]


def _named(each: Combination) -> str:
    return f"{number(each.spread.mean)} ({each.language}, {each.label})"


def _rational(analysis: Analysis) -> list[str]:
    """Return a sentence on the rational learners, over the languages for which their rates are known."""
    languages = in_chomsky_order(each.language for each in analysis.main)
    parts = []
    for learner, name in LEARNERS.items():
        ways = [way for language in languages if (way := _learner_way(analysis, language, learner)) is not None]
        if ways:
            parts.append(f"{name} {number(sum(ways) / len(ways))} ({counted(len(ways), 'language')})")
    if not parts:
        return []
    return [f"The mean ways of the greedy completions of the rational learners: {', '.join(parts)}."]


def _nearest(analysis: Analysis) -> list[str]:
    """Return a sentence on the rational learners that the learned runs resemble, where this was computed."""
    known = [run.resemblance for each in analysis.main for run in each.learned if run.resemblance]
    if not known:
        return []
    nearest = Counter(divergences[0].learner for divergences in known)
    parts = [f"the {name} learner {nearest[learner]}" for learner, name in LEARNERS.items()]
    clear = sum(map(is_clear, known))
    return [
        f"Of {counted(len(known), 'learned run')}, by the nearest rational learner: {', '.join(parts)}. The nearest "
        f"learner is clear in {counted(clear, 'run')}."
    ]


def _learner_way(analysis: Analysis, language: str, learner: str) -> float | None:
    """Return the rate of a rational learner's greedy completions on the way from the best baseline to the ceiling."""
    rate = analysis.learner_rates(language).get(learner)
    ways = [way for each in analysis.main if each.language == language for way in each.ways]
    if rate is None or not ways:
        return None
    baseline, ceiling = mean_ends(ways)
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
        return [f"Of {counted(overall.tested, 'pair')} of learned runs, none has equal test losses."]
    clear = sum(pair.clear for pair in overall.pairs)
    widest = max(overall.pairs, key=lambda pair: pair.apart)
    rates = sorted((run.ood_rate or 0.0, run.key) for run in (widest.first, widest.second))
    first = (
        f"{len(overall.pairs):,} of {counted(overall.tested, 'pair')} of learned runs of one language have equal test "
        f"losses, and the OOD rates of the two differ by {number(overall.mean)} {interval(overall.low, overall.high)} "
        f"on average, clearly in {100 * clear / len(overall.pairs):.0f} % of these pairs."
    )
    far = (
        f"The pair that is furthest apart has OOD rates of {number(rates[0][0])} ({rates[0][1]}) and "
        f"{number(rates[1][0])} ({rates[1][1]})."
    )
    parts = [
        f"{PAIR_NAMES[each.kinds[0]]} {number(each.mean)} {interval(each.low, each.high)} "
        f"({counted(len(each.pairs), 'pair')})"
        for each in by_kind
        if each.mean is not None
    ]
    return [first, far, f"The mean differences by the kind of pair: {'; '.join(parts)}."]


def _level(analysis: Analysis) -> list[str]:
    rate, time = (analysis.correlations[outcome, "level"] for outcome in OUTCOMES)
    names = in_chomsky_order(each.language for each in analysis.main if each.learned)
    first = (
        f"Over languages, the rank correlation of the Chomsky level with the OOD rate is "
        f"{correlation_text(rate)}, and with the learning time {correlation_text(time)}."
    )
    significant = [
        f"{OUTCOME_NAMES[outcome]} against {CAUSES[cause]} {number(correlation.value)}"
        for (outcome, cause), correlation in analysis.correlations.items()
        if correlation.is_significant and cause != "level"
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
    every = [LEVELS.index(get_language(name).level) for name in built_in_languages()]
    if len(set(levels)) < 2:
        return []
    here, all_languages = (100 * power(tuple(sorted(each)), _RELATED) for each in (levels, every))
    return [
        f"If the level and the mean outcome of a language had a correlation of {_RELATED}, a test by itself would find "
        f"it in {here:.0f} % of studies with {counted(len(levels), 'language')} of these levels, and in "
        f"{all_languages:.0f} % with the {len(every)} languages of this package, without any noise from seeds."
    ]
