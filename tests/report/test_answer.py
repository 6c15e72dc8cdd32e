"""The three claims agree with numbers that the tests compute from the results in a few lines."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from studies import AUTHORS_WAY, PROMPTS, REFERENCES, T95, claim_runs, pearson, results, slow_ranks

from hf_ruleextrap.evaluation.resemblance import Divergence
from hf_ruleextrap.formal import LEVELS
from hf_ruleextrap.formal.rational import LEARNERS
from hf_ruleextrap.languages import get_language
from hf_ruleextrap.report import Run, summarize
from hf_ruleextrap.report.analysis import Analysis, analyze, outcomes
from hf_ruleextrap.report.answer import claims
from hf_ruleextrap.report.claim_tables import tables_of_claims
from hf_ruleextrap.report.combinations import TOLERANCE, equal_losses, pair_kind, way_of
from hf_ruleextrap.report.curves import resemblance
from hf_ruleextrap.report.style import Picture, drawing
from hf_ruleextrap.report.tables import interval, number
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.results import Results

BASELINE, CEILING = REFERENCES["always-stop"][0] / PROMPTS, REFERENCES["ceiling"][0] / PROMPTS


def analysis(results: Sequence[Results]) -> Analysis:
    runs = [*map(Run.of, results)]
    return analyze(runs, summarize(runs))


def cells_of(results: Sequence[Results]) -> dict[tuple[str, str], list[tuple[float, float, int]]]:
    """Return the OOD rate, the excess loss and the step of learning of each learned run, by cell."""
    cells: dict[tuple[str, str], list[tuple[float, float, int]]] = {}
    for run in results:
        headline = run.chosen.kinds["ood"].greedy.report.headline.rate
        excess, step = run.test_without_padding.excess, run.training.learned_at
        cells.setdefault((run.recipe.language, run.recipe.architecture), [])
        if run.training.learned:
            assert headline is not None
            assert excess is not None
            assert step is not None
            cells[run.recipe.language, run.recipe.architecture].append((headline, excess, step))
    return cells


def repeated(hits: Sequence[int], **keys: object) -> list[Results]:
    return [results(seed=seed, outside=(k, k, k, 20), **keys) for seed, k in enumerate(hits)]  # type: ignore[arg-type]


class TestMostModelsKeepTheOtherRule:
    def test_the_numbers_are_those_of_the_runs(self) -> None:
        runs = claim_runs()
        answer, section, *_ = claims(analysis(runs))
        lines = tables_of_claims(analysis(runs))[0].lines
        language = ""
        counts = {"above": 0, "below": 0, "unclear": 0}
        means = []
        for line in lines:
            texts = [cell.text for cell in line.cells]
            language, architecture = texts[0] or language, texts[1]
            ways = [(rate - BASELINE) / (CEILING - BASELINE) for rate, _, _ in cells_of(runs)[language, architecture]]
            mean, half = statistics.mean(ways), T95[len(ways)] * statistics.stdev(ways) / math.sqrt(len(ways))
            assert texts[2] == f"{len(ways)} of 5"
            assert texts[6] == number(mean)
            low, high = (float(end) for end in texts[7].strip("[]").split(", "))
            # The interval is wider where the prompts are less certain than the seeds.
            assert low <= mean - half + 0.01
            assert high >= mean + half - 0.01
            counts[texts[9].split()[0]] += 1
            means.append(mean)
        assert f"In {counts['above']} of 6 judged combinations" in answer.paragraphs[0]
        assert f"in {counts['below']} clearly below, and in {counts['unclear']} unclear" in answer.paragraphs[0]
        assert (
            f"the mean way from that baseline (0) to the ceiling (1) is {number(statistics.mean(means))} "
            in (answer.paragraphs[0])
        )
        assert "28 of 30 runs have learned their language, and 6 of 6 combinations" in section.paragraphs[-1]

    def test_the_mean_way_has_an_interval_over_the_runs_of_all_combinations(self) -> None:
        hits = {"lstm": (6, 9, 12, 18), "mamba": (5, 5, 8, 9), "xlstm": (12, 13, 13, 12)}
        runs = [run for name, counts in hits.items() for run in repeated(counts, architecture=name)]
        ways = [[(k / PROMPTS - BASELINE) / (CEILING - BASELINE) for k in counts] for counts in hits.values()]
        mean = statistics.mean(map(statistics.mean, ways))
        squares = [statistics.variance(values) / 4 for values in ways]
        df = int(sum(squares) ** 2 / sum(square**2 / 3 for square in squares))
        half = T95[df + 1] * math.sqrt(sum(squares)) / 3
        text = claims(analysis(runs))[0].paragraphs[0]
        assert f"the ceiling (1) is {number(mean)} {interval(mean - half, mean + half)}." in text
        # Runs that all agree have no spread.
        text = claims(analysis(repeated((12, 12, 12, 12))))[0].paragraphs[0]
        assert "the ceiling (1) is 0.50 [0.50, 0.50]." in text

    def test_a_language_whose_baseline_reaches_the_ceiling_has_no_way(self) -> None:
        """A completer that stops at once keeps the open rules of `aastar` on all prompts, so no model can do better."""
        runs = [Run.of(run) for run in repeated((19, 19, 19, 19), language="aastar")]
        best = {"ceiling": runs[0].references["always-stop"]}
        runs = [run.model_copy(update={"references": {**run.references, **best}}) for run in runs]
        study = analyze(runs, summarize(runs))
        assert tables_of_claims(study)[0].lines[0].cells[-1].text.startswith("no scale")
        answer, section, *_ = claims(study)
        assert "No combination has 4 learned runs and a baseline below the ceiling" in answer.paragraphs[0]
        assert "1 other combination has them, but no baseline below the ceiling" in section.paragraphs[-1]

    @pytest.mark.parametrize(
        ("hits", "verdict"),
        [
            ((18, 18, 17, 18), "supported"),
            ((5, 5, 5, 5), "open"),
            ((0, 0, 0, 0), "contradicted"),
            # Seeds with very different rates allow no conclusion.
            ((19, 0, 19, 0), "open"),
            # Three seeds are too few.
            ((18, 18, 18), "open"),
        ],
    )
    def test_the_verdict_follows_the_intervals(self, hits: tuple[int, ...], verdict: str) -> None:
        assert analysis(repeated(hits)).verdict == verdict

    def test_an_unclear_combination_states_the_reason(self) -> None:
        runs = [*repeated((18, 18, 18)), *repeated((19, 0, 19, 0), architecture="mamba")]
        too_few, unclear = (line.cells[-1].text for line in tables_of_claims(analysis(runs))[0].lines)
        assert too_few == "too few runs (n = 3)"
        assert unclear.startswith("unclear (n = 4, the interval is ")

    def test_runs_that_diverged_are_counted_in_every_table(self) -> None:
        whole, cut = repeated((18, 18))
        runs = [Run.of(whole), Run.of(cut).model_copy(update={"diverged_at": 40})]
        rows = summarize(runs)
        assert [row.diverged for row in rows if row.source == "ours"] == [1]
        line = tables_of_claims(analyze(runs, rows))[0].lines[0]
        assert [cell.text for cell in line.cells[:3]] == ["anbn", "lstm (1 diverged)", "2 of 2"]

    def test_p_values_are_corrected_for_the_number_of_combinations(self) -> None:
        clear = repeated((9, 9, 10, 10), architecture="lstm")
        names = ("linear", "transformer", "mamba", "xlstm", "gpt2", "llama", "rwkv", "mamba2")
        rest = [run for name in names for run in repeated((4, 5, 6, 5), architecture=name)]
        alone, among = (analysis(runs).main for runs in (clear, [*clear, *rest]))
        first, second = alone[0], next(cell for cell in among if cell.model[0] == "lstm")
        assert first.p == second.p == first.corrected
        assert second.corrected is not None
        assert second.corrected > first.corrected  # type: ignore[operator]  # it has a value

    def test_equal_runs_have_the_uncertainty_of_their_prompts(self) -> None:
        """Four equal runs have no variance over seeds, but each of them has few prompts."""
        cell = analysis(repeated((7, 7, 7, 7))).main[0]
        assert cell.direction == "unclear"
        assert cell.spread.low is not None
        assert cell.spread.low < 0

    def test_the_baseline_is_the_best_reference_of_the_run(self) -> None:
        way = way_of(Run.of(results(outside=(5, 0, 0, 20))))
        assert way is not None
        assert (way.value, way.baseline, way.ceiling) == (0, BASELINE, CEILING)


class TestEqualLoss:
    def test_the_numbers_are_those_of_the_runs(self) -> None:
        runs, error = claim_runs(), 0.001
        apart: dict[str, list[float]] = {"seed": [], "architecture": []}
        tested = 0
        for (name, first), (other, second) in itertools.combinations_with_replacement(cells_of(runs).items(), 2):
            if name[0] != other[0]:
                continue
            couples = itertools.combinations(first, 2) if name == other else itertools.product(first, second)
            for (rate, loss, _), (other_rate, other_loss, _) in couples:
                tested += 1
                if abs(loss - other_loss) + 1.645 * math.sqrt(2) * error < 0.01:
                    apart["seed" if name == other else "architecture"].append(abs(rate - other_rate))
        every = apart["seed"] + apart["architecture"]
        text = claims(analysis(runs))[0].paragraphs[1]
        assert 0 < len(every) < tested
        assert f"{len(every)} of {tested} pairs of learned runs" in text
        assert f"differ by {number(statistics.mean(every))} [" in text
        details = claims(analysis(runs))[2].paragraphs[-1]
        assert f"seeds of one recipe {number(statistics.mean(apart['seed']))} [" in details
        assert f"architectures {number(statistics.mean(apart['architecture']))} [" in details

    @pytest.mark.parametrize(
        ("hits", "verdict"),
        [((19, 0) * 5, "supported"), ((9, 9, 10, 10, 9), "contradicted"), ((19, 0, 19), "open")],
    )
    def test_the_verdict_follows_the_intervals(self, hits: tuple[int, ...], verdict: str) -> None:
        assert analysis(repeated(hits)).equal[0].verdict == verdict

    def test_losses_are_equal_only_if_their_errors_allow_it(self) -> None:
        def run(excess: float, error: float) -> Run:
            return Run.of(results(excess=excess, excess_error=error))

        assert equal_losses(run(0.02, 0.001), run(0.021, 0.001))
        assert not equal_losses(run(0.02, 0.001), run(0.02 + TOLERANCE, 0.001))
        # The same difference, measured on fewer words.
        assert not equal_losses(run(0.02, 0.01), run(0.021, 0.01))
        assert equal_losses(run(0.02, 0.001), Run.of(results(floor=None))) is None

    def test_a_run_is_in_no_pair_with_its_own_training(self) -> None:
        """Two recipes that differ in the lengths of an evaluation train the same model."""
        runs = [Run.of(run) for run in repeated((9, 9, 9, 9))]
        others = [run.model_copy(update={"recipe": run.recipe.model_copy(update={"by_length": [4]})}) for run in runs]
        assert analyze([*runs, *others], summarize(runs)).equal[1].tested == 2 * 6 + 4 * 3

    def test_pair_kind_names_the_difference_of_two_recipes(self) -> None:
        def kind(**keys: object) -> str | None:
            return pair_kind(Recipe(), Recipe(**keys))  # type: ignore[arg-type]

        assert kind(seed=3, output_dir="elsewhere") == "seed"
        assert kind(architecture="mamba", learning_rate=0.1) == "architecture"
        assert kind(optimizer="muon", learning_rate=0.005) == "optimizer"
        assert kind(objective="oracle") == "objective"
        # Losses on other words cannot be compared.
        assert kind(max_length=16) is None
        # Nor can rates on other prompts.
        assert kind(architecture="mamba", prompt_length=6) is None
        assert kind(model={"num_hidden_layers": 3}) is None

    def test_the_interval_covers_the_mean_over_new_runs(self) -> None:
        """Half of the runs of a cell keep the rule, so that the mean difference over all pairs is known."""
        covered = []
        rng = np.random.default_rng(1)
        for _ in range(40):
            equal = analysis(repeated([19 if keeps else 0 for keeps in rng.random(12) < 0.5])).equal[0]
            assert equal.low is not None
            assert equal.high is not None
            covered.append(equal.low <= 0.5 * 19 / 20 <= equal.high)
        assert np.mean(covered) >= 0.85


class TestLevel:
    def test_the_correlation_has_one_case_for_each_language(self) -> None:
        """The outcome of a language is the mean rank of its runs among the runs of a model, averaged over models."""
        runs = claim_runs()
        correlations = analysis(runs).correlations
        ways: dict[str, list[float]] = {"ban": [], "anbn": [], "csdyck": []}
        times: dict[str, list[float]] = {"ban": [], "anbn": [], "csdyck": []}
        for architecture in ("lstm", "transformer"):
            cells = {name: cell for (name, model), cell in cells_of(runs).items() if model == architecture}
            rates = [rate for cell in cells.values() for rate, _, _ in cell]
            steps = [step for cell in cells.values() for _, _, step in cell]
            # The two runs that never learned are later than all others.
            never = {"anbn": 1, "csdyck": 1} if architecture == "lstm" else {}
            steps += [10**9] * len(never)
            for name, cell in cells.items():
                rate_ranks, step_ranks = slow_ranks(rates), slow_ranks(steps)
                ways[name].append(
                    statistics.mean(rate_ranks[rates.index(rate)] for rate, _, _ in cell) / (len(rates) + 1)
                )
                late = [step for _, _, step in cell] + [10**9] * never.get(name, 0)
                times[name].append(statistics.mean(step_ranks[steps.index(step)] for step in late))
        for outcome, scores in (("way", ways), ("learning time", times)):
            correlation = correlations[outcome, "level"]  # type: ignore[index]  # both are outcomes
            means = [statistics.mean(scores[name]) for name in ("ban", "anbn", "csdyck")]
            assert correlation.value == pytest.approx(pearson([1, 2, 3], slow_ranks(means)))
            assert correlation.n == 3
            # Thirty runs of three languages are only three cases, which are too few for an interval.
            assert correlation.low is None
        assert claims(analysis(runs))[-1].verdict == "open"

    def test_a_clear_relation_contradicts_the_claim(self) -> None:
        """Rates fall with the level in twelve languages, or in an order that has nothing to do with it."""
        names = ("ban", "bban", "tomita1", "tomita2", "anbn", "dyck", "abn", "dyck2d3", "anbncn", "csdyck", "shuffle3")
        ordered = sorted(names, key=lambda name: LEVELS.index(get_language(name).level))

        def verdict(hits: Sequence[int]) -> str:
            runs = [
                run
                for name, k in zip(ordered, hits, strict=True)
                for run in repeated((k, k, k, k), language=name, learned_at=100 + k)
            ]
            return analysis(runs).independence("level")

        assert verdict(range(19, 8, -1)) == "contradicted"
        assert verdict([12, 9, 17, 10, 14, 11, 18, 13, 9, 16, 15]) == "open"

    def test_a_run_that_lost_its_language_counts_as_later_than_all_others(self) -> None:
        early, lost = (Run.of(results(seed=seed, learned_at=100)) for seed in range(2))
        runs = [early, lost.model_copy(update={"learned": False})]
        times = outcomes(analyze(runs, summarize(runs)).main[0], "learning time")
        assert [time for _, time in times] == [100, math.inf]

    def test_two_languages_are_too_few(self) -> None:
        runs = [run for run in claim_runs() if run.recipe.language != "anbn"]
        study = analysis(runs)
        assert study.correlations["way", "level"].value is None
        assert claims(study)[-1].verdict == "open"

    def test_the_power_is_stated_for_the_study_and_for_all_languages(self) -> None:
        text = " ".join(claims(analysis(claim_runs()))[-1].paragraphs)
        assert "of studies with 3 languages of these levels" in text
        assert "with the 34 languages of this package" in text


class TestNearestLearner:
    def runs(self) -> list[Run]:
        """Return six runs: four are nearest to the modular learner, clearly in three, and two to the uniform one."""
        means = [(3.0, 2.0, 1.0)] * 3 + [(3.0, 1.05, 1.0), (1.0, 2.0, 3.0), (1.0, 2.0, 3.0)]
        runs = []
        for run, by_learner in zip(map(Run.of, repeated((8,) * 6)), means, strict=True):
            divergences = [
                Divergence(name, mean, mean - 0.2, mean + 0.2, 64)
                for name, mean in zip(LEARNERS, by_learner, strict=True)
            ]
            nearest_first = tuple(sorted(divergences, key=lambda divergence: divergence.mean))
            runs.append(run.model_copy(update={"resemblance": nearest_first}))
        return runs

    def test_the_sentence_and_the_table_count_the_runs(self, tmp_path: Path) -> None:
        runs = self.runs()
        study = analyze(runs, summarize(runs))
        expected = (
            "Of 6 learned runs, by the nearest rational learner: the uniform learner 2, the simple learner 0, the "
            "modular learner 4. The nearest learner is clear in 5 runs."
        )
        assert expected in claims(study)[1].paragraphs
        (table,) = (table for table in tables_of_claims(study) if table.name == "resemblance")
        cells = [cell.text for cell in table.lines[0].cells]
        assert cells[:3] == ["anbn", "lstm", "6"]
        assert cells[3].startswith(number(statistics.mean((3, 3, 3, 3, 1, 1))))
        assert cells[-2:] == ["modular 4, uniform 2", "5"]
        with drawing():
            picture = resemblance(study, tmp_path)
        assert isinstance(picture, Picture)
        assert picture.svg.is_file()

    def test_a_study_without_divergences_has_neither_sentence_nor_table(self) -> None:
        study = analysis(repeated((8,) * 4))
        assert not any("rational learner" in text for text in claims(study)[1].paragraphs)
        assert not any(table.name == "resemblance" for table in tables_of_claims(study))


class TestLearned:
    def test_runs_that_have_not_learned_are_in_no_mean(self) -> None:
        runs = [*repeated((10, 10, 10, 10)), results(seed=9, outside=(0, 0, 0, 20), learned=False)]
        learned, not_learned = (row for row in summarize([*map(Run.of, runs)]) if row.source == "ours")
        assert (learned.state, learned.n, learned.total, learned.values["ood_headline"].mean) == ("", 4, 5, 0.5)
        assert (not_learned.state, not_learned.n, not_learned.total, not_learned.values["ood_headline"].mean) == (
            "not learned",
            1,
            5,
            0,
        )
        assert [way.value for way in analysis(runs).main[0].ways] == pytest.approx([0.25 / 0.7] * 4)

    @pytest.mark.parametrize(
        ("keys", "learned"),
        [
            ({}, True),
            ({"inside": (20, 18, 20, 20)}, False),
            ({"inside": (20, 20, 20, 19)}, False),
            ({"excess": 0.4}, False),
            ({"floor": None}, True),
        ],
    )
    def test_rates_decide_whether_a_run_of_an_earlier_version_has_learned(
        self, keys: dict[str, object], learned: bool
    ) -> None:
        run = Run.of(results(learned=None, **keys))  # type: ignore[arg-type]
        assert (run.learned, run.learned_at) == (learned, None)

    def test_the_table_shows_the_change_of_the_rate_after_learning(self) -> None:
        def run(seed: int, *rates: float, learned_at: int = 100) -> Run:
            log = [{"step": 50 * i, "eval_loss": 0.3, "eval_ood_headline": rate} for i, rate in enumerate(rates, 1)]
            return Run.of(results(seed=seed, learned_at=learned_at), log)

        runs = [run(seed, 0.9, 0.2, 0.4, 0.5 + seed / 50) for seed in range(4)]
        study = analyze(runs, summarize(runs))
        assert study.main[0].changes == [pytest.approx((0.2, 0.5 + seed / 50)) for seed in range(4)]
        table = tables_of_claims(study)[-1]
        assert [cell.text for cell in table.lines[0].cells] == [
            "anbn", "lstm", "4", "0.20 → 0.53", "0.33", interval(0.33 - 0.0411, 0.33 + 0.0411), "rises", "-", "-",
        ]  # fmt: skip

    def test_runs_that_trained_on_the_prompts_are_left_out_of_the_claims(self) -> None:
        # The runs that trained on words alone keep their plain label, although they are fewer.
        runs = [*repeated((5, 5, 5, 5)), *repeated((20, 20, 20, 20, 20), objective="oracle")]
        rows = summarize([*map(Run.of, runs)])
        assert [row.label for row in rows if row.source == "on_prompts"] == ["lstm (objective oracle)"]
        assert [cell.model for cell in analysis(runs).combinations] == [("lstm", "")]
        objective = analysis(runs).equal[-1]
        assert (objective.kinds, objective.mean) == (("objective",), pytest.approx(0.75))

    def test_the_recipe_with_the_most_runs_stands_for_its_architecture(self) -> None:
        runs = [*repeated((18, 18, 18, 18)), *repeated((0, 0), learning_rate=0.1)]
        study = analysis(runs)
        assert [cell.model for cell in study.combinations] == [("lstm", ""), ("lstm", "learning_rate 0.1")]
        assert [cell.model for cell in study.main] == [("lstm", "")]

    def test_a_study_without_corrected_runs_is_reported_in_words(self) -> None:
        for runs in ([results(paper=AUTHORS_WAY)], repeated((9,) * 4, objective="adversarial")):
            text = claims(analysis(runs))[0].paragraphs[0]
            assert "No run of a corrected recipe that trains on words alone is in this study" in text
