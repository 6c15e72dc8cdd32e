"""The answer at the top of the report follows the numbers."""

from __future__ import annotations

from report_study import AUTHORS_WAY, pearson
from studies import rate, results

from hf_ruleextrap.report import Row, summarize
from hf_ruleextrap.report.answer import answer, loss_correlations, points, verdict

T95 = {2: 12.7062, 3: 4.3027, 4: 3.1824}


class TestAnswer:
    def test_it_is_told_from_chance_by_both_intervals(self) -> None:
        def row(*hits: int, n: int) -> Row:
            return Row.over("anbn", "lstm", "ours", "corrected", [{"ood_headline": rate(k, n)} for k in hits])

        assert verdict(row(150, 160, 155, n=200), "ood_headline", 0.5) == "above"
        assert verdict(row(5, 6, 4, n=200), "ood_headline", 0.5) == "below"
        assert verdict(row(100, 199, 5, n=200), "ood_headline", 0.5) == "open"
        # All runs agree, but on three prompts: no width over runs, and far too much over prompts.
        assert verdict(row(3, 3, 3, n=3), "ood_headline", 0.5) == "open"
        # One run has its prompts alone.
        assert verdict(row(190, n=200), "ood_headline", 0.5) == "above"
        assert verdict(row(190, n=200), "ood_headline", None) is None
        assert verdict(row(190, n=200), "ood_r1", 0.5) is None

    def test_it_follows_the_numbers(self) -> None:
        """The same runs with the loss turned round say the opposite, and runs without any order say nothing."""

        def said(loss_of_hits: dict[int, float]) -> str:
            runs = [
                results(language, name, outside=(hits, hits, hits, 20), loss=loss)
                for language in ("anbn", "ban", "dyck", "csdyck")
                for name, (hits, loss) in zip(
                    ("linear", "lstm", "transformer", "mamba", "xlstm"), loss_of_hits.items(), strict=True
                )
            ]
            return "\n".join(answer(runs, summarize(runs)).paragraphs)

        assert "the rate falls as the loss rises" in said({2: 0.9, 5: 0.8, 9: 0.6, 14: 0.7, 18: 0.5})
        assert "the rate rises with the loss" in said({2: 0.5, 5: 0.7, 9: 0.6, 14: 0.8, 18: 0.9})
        assert "do not show that it follows from the test loss" in said({2: 0.7, 5: 0.9, 9: 0.5, 14: 0.8, 18: 0.6})

    def test_the_level_is_hedged(self) -> None:
        order = {"ban": 18, "bban": 17, "anbn": 12, "dyck": 11, "anbncn": 5, "csdyck": 4}
        runs = [results(name, outside=(hits, hits, hits, 20)) for name, hits in order.items()]
        level = answer(runs, summarize(runs)).paragraphs[1]
        # Six languages on three levels: ranks 1.5 1.5 3.5 3.5 5.5 5.5 against 6 to 1.
        rho = pearson([1.5, 1.5, 3.5, 3.5, 5.5, 5.5], [6, 5, 4, 3, 2, 1])
        assert f"lstm {rho:.2f} [" in level
        assert "(n = 6)" in level
        assert "the rate falls as the level rises (lstm)" in level
        few = answer(runs[:2], summarize(runs[:2])).paragraphs[1]
        assert "here are 2 on 1" in few

    def test_pooling_alone_would_deceive(self) -> None:
        runs = [
            results(language, name, outside=(base + i, 9, 9, 20), loss=base / 10 + 0.5 - i / 100)
            for language, base in (("anbn", 2), ("ban", 8), ("dyck", 14))
            for i, name in enumerate(("linear", "lstm", "transformer", "mamba", "xlstm"))
        ]
        found = loss_correlations(points(runs))
        assert found.pooled.value is not None
        assert found.pooled.value > 0.5
        assert found.within.value == -1
        assert [c.value for c in found.languages.values()] == [-1, -1, -1]

    def test_models_trained_on_the_prompts_are_shown_and_answer_nothing(self) -> None:
        runs = [results(outside=(5, 5, 5, 20)), results(outside=(20, 20, 20, 20), objective="oracle")]
        rows = summarize(runs)
        assert [row.label for row in rows if row.source == "on_prompts"] == ["lstm (objective oracle)"]
        assert len(points(runs)) == 1
        assert "Pairs of a language and a model: 1," in answer(runs, rows).paragraphs[0]

    def test_without_corrected_runs_it_says_so(self) -> None:
        runs = [results(paper=AUTHORS_WAY)]
        assert "No run of a corrected recipe" in answer(runs, summarize(runs)).paragraphs[0]
