"""The schema of every evaluation, the comparison of two models, and the callback of a Trainer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from language_models import serving
from torch import nn
from transformers import Trainer, TrainingArguments

from hf_ruleextrap.architectures import build_model
from hf_ruleextrap.cli import main
from hf_ruleextrap.completers import BackendConfig, Completer, FromSource, LocalModel, Oracle, text_completer
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation import REFERENCES, Evaluation, Evaluator
from hf_ruleextrap.evaluation.callback import RuleExtrapolationCallback, wrap_module
from hf_ruleextrap.evaluation.comparison import compare
from hf_ruleextrap.evaluation.protocol import ProtocolSettings
from hf_ruleextrap.evaluation.references import heading
from hf_ruleextrap.evaluation.table import rates_table
from hf_ruleextrap.evaluation.text import TextRun
from hf_ruleextrap.formal import WordBatch, always_stop
from hf_ruleextrap.languages import get_language
from hf_ruleextrap.train.results import Results

ANBN = get_language("anbn")
OLD_STORE = Path(__file__).parents[1] / "report" / "store"


@pytest.fixture(scope="module")
def by_symbols() -> Evaluation:
    words = WordBatch.from_strings(list(ANBN.words(16)))
    return Evaluator(ANBN, prompt_length=4, max_new_symbols=8, train_words=words)(Oracle(ANBN), "oracle")


@pytest.fixture(scope="module")
def by_text(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    settings = ProtocolSettings("anbn", shots=2, limit=4, samples=1)
    with serving() as server:
        completer = text_completer("openai", BackendConfig("m", base_url=server.url, retries=0))
        return TextRun(completer, "m", settings, controls=True, out=tmp_path_factory.mktemp("text"))()


def test_both_protocols_fill_the_same_schema(by_symbols: Evaluation, by_text: Evaluation) -> None:
    first, second = by_symbols.to_dict(), by_text.to_dict()
    assert list(first) == list(second)
    assert list(first["conditions"][0]) == list(second["conditions"][0])
    assert [condition.name for condition in by_symbols.conditions] == ["id", "ood"]
    assert by_text.conditions[0].name == "main"
    assert (by_symbols.protocol, by_text.protocol) == ("symbols", "v2")
    for evaluation in (by_symbols, by_text):
        assert evaluation.main.kind == "ood"
        assert set(evaluation.kinds) == {"id", "ood"}
        assert {"uniform", "always-stop", "3-gram", "oracle", "ceiling"} <= set(evaluation.main.references)


def test_both_protocols_compare_with_the_same_references(by_symbols: Evaluation, by_text: Evaluation) -> None:
    for evaluation in (by_symbols, by_text):
        for condition in evaluation.conditions:
            outcome = condition.greedy
            assert sum(outcome.statuses.values()) == outcome.report.n
            assert outcome.report.finished.hits == sum(outcome.statuses.get(name, 0) for name in ("ok", "empty"))
            assert outcome.verdict is not None
            assert outcome.verdict.chance is not None
            main_rate = outcome.report.headline if condition.kind == "ood" else outcome.report.grammatical
            chance = condition.chance.headline if condition.kind == "ood" else condition.chance.grammatical
            assert main_rate.rate is not None
            assert chance.rate is not None
            assert outcome.verdict.chance.mean == pytest.approx(main_rate.rate - chance.rate, abs=1e-6)
    orders = [
        {name.removesuffix(", greedy") for name in evaluation.main.references if "gram" in name}
        for evaluation in (by_symbols, by_text)
    ]
    assert orders == [{"1-gram", "2-gram", "3-gram"}] * 2


def test_one_table_shows_evaluations_of_both_protocols(by_symbols: Evaluation, by_text: Evaluation) -> None:
    for evaluation in (by_symbols, by_text):
        headings, rows = rates_table(evaluation)
        assert all(len(row) == len(headings) for row in rows)
        assert {"chance", "stop at once", "ceiling"} <= set(headings)
        counted = [row[1] for row in rows]
        assert "every open rule holds (headline)" in counted
        assert "a word of the language" in counted
        assert "completion finished" in counted
    assert len(rates_table(by_text, "drawn")[1]) == len(rates_table(by_text)[1])
    assert rates_table(by_symbols, "drawn")[1] == []


def test_each_reference_has_one_heading() -> None:
    headings = [heading(name) for name in REFERENCES]
    assert len(set(headings)) == len(headings)
    assert headings[:3] == ["chance", "stop at once", "1-gram"]


def test_an_evaluation_is_read_as_it_was_written(by_symbols: Evaluation, by_text: Evaluation, tmp_path: Path) -> None:
    for evaluation in (by_symbols, by_text):
        evaluation.write(tmp_path)
        assert Evaluation.read(tmp_path) == evaluation
        assert Evaluation.model_validate(evaluation.to_dict()) == evaluation


def test_a_file_holds_each_set_of_references_once(by_text: Evaluation, tiny_run: Path) -> None:
    document = by_text.to_dict()
    sets = list(document["references"].values())
    assert all(sets.count(each) == 1 for each in sets)
    assert len(sets) < len(by_text.conditions)
    # Conditions that differ in the alphabet have the same references; conditions with different contexts do not.
    names = {condition["name"]: condition["references"] for condition in document["conditions"]}
    assert names["alphabet words"] == names["main"] == "main"
    assert names["context r2-broken"] == "context r2-broken"
    run = json.loads((tiny_run / "results.json").read_text())
    assert set(run["references"]) == {"id", "ood"}
    for name in ("best", "last"):
        assert [condition["references"] for condition in run[name]["conditions"]] == ["id", "ood"]
        assert "references" not in run[name]
    results = Results.read(tiny_run)
    assert results.best.main.references == results.last.main.references
    assert results.best.main.chance.headline.rate == run["references"]["ood"]["uniform"]["headline"]["rate"]
    assert json.loads(results.model_dump_json()) == run


def test_files_of_schema_version_1_are_refused_in_one_line(tmp_path: Path, by_symbols: Evaluation) -> None:
    folder = next(path.parent for path in sorted(OLD_STORE.glob("*/results.json")))
    with pytest.raises(RuleExtrapError, match=r"schema version 1, and here it is 2: train again; .*report") as error:
        Results.read(folder)
    assert "\n" not in str(error.value)
    path = by_symbols.write(tmp_path)
    path.write_text(json.dumps({**by_symbols.to_dict(), "schema_version": 1}))
    with pytest.raises(RuleExtrapError, match=r"schema version 1, and here it is 2: .*its answers are kept"):
        Evaluation.read(tmp_path)


def test_a_missing_set_of_references_is_refused_in_one_line(tmp_path: Path, by_symbols: Evaluation) -> None:
    path = by_symbols.write(tmp_path)
    path.write_text(json.dumps({**by_symbols.to_dict(), "references": {}}))
    with pytest.raises(RuleExtrapError, match=r"conditions\.0\.references") as error:
        Evaluation.read(tmp_path)
    assert "\n" not in str(error.value)


# Flags.

SYMBOLS = (
    "do(es)? not apply to a checkpoint that is evaluated symbol by symbol: leave (it|them) out, or give --protocol v2"
)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--protocol", "symbols", "--shots", "4"], f"--shots {SYMBOLS}"),
        (["--protocol", "symbols", "--samples", "0"], f"--samples {SYMBOLS}"),
        (["--protocol", "symbols", "--timeout", "5", "--dry-run"], f"--dry-run, --timeout {SYMBOLS}"),
        (["--protocol", "symbols", "--batch-size", "8"], f"--batch-size {SYMBOLS}"),
        (["--protocol", "symbols", "--wait"], f"--wait {SYMBOLS}"),
        (["--concurrency", "2"], "--concurrency does not apply to the backend hf"),
        (["--tokenizer", "t"], "--tokenizer does not apply to the backend hf"),
        (["--backend", "hf", "--base-url", "http://127.0.0.1:9/v1"], "--base-url does not apply to the backend hf"),
        (["--base-url", "http://127.0.0.1:9/v1", "--batch-size", "2"], "--batch-size does not apply to the backend op"),
        (["--base-url", "http://127.0.0.1:9/v1", "--trust-remote-code"], "--trust-remote-code does not apply to the"),
        (["--backend", "replay", "--key-env", "KEY"], "--key-env does not apply to the backend replay"),
        (["--dry-run", "--json"], "--json does not apply to a dry run"),
        (["--protocol", "v2", "--paper"], "--paper does not apply to the text protocol"),
    ],
)
def test_a_flag_without_effect_is_refused(
    flags: list[str], message: str, tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--model", str(tiny_run), "--language", "anbn", *flags]) == 2
    printed = capsys.readouterr()
    assert not printed.out
    assert printed.err.count("\n") == 1
    with pytest.raises(RuleExtrapError, match=message):
        raise RuleExtrapError(printed.err)


@pytest.mark.parametrize(
    "flags", [["--shots", "4"], ["--alphabet", "words"], ["--backend", "hf"], ["--batch-size", "2"]]
)
def test_discriminate_refuses_flags_without_effect(
    flags: list[str], tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["discriminate", "--model", str(tiny_run), "--language", "anbn", *flags]
    assert main([*command, "--protocol", "symbols"]) == 2
    assert f"{flags[0]} does not apply to a checkpoint that is evaluated symbol by symbol" in capsys.readouterr().err
    # Without --protocol, the flag selects the text protocol, which this checkpoint cannot follow.
    assert main(command) == 2
    assert "no spaces and line breaks" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["evaluate", "discriminate"])
def test_the_tokenizer_is_loaded_once(
    command: str,
    tiny_run: Path,
    text_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    loaded: list[str] = []
    load = transformers.AutoTokenizer.from_pretrained

    def count_and_load(name: str, *rest: Any, **settings: Any) -> Any:
        loaded.append(name)
        return load(name, *rest, **settings)

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", count_and_load)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(text_model, "model")
    for model in (str(tiny_run), "model"):
        loaded.clear()
        assert main([command, "--model", model, "--language", "bban" if model == "model" else "anbn"]) == 0
        assert loaded == [model], capsys.readouterr().err


# The comparison of two models.

ORACLE, STOP = Oracle(ANBN), FromSource(always_stop(ANBN))


@pytest.mark.parametrize(("first", "second"), [(ORACLE, STOP), (STOP, ORACLE), (STOP, STOP)])
def test_a_comparison_has_the_rates_of_two_evaluations(first: Completer, second: Completer) -> None:
    comparison = compare(first, second, ANBN, prompt_length=5, max_new_symbols=12)
    evaluator = Evaluator(ANBN, prompt_length=5, max_new_symbols=12)
    reports = [{c.kind: c.greedy.report for c in evaluator(model).conditions} for model in (first, second)]
    for rate in comparison.rates:
        for report, value in zip((reports[0][rate.kind], reports[1][rate.kind]), rate.rates, strict=True):
            if rate.counted.startswith("R"):
                expected = list(report.rules.values())[int(rate.counted[1]) - 1].word.all
            else:
                expected = {
                    "a word of the language": report.grammatical,
                    "every open rule holds": report.headline,
                    "completion finished": report.finished,
                }[rate.counted]
            assert (expected.rate, expected.n) == (pytest.approx(value), rate.n), rate
        assert rate.difference.mean == pytest.approx(rate.rates[0] - rate.rates[1])
        assert rate.difference.low <= rate.difference.mean <= rate.difference.high
    main_rates = [next(rate for rate in comparison.rates if rate.kind == kind) for kind in ("id", "ood")]
    assert len(comparison.prompts) == sum(rate.only_first + rate.only_second for rate in main_rates)
    assert sum(prompt.first_succeeds for prompt in comparison.prompts) == sum(rate.only_first for rate in main_rates)


def test_a_prompt_on_which_two_models_differ_shows_both_completions() -> None:
    comparison = compare(ORACLE, STOP, ANBN, prompt_length=3, max_new_symbols=6)
    by_prompt = {each.prompt: each for each in comparison.prompts}
    assert by_prompt["bba"].completions[1] == ""
    assert by_prompt["bba"].first_succeeds
    completed = "bba" + by_prompt["bba"].completions[0]
    assert completed.count("a") == completed.count("b")


def test_the_compare_command_prints_a_table_and_draws_a_figure(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compare", str(tiny_run), str(tiny_run / "last"), "--prompt-length=4"]
    assert main([*command, "--out", str(tmp_path / "figure.png")]) == 0
    printed = capsys.readouterr().out
    assert "every open rule holds" in printed
    assert "[-0." in printed
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    assert main([*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["language"] == "anbn"
    assert {rate["kind"] for rate in document["rates"]} == {"id", "ood"}


def test_invalid_arguments_of_compare_are_refused_in_one_line(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, message in (
        ([str(tmp_path), str(tiny_run)], "give --language"),
        ([str(tiny_run), str(tmp_path / "none"), "--language=anbn"], "no checkpoint can be loaded"),
        ([str(tiny_run), str(tiny_run), "--out=x.gif"], "cannot draw 'x.gif'"),
        ([str(tiny_run), str(tiny_run), "--max-new-symbols=-1"], "max_new_symbols"),
        ([str(tiny_run), str(tiny_run), "--language=dyck"], "error: "),
    ):
        assert main(["compare", *words]) == 2
        errors = capsys.readouterr().err
        assert message in errors
        assert errors.count("\n") == 1


# The callback.


def test_the_callback_adds_the_rates_of_the_model_to_the_metrics(tmp_path: Path) -> None:
    model = build_model("lstm", language=ANBN, seed=0)
    callback = RuleExtrapolationCallback(ANBN, prompt_length=3, max_new_symbols=4)
    rows = [{"input_ids": [1, 3, 4, 2], "labels": [1, 3, 4, 2]}] * 4
    arguments = TrainingArguments(
        str(tmp_path),
        max_steps=2,
        eval_strategy="steps",
        eval_steps=1,
        save_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="ood_headline",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=rows, eval_dataset=rows, callbacks=[callback])
    trainer.train()
    metrics = trainer.evaluate()
    evaluation = Evaluator(ANBN, prompt_length=3, max_new_symbols=4)(LocalModel(model, ANBN))
    assert {f"eval_{name}": rate for name, rate in evaluation.rates().items()}.items() <= metrics.items()
    assert sum("eval_ood_headline" in line for line in trainer.state.log_history) == 3


def test_a_wrapped_module_completes_by_its_logits() -> None:
    class Alternates(nn.Module):
        """A network that predicts b after a, and the end after b."""

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return 50.0 * nn.functional.one_hot(torch.where(ids == 3, 4, torch.where(ids == 4, 2, 3)), 5)

    completer = LocalModel(wrap_module(Alternates(), "anbn"), ANBN)
    completions = completer.complete(ANBN.label(["a", "b", "ba"]), max_new_symbols=3)
    assert list(completions.words) == ["b", "", "b"]
    assert completions.finished.all()
