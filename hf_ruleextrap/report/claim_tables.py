"""The tables behind the answers to the three claims."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hf_ruleextrap.evaluation.resemblance import Divergence
from hf_ruleextrap.formal.measures import MEASURES
from hf_ruleextrap.formal.rational import LEARNERS

from .analysis import LANGUAGE_CAUSES, Analysis
from .combinations import APART, FEWEST_RUNS, Combination, EqualLoss, mean_ends
from .statistics import Spread
from .tables import CORRELATION_HEADINGS, Cell, Line, Table, cell, correlation_cells, interval, number, unclear

PAIR_NAMES = {
    "seed": "seeds of one recipe",
    "optimizer": "optimizers and learning rates",
    "architecture": "architectures",
    "objective": "objectives (control)",
}
"""The kinds of pairs in words."""

CAUSES = {"level": "Chomsky level", **MEASURES, "loss": "excess loss, within languages"}
"""The properties with which outcomes are correlated, in words."""

OUTCOME_NAMES = {"way": "rate, from best baseline to ceiling", "learning time": "learning time in steps"}
"""The outcomes in words."""


def tables_of_claims(analysis: Analysis) -> list[Table]:
    """Return the tables behind the claims."""
    if not analysis.combinations:
        return []
    return [
        _cells(analysis),
        _pairs(analysis),
        _correlations(analysis),
        *_resemblance(analysis),
        *_after_learning(analysis),
    ]


def _cells(analysis: Analysis) -> Table:
    lines = []
    before = ""
    main = {(each.language, each.model) for each in analysis.main}
    for each in analysis.combinations:
        spread = each.spread
        rate = Spread.over([run.ood_rate for run in each.learned])
        baseline, ceiling = map(number, mean_ends(each.ways) if each.ways else (None, None))
        texts = [each.language if each.language != before else "", f"{each.label}{_diverged(each)}"]
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


def _diverged(each: Combination) -> str:
    number_diverged = sum(run.diverged_at is not None for run in each.runs)
    return f" ({number_diverged} diverged)" if number_diverged else ""


def _reason(each: Combination) -> str:
    """Return the verdict on a combination, with the reason where it is not clear."""
    if each.direction == "too few runs":
        return f"too few runs (n = {len(each.learned)})"
    if each.direction == "no scale":
        return "no scale (the best baseline is at the ceiling, or unknown)"
    return unclear(each.spread) if each.direction == "unclear" else each.direction


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
    name = "seeds, optimizers, architectures" if len(each.kinds) > 1 else PAIR_NAMES[each.kinds[0]]
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
    for (outcome, cause), correlation in analysis.correlations.items():
        first = cause == LANGUAGE_CAUSES[0]
        names = [Cell(OUTCOME_NAMES[outcome] if first else ""), Cell(CAUSES[cause])]
        lines.append(Line("ours" if first else "", [*names, *correlation_cells(correlation)]))
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
            rates = f"{number(start.mean)} → {number(end.mean)}"
            texts = [each.language, each.label, str(change.n), rates, number(change.mean)]
            texts += [interval(change.low, change.high) or "-", _course(change)]
            lines.append(Line("", [*map(Cell, [*texts, _distances(analysis, each), _masses(each)])]))
    if not lines:
        return []
    caption = (
        "OOD rates of the learned runs, from the evaluation since which they have learned to their last evaluation. "
        "The change has its 95 % interval over runs (Student's t). A rate stays if that interval lies within "
        f"± {APART}. The distance is the mean absolute difference between the OOD rate of a run and the rate of the "
        "modular rational learner's greedy completions. R1 alone is the exact probability of the short words that keep "
        "R1 and break R2, as the mean over runs."
    )
    headings = ["language", "model", "n", "OOD rate", "change", "95 % interval", "verdict"]
    headings += ["distance from modular", "R1 alone"]
    return [Table("after-learning", "After learning", caption, headings, lines, text_columns=2)]


def _distances(analysis: Analysis, each: Combination) -> str:
    """Return the mean distance of the OOD rates from the modular learner, at learning and at the end."""
    learner = analysis.learner_rates(each.language).get("rational-modular")
    if learner is None:
        return "-"
    ends = zip(*each.changes, strict=True)
    return " → ".join(number(Spread.over([abs(rate - learner) for rate in rates]).mean) for rates in ends)


def _masses(each: Combination) -> str:
    """Return the mean probability of the words that keep R1 alone, at learning and at the end."""
    curves = [list(run.masses_since_learning().values()) for run in each.learned]
    ends = [(curve[0].only_r1, curve[-1].only_r1) for curve in curves if len(curve) > 1]
    means = [Spread.over(values).mean for values in zip(*ends, strict=True)]
    return " → ".join(f"{mean:.1g}" for mean in means) or "-"


def _course(change: Spread) -> str:
    """Return whether a rate rises, falls or stays after learning, or why that is not clear."""
    if change.low is None or change.high is None or change.n < FEWEST_RUNS:
        return f"too few runs (n = {change.n})"
    if change.low > 0 or change.high < 0:
        return "rises" if change.low > 0 else "falls"
    if change.low > -APART and change.high < APART:
        return "stays"
    return unclear(change)


def _resemblance(analysis: Analysis) -> list[Table]:
    lines = []
    for each in analysis.main:
        known = [run.resemblance for run in each.learned if run.resemblance]
        if not known:
            continue
        means = [(each.learner, each.mean) for divergences in known for each in divergences]
        spreads = [Spread.over([mean for name, mean in means if name == learner], rate=False) for learner in LEARNERS]
        nearest = Counter(divergences[0].learner for divergences in known)
        counts = ", ".join(f"{LEARNERS[learner]} {n}" for learner, n in nearest.most_common())
        cells = [cell(spread, digits=2, n=len(known)) for spread in spreads]
        texts = [each.language, each.label, str(len(known))], [counts, str(sum(map(is_clear, known)))]
        lines.append(Line("", [*map(Cell, texts[0]), *cells, *map(Cell, texts[1])]))
    if not lines:
        return []
    caption = (
        "The Kullback-Leibler divergence of a rational learner's completions from those of a learned run, in nats: the "
        "mean over at most 64 OOD prompts of each run, and then the mean ± standard deviation over n runs. The nearest "
        "learner of a run has the smallest divergence. The nearest learner is clear if its 95 % interval over prompts "
        "lies below those of the other learners."
    )
    headings = ["language", "model", "n", *LEARNERS.values(), "nearest (runs)", "clear"]
    return [Table("resemblance", "The rational learner that each network resembles", caption, headings, lines, 2)]


def is_clear(divergences: Sequence[Divergence]) -> bool:
    """Return whether the interval of the smallest divergence lies below the intervals of all others."""
    first, *others = divergences
    return first.high is not None and all(each.low is not None and first.high < each.low for each in others)
