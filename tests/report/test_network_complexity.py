"""The section on code lengths: means over seeds, correlations, sentences, and storage in the Parquet file."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from studies import results
from tiny import TINY

from hf_ruleextrap.cli import main
from hf_ruleextrap.evaluation.prequential import CodeLength
from hf_ruleextrap.languages import get_language
from hf_ruleextrap.report import Study, summarize
from hf_ruleextrap.report.analysis import analyze
from hf_ruleextrap.report.network_complexity import OOD_RATE, code_lengths, excess_bits
from hf_ruleextrap.report.read import read_study
from hf_ruleextrap.report.record import Run
from hf_ruleextrap.report.store import write_store
from hf_ruleextrap.report.stream_section import EXPECTED_ORDER, order_sentence, sentence, stability_sentences
from hf_ruleextrap.report.write import write_report
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.results import Results

LANGUAGES = ["aastar", "anbn", "ban", "dyck", "anbncn", "tomita4", "a5", "csdyck"]


def with_code(run: Run, bits: float, **keys: object) -> Run:
    """Return the run with another excess, and with other keys in its recipe."""
    nats = float(bits * np.log(2))
    code = CodeLength(words=9, tokens=99, nats=nats, data=0, uniform=99, ngrams={}, curve=[], reached={})
    return run.model_copy(update={"recipe": run.recipe.model_copy(update=keys), "code_length": code})


@pytest.fixture
def runs(tiny_run: Path) -> list[Run]:
    """Return two seeds each of an LSTM whose excess follows the description length and of a Transformer with noise."""
    from hf_ruleextrap.formal.measures import complexity

    record = Run.of(Results.read(tiny_run))
    rng = np.random.default_rng(0)
    studied = []
    for language in LANGUAGES:
        length = complexity(get_language(language)).description_length
        assert length is not None
        for architecture in ("lstm", "transformer"):
            for seed in (0, 1):
                bits = 100.0 * length + 10 * seed if architecture == "lstm" else float(rng.integers(100, 1000))
                values = {"language": language, "architecture": architecture, "seed": seed, "stream": True}
                keys = {key: value for key, value in TINY.items() if key != "train_size"}
                recipe = Recipe.of({**keys, **values}, "test")
                studied.append(with_code(record.model_copy(update={"recipe": recipe}), bits))
    return studied


def test_the_excess_is_the_mean_over_seeds_and_the_easiest_language_comes_first(runs: list[Run]) -> None:
    lengths = code_lengths(runs)
    assert lengths is not None
    by_hand = {
        cell: np.mean([r.code_length.excess_bits for r in runs if (r.recipe.language, r.recipe.architecture) == cell])  # type: ignore[union-attr]
        for cell in lengths.excess
    }
    assert lengths.excess == pytest.approx(by_hand)
    means = [np.mean([np.log(lengths.excess[name, a]) for a in lengths.architectures]) for name in lengths.languages]
    assert means == pytest.approx(sorted(means))


def test_a_missing_run_does_not_change_the_order_of_the_languages(runs: list[Run]) -> None:
    """The other architecture has twice the excess for each language, so that its order is the same."""
    lstm = [run for run in runs if run.recipe.architecture == "lstm"]
    twice = [with_code(run, 2 * excess_bits(run), architecture="mamba") for run in lstm]
    complete, easiest = code_lengths([*lstm, *twice]), LANGUAGES[0]
    partial = code_lengths([*(run for run in lstm if run.recipe.language != easiest), *twice])
    assert complete is not None
    assert partial is not None
    assert complete.languages == partial.languages
    assert (easiest, "lstm") not in partial.excess


def test_runs_with_other_settings_measure_the_stability_of_the_order(
    runs: list[Run],
) -> None:
    lstm = [run for run in runs if run.recipe.architecture == "lstm"]
    # At a tenth of the learning rate, the order of three languages is reversed.
    three = [run for run in lstm if run.recipe.language in LANGUAGES[:3] and run.recipe.seed == 0]
    slow = [with_code(run, 1e6 / excess_bits(run), learning_rate=run.recipe.learning_rate / 10) for run in three]
    lengths = code_lengths([*lstm, *slow])
    assert lengths is not None
    assert lengths.others == 3
    assert lengths.excess == code_lengths(lstm).excess  # type: ignore[union-attr]  # the runs have code lengths
    (stability,) = lengths.stabilities
    assert (stability.architecture, stability.setting) == ("lstm", "learning_rate")
    bits = {run.recipe.language: excess_bits(run) for run in three}
    ties = sum(a == b for a, b in itertools.combinations(bits.values(), 2))
    assert stability.same_order == pytest.approx(ties / 3)
    assert list(stability.excess) == sorted(stability.excess, key=float)
    assert "at two values of learning_rate" in stability_sentences(lengths.stabilities)[0]


@pytest.mark.parametrize(
    ("bits", "verdict"),
    [
        ((1, 2, 3), "the order holds, clearly (3 common seeds)"),
        ((2, 1, 3), "the order does not hold, clearly (3 common seeds)"),
        ((1, 1.001, 3), "the order holds, not clearly (3 common seeds)"),
    ],
)
def test_the_order_of_three_languages_is_judged_over_seeds(
    bits: tuple[float, float, float], verdict: str, runs: list[Run]
) -> None:
    first = runs[0]
    studied = [
        with_code(first, 1000 * level + 2 * seed * (language == "anbn"), language=language, seed=seed)
        for language, level in zip(EXPECTED_ORDER, bits, strict=True)
        for seed in range(3)
    ]
    lengths = code_lengths(studied)
    assert lengths is not None
    assert verdict in order_sentence(lengths, "lstm")
    assert order_sentence(lengths, "mamba") == ""


def test_the_excess_is_correlated_with_the_ood_rate_of_the_same_study(runs: list[Run]) -> None:
    fixed = [Run.of(results(language, "lstm", outside=(2 * i, 0, 0, 20))) for i, language in enumerate(LANGUAGES)]
    ranks = {language: i for i, language in enumerate(LANGUAGES)}
    streams = [
        with_code(run, 100.0 * (10 - ranks[run.recipe.language])) for run in runs if run.recipe.architecture == "lstm"
    ]
    lengths = code_lengths([*fixed, *streams], analyze(fixed, summarize(fixed)).main)
    assert lengths is not None
    with_rate = lengths.correlations["lstm", OOD_RATE]
    assert (with_rate.value, with_rate.n) == (-1, len(LANGUAGES))


def test_a_study_of_streams_alone_has_no_tables_of_rates(runs: list[Run], tmp_path: Path) -> None:
    write_report(Study(runs), tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## What is complex for a network",
        "## Method",
    ]
    assert "OOD R1" not in text


def test_the_sentence_names_the_correlates_of_the_excess(runs: list[Run]) -> None:
    lengths = code_lengths(runs)
    assert lengths is not None
    assert "the excess goes with" in sentence(lengths, "lstm")
    assert "description length (1.00" in sentence(lengths, "lstm")
    assert "nothing tested goes with the excess" in sentence(lengths, "transformer")
    of_three_languages = code_lengths([run for run in runs if run.recipe.language in LANGUAGES[:3]])
    assert of_three_languages is not None
    assert "too few" in sentence(of_three_languages, "lstm")


def test_a_study_without_streams_has_no_section(tiny_run: Path) -> None:
    assert code_lengths([Run.of(Results.read(tiny_run))]) is None


def test_the_report_from_the_parquet_file_is_the_same(runs: list[Run], tmp_path: Path) -> None:
    write_store(tmp_path / "runs.parquet", runs[:4], {}, ())
    write_report(read_study([tmp_path / "runs.parquet"]), tmp_path / "first")
    write_report(read_study([tmp_path / "first" / "runs.parquet"]), tmp_path / "second")
    for name in ("report.md", "runs.csv", "figures/code-lengths.svg"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    assert "What is complex for a network" in (tmp_path / "first" / "report.md").read_text()


def test_the_complexity_command_measures_a_language(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["complexity", "ban", "--max-steps", "3", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["words"] == 3 * 64
    assert document["excess_bits"] == pytest.approx(
        (document["nats"] + document["choice"] - document["data"]) / np.log(2)
    )
    assert document["measures"]["counter_depth"] == 0
