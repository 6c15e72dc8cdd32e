"""The answer at the top of the report follows the numbers."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from report_study import AUTHORS_WAY, pearson
from studies import rate, results

from hf_ruleextrap.report import Row, Run, summarize
from hf_ruleextrap.report.analysis import POOLED, WITHIN, Analysis, against_chance, analyze, points, verdicts
from hf_ruleextrap.report.answer import answer_section
from hf_ruleextrap.train.results import Results


def analysis(results: Sequence[Results]) -> Analysis:
    runs = [*map(Run.of, results)]
    return analyze(runs, summarize(runs))


class TestVerdicts:
    @pytest.mark.parametrize(
        ("hits", "n", "significant"),
        [
            ((150, 160, 155), 200, True),
            ((5, 6, 4), 200, True),
            ((100, 199, 5), 200, False),
            # All runs agree, but on three prompts: no variation over runs, and much over prompts.
            ((3, 3, 3), 3, False),
            # One run has its prompts alone.
            ((190,), 200, True),
        ],
    )
    def test_a_rate_differs_from_chance_over_runs_and_over_prompts(
        self, hits: tuple[int, ...], n: int, significant: bool
    ) -> None:
        row = Row.over("anbn", "lstm", "ours", "corrected", [{"ood_headline": rate(k, n)} for k in hits])
        p = against_chance(row, "ood_headline", 0.5)
        assert p is not None
        assert (p <= 0.05) == significant

    def test_without_an_interval_there_is_no_p_value(self) -> None:
        row = Row.over("anbn", "lstm", "ours", "corrected", [{"ood_headline": 0.9}])
        assert against_chance(row, "ood_headline", 0.5) is None
        assert verdicts([row]) == {}

    def test_many_comparisons_are_corrected(self) -> None:
        """The more pairs that do not differ from chance, the more is asked of one that does."""
        chance = Row.over("anbn", "", "uniform", "corrected", [{"ood_headline": 0.5}])

        def row(name: str, *hits: int) -> Row:
            return Row.over("anbn", name, "ours", "corrected", [{"ood_headline": rate(k, 400)} for k in hits])

        clear = row("clear", 250, 245, 255)
        rest = [row(f"unclear {i}", 200 + i, 190, 210) for i in range(30)]
        alone, among = (verdicts([clear, chance, *others]) for others in ([], rest))
        key = ("anbn", "clear", "ood_headline")
        assert alone[key].direction == among[key].uncorrected == "above"
        assert among[key].direction == "unclear"
        assert among[key].p == alone[key].p == alone[key].corrected < among[key].corrected

    def test_the_table_shows_both(self) -> None:
        runs = [results(outside=(16, 16, 16, 20), seed=seed) for seed in range(3)]
        runs += [results(architecture=name, outside=(3, 3, 3, 20)) for name in ("mamba", "xlstm", "linear", "gpt2")]
        found = analysis(runs)
        # 16 of 20 against 3 of 20 is clear whatever the others.
        assert found.verdicts["anbn", "lstm", "ood_headline"].direction == "above"
        table = answer_section(found).tables[0]
        assert [cell.text[-1] for cell in table.lines[0].cells[2:7]] == ["·", "↑", "·", "·", "·"]


class TestAnswer:
    def test_it_follows_the_numbers(self) -> None:
        """The same runs with the loss turned round say the opposite, and runs without any order say nothing."""

        names = ("linear", "lstm", "transformer", "mamba", "xlstm")

        def last_paragraph(*losses: float, alike: bool = False) -> str:
            """The losses belong to 2, 5, 9, 14 and 18 hits; another model is the best in each language."""
            runs = [
                results(
                    language, names[(place + (0 if alike else shift)) % 5], outside=(hits, hits, hits, 20), loss=loss
                )
                for shift, language in enumerate(("anbn", "ban", "dyck", "csdyck"))
                for place, (hits, loss) in enumerate(zip((2, 5, 9, 14, 18), losses, strict=True))
            ]
            return answer_section(analysis(runs)).paragraphs[2]

        corrected = "After Holm's correction for the 20 correlations of this report, the rate "
        assert f"{corrected}falls as the loss rises (within languages" in last_paragraph(0.9, 0.8, 0.6, 0.7, 0.5)
        assert f"{corrected}rises with the loss (within languages" in last_paragraph(0.5, 0.7, 0.6, 0.8, 0.9)
        assert "do not show that the rate follows from the test loss" in last_paragraph(0.7, 0.9, 0.5, 0.8, 0.6)
        # One order of five models in all languages is one order of five: 10 of 120 are at least as clear.
        assert "No p-value is at most 0.05" in last_paragraph(0.9, 0.8, 0.6, 0.7, 0.5, alike=True)
        # And a perfect one, 2 of 120, is clear by itself.
        assert "Without a correction the rate falls" in last_paragraph(0.9, 0.8, 0.7, 0.6, 0.5, alike=True)

    def test_the_level_is_hedged(self) -> None:
        order = {"ban": 18, "bban": 17, "anbn": 12, "dyck": 11, "anbncn": 5, "csdyck": 4}
        runs = [results(name, outside=(hits, hits, hits, 20)) for name, hits in order.items()]
        level = answer_section(analysis(runs)).paragraphs[1]
        # Six languages on three levels: ranks 1.5 1.5 3.5 3.5 5.5 5.5 against 6 to 1.
        rho = pearson([1.5, 1.5, 3.5, 3.5, 5.5, 5.5], [6, 5, 4, 3, 2, 1])
        assert f"lstm {rho:.2f} [" in level
        assert "(n = 6)" in level
        # Clear by itself (p = 16 / 720), and not among the correlations of the whole report.
        assert "Without a correction the rate falls as the level rises (lstm, p = 0.02" in level
        assert "these runs do not show that the rate follows from the level" in level
        few = answer_section(analysis(runs[:2])).paragraphs[1]
        assert "this study has 2 on 1" in few

    def test_pooling_alone_would_deceive(self) -> None:
        runs = [
            results(language, name, outside=(base + i, 9, 9, 20), loss=base / 10 + 0.5 - i / 100)
            for language, base in (("anbn", 2), ("ban", 8), ("dyck", 14))
            for i, name in enumerate(("linear", "lstm", "transformer", "mamba", "xlstm"))
        ]
        found = analysis(runs)
        pooled, within = (found.correlation("loss", over) for over in (POOLED, WITHIN))
        assert pooled.value is not None
        assert pooled.value > 0.5
        assert within.value == -1
        languages = ("anbn", "ban", "dyck")
        assert [found.correlation("loss", f"within {language}").value for language in languages] == [-1, -1, -1]

    def test_models_trained_on_the_prompts_are_shown_and_answer_nothing(self) -> None:
        runs = [results(outside=(5, 5, 5, 20)), results(outside=(20, 20, 20, 20), objective="oracle")]
        rows = summarize([*map(Run.of, runs)])
        assert [row.label for row in rows if row.source == "on_prompts"] == ["lstm (objective oracle)"]
        assert len(points([*map(Run.of, runs)])) == 1
        assert (
            "has 1 pairs of a language and a model" in answer_section(analyze([*map(Run.of, runs)], rows)).paragraphs[0]
        )

    def test_without_corrected_runs_it_says_so(self) -> None:
        runs = [results(paper=AUTHORS_WAY)]
        assert "No run of a corrected recipe" in answer_section(analysis(runs)).paragraphs[0]
