"""The section on code lengths: means over seeds, correlations, sentences, and its way through the Parquet file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny import TINY

from hf_ruleextrap.cli import main
from hf_ruleextrap.evaluation.prequential import CodeLength
from hf_ruleextrap.languages import get_language
from hf_ruleextrap.report.network_complexity import code_lengths, sentence
from hf_ruleextrap.report.read import read_study
from hf_ruleextrap.report.record import Run
from hf_ruleextrap.report.store import write_store
from hf_ruleextrap.report.write import write_report
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.results import Results

LANGUAGES = ["aastar", "anbn", "ban", "dyck", "anbncn", "tomita4", "a5", "csdyck"]


@pytest.fixture
def runs(tiny_run: Path) -> list[Run]:
    """An LSTM whose excess follows the description length, and a Transformer with noise, two seeds of each."""
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
                nats = bits * np.log(2)
                code = CodeLength(words=9, tokens=99, nats=nats, data=0, uniform=99, ngrams={}, curve=[], reached={})
                values = {"language": language, "architecture": architecture, "seed": seed, "stream": True}
                keys = {key: value for key, value in TINY.items() if key != "train_size"}
                recipe = Recipe.of({**keys, **values}, "test")
                studied.append(record.model_copy(update={"recipe": recipe, "code_length": code}))
    return studied


def test_the_excess_is_the_mean_over_seeds_and_the_easiest_language_comes_first(runs: list[Run]) -> None:
    lengths = code_lengths(runs)
    assert lengths is not None
    by_hand = {
        cell: np.mean([r.code_length.excess_bits for r in runs if (r.recipe.language, r.recipe.architecture) == cell])  # type: ignore[union-attr]
        for cell in lengths.excess
    }
    assert lengths.excess == pytest.approx(by_hand)
    means = [np.mean([lengths.excess[name, a] for a in lengths.architectures]) for name in lengths.languages]
    assert means == sorted(means)


def test_the_sentence_names_what_goes_with_the_excess(runs: list[Run]) -> None:
    lengths = code_lengths(runs)
    assert lengths is not None
    assert "the excess goes with" in sentence(lengths, "lstm")
    assert "description length (1.00" in sentence(lengths, "lstm")
    assert "nothing tested goes with the excess" in sentence(lengths, "transformer")
    few = code_lengths([run for run in runs if run.recipe.language in LANGUAGES[:3]])
    assert few is not None
    assert "too few" in sentence(few, "lstm")


def test_a_study_without_streams_has_no_section(tiny_run: Path) -> None:
    assert code_lengths([Run.of(Results.read(tiny_run))]) is None


def test_the_report_from_the_parquet_file_is_the_same(runs: list[Run], tmp_path: Path) -> None:
    write_store(tmp_path / "runs.parquet", runs[:4], {}, ())
    write_report(read_study([tmp_path / "runs.parquet"]), tmp_path / "first")
    write_report(read_study([tmp_path / "first" / "runs.parquet"]), tmp_path / "second")
    for name in ("report.md", "runs.csv", "figures/code-lengths.svg"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    assert "What is complex for a network" in (tmp_path / "first" / "report.md").read_text()


def test_the_command_places_a_language(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["complexity", "ban", "--max-steps", "3", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["words"] == 3 * 64
    assert document["excess_bits"] == pytest.approx(
        (document["nats"] + document["choice"] - document["data"]) / np.log(2)
    )
    assert document["measures"]["counter_depth"] == 0
