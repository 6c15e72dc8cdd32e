"""A run of the text protocol: conditions, references, verdict, results, and the command."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from language_models import serving

from hf_ruleextrap import formal
from hf_ruleextrap.cli import main
from hf_ruleextrap.completers import BackendConfig, Request, text_completer
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation import Evaluation, read_evaluations
from hf_ruleextrap.evaluation.protocol import ProtocolSettings, context_words
from hf_ruleextrap.evaluation.references import Difference, FromContext, judge, protocol_references, success
from hf_ruleextrap.evaluation.table import controls_table, rates_table, remarks
from hf_ruleextrap.evaluation.text import AnswerCache, TextRun, conditions_of, requests_of
from hf_ruleextrap.formal import Clusters, WordBatch
from hf_ruleextrap.languages import get_language
from hf_ruleextrap.report import rates_of, read_study, write_report

# Examples have no deadline, because a machine may be busy.
PATIENT = hypothesis.settings(deadline=None)

ANBN = ProtocolSettings("anbn", shots=3, limit=8, samples=2)


def run_of(url: str, out: Path, settings: ProtocolSettings = ANBN, *, controls: bool = False) -> TextRun:
    completer = text_completer("openai", BackendConfig("m", base_url=url, retries=0))
    return TextRun(completer, "m", settings, controls=controls, out=out)


# Conditions.


def test_each_control_changes_one_parameter() -> None:
    conditions = conditions_of(ProtocolSettings("anbn"), controls=True)
    main_settings = conditions.pop("main").to_dict()
    for name, settings in conditions.items():
        changed = {key for key, value in settings.to_dict().items() if value != main_settings[key]}
        assert len(changed) == (2 if name == "rules stated, no words" else 1), name
    assert sum(name.startswith("alphabet") for name in conditions) == 4
    assert sum(name.startswith("context") for name in conditions) == 3
    assert [name for name in conditions if name.startswith("K")] == ["K = 4", "K = 8", "K = 16", "K = 64"]
    assert list(conditions_of(ProtocolSettings("anbn"), controls=False)) == ["main"]


def test_a_run_with_all_controls_is_stored_and_reported(tmp_path: Path) -> None:
    with serving() as server:
        run = run_of(server.url, tmp_path, ANBN.with_changes(limit=3), controls=True)
        estimate = run.estimate()
        answers_seen = []
        evaluation = run(lambda: answers_seen.append(1))
        assert len(answers_seen) == estimate.requests
        # Conditions may share requests.
        assert len(server.requests) <= estimate.requests
        assert run.estimate().stored == estimate.requests
    assert Evaluation.read(tmp_path) == evaluation
    headings, rows = controls_table(evaluation)
    assert [row[0] for row in rows] == list(run.conditions)
    assert all(len(row) == len(headings) for row in rows)
    assert evaluation.versions["hf-ruleextrap"]
    # A report shows the evaluation in the table of the language, with the references on the same prompts.
    files = write_report(read_study([tmp_path]), tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    headline = rates_of(evaluation)["ood_headline"].rate
    assert headline is not None
    assert re.search(rf"\| {evaluation.model} .*protocol v2.*\| {headline:.2f}", text)
    assert f"chance, prompts of {evaluation.model}" in text
    assert tmp_path / "report" / "index.html" in files


def test_an_impossible_control_is_skipped_with_a_reason(tmp_path: Path) -> None:
    # Every word of `ban` starts with b, as does the ID prompt of one symbol. The OOD prompt of one symbol is a.
    settings = ProtocolSettings("ban", prompt_lengths=(1,), shots=3, samples=0)
    with serving() as server:
        evaluation = run_of(server.url, tmp_path, settings, controls=True)()
    assert "begin with the prompt 'b': give longer prompts" in evaluation.skipped["ID prompts"]
    assert "ID prompts" in remarks(evaluation)[-1]
    with serving() as server, pytest.raises(RuleExtrapError, match="give longer prompts"):
        run_of(server.url, tmp_path, settings.with_changes(kind="id"))


# References.


def test_n_grams_are_fitted_on_the_context_of_each_prompt() -> None:
    language, prompts = get_language("anbn"), ANBN.prompts()
    completions = FromContext(ANBN, 3).complete(prompts, max_new_symbols=9)
    for row, text in enumerate(prompts.texts):
        source = formal.ngram(language, WordBatch.from_strings(context_words(ANBN, text)), 3)
        alone, finished = source.complete(prompts.words.take(np.array([row])), max_new_symbols=9, rng=None)
        assert (completions.words[row], completions.finished[row]) == (alone[0], finished[0])


def test_the_references_are_those_of_the_protocol() -> None:
    ngrams = [f"{n}-gram{way}" for n in (1, 2, 3) for way in (", greedy", "")]
    references = protocol_references(ANBN)
    assert list(references.reports) == ["uniform", "always-stop", *ngrams, "oracle", "ceiling"]
    # No model can be better than the oracle and the ceiling, so models are not compared with them.
    assert list(references.success) == ["uniform", "always-stop", *ngrams]
    without_context = protocol_references(ANBN.with_changes(shots=0))
    assert list(without_context.reports) == ["uniform", "always-stop", "oracle", "ceiling"]


# The verdict.

RATES = st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=20)


@PATIENT
@given(RATES, st.data())
def test_a_difference_lies_within_its_interval_and_changes_sign_with_the_order(
    model: list[float], data: st.DataObject
) -> None:
    n = len(model)
    other = data.draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=n, max_size=n))
    one, two = Clusters.of_rates(np.array(model), rows=2), Clusters.of_rates(np.array(other))
    difference, turned = Difference.of(one, two, "it"), Difference.of(two, one, "it")
    assert difference.low <= difference.mean + 1e-9
    assert difference.mean <= difference.high + 1e-9
    assert (turned.low, turned.high) == pytest.approx((-difference.high, -difference.low))


@pytest.mark.parametrize(
    ("model", "others", "text"),
    [
        (
            [1.0] * 20,
            {"uniform": [0.0] * 20, "3-gram": [0.5] * 20},
            "above 3-gram by 0.50 [0.34, 0.50], above chance",
        ),
        ([0.5] * 20, {"uniform": [0.0] * 20, "3-gram": [0.5] * 20}, "not above 3-gram: difference 0.00 [-0.20, 0.20]"),
        ([0.0] * 20, {"uniform": [0.0] * 20, "3-gram": [0.5] * 20}, "not above chance: 0.00 against 0.00"),
        ([1.0] + [0.0] * 19, {"uniform": [0.02] * 20}, "not above chance: 0.05 against 0.02, difference 0.03 [-0.01,"),
        ([1.0] * 20, {"uniform": [0.1] * 20}, "above chance by 0.90"),
        ([0.0] * 20, {"uniform": [0.5] * 20}, "below chance: 0.00 against 0.50, difference -0.50 [-0.50, -0.34]"),
        ([0.0] * 20, {"uniform": [0.1] * 20}, "not above chance: 0.00 against 0.10, difference -0.10 [-0.10, 0.06]"),
        ([], {"uniform": []}, "nothing to compare"),
    ],
)
def test_the_verdict_claims_no_more_than_the_intervals(
    model: list[float], others: dict[str, list[float]], text: str
) -> None:
    verdict = judge(np.array(model), {name: np.array(rates) for name, rates in others.items()})
    assert text in verdict.text


def test_a_difference_is_paired() -> None:
    # The same prompts are hard for both models. If one model's rates are shifted, the interval is far wider.
    hard = np.arange(40) % 2 == 0
    model, other = np.where(hard, 0.1, 1.0), np.where(hard, 0.0, 0.9)
    paired, crossed = Difference.of(model, other, "it"), Difference.of(model, np.roll(other, 1), "it")
    assert paired.mean == pytest.approx(crossed.mean)
    assert 0 < paired.high - paired.low < (crossed.high - crossed.low) / 3


def test_the_interval_of_a_difference_is_wide_where_both_models_always_agree() -> None:
    for value in (0.0, 1.0):
        difference = Difference.of(np.full(10, value), Clusters.of_rates(np.full(10, value)), "it")
        assert difference.low < -0.2
        assert difference.high > 0.2
    mixed = np.array([1.0, 0.0] * 6)
    difference = Difference.of(mixed, Clusters.of_rates(mixed), "it")
    assert difference.low < -0.05
    assert difference.high > 0.05


@pytest.mark.parametrize(("name", "kind"), [("anbn", "ood"), ("ban", "id"), ("dyck", "ood"), ("dyck", "id")])
def test_chance_is_one_number_in_the_table_and_in_the_verdict(name: str, kind: formal.Kind, tmp_path: Path) -> None:
    with serving() as server:
        main_condition = run_of(server.url, tmp_path, ProtocolSettings(name, shots=3, limit=9, kind=kind))().main
    report = main_condition.references["uniform"]
    shown = (report.headline if kind == "ood" else report.grammatical).rate
    verdict = main_condition.greedy.verdict
    hits = main_condition.greedy.report.headline if kind == "ood" else main_condition.greedy.report.grammatical
    assert verdict.chance is not None
    assert hits.rate is not None
    assert hits.rate - verdict.chance.mean == pytest.approx(shown, abs=1e-12)


def test_success_means_open_rules_after_ood_prompts_and_words_after_id_prompts() -> None:
    language = get_language("anbn")
    verdicts_of = formal.score(language, ["aab", "baa", "baa"], ["b", "b", "a"])
    assert success(verdicts_of).hits.tolist() == [1.0, 1.0, 0.0]
    drawn = formal.score(language, ["baa", "aab"], ["b", "a", "b", "b"], samples=2)
    assert success(drawn).hits.tolist() == [1.0, 2.0]
    assert success(drawn).rows.tolist() == [2.0, 2.0]


# The cache.


def test_a_cache_key_depends_on_everything_that_determines_an_answer() -> None:
    cache = AnswerCache(Path("unused"))
    completer = text_completer("openai", BackendConfig("m", base_url="http://host/v1"))
    other = text_completer("openai", BackendConfig("n", base_url="http://host/v1"))
    base = Request("a b", 9, 1.0, 1, 3, "\n")
    changes = [
        Request("a b ", 9, 1.0, 1, 3, "\n"),
        Request("a b", 8, 1.0, 1, 3, "\n"),
        Request("a b", 9, 0.5, 1, 3, "\n"),
        Request("a b", 9, 1.0, 2, 3, "\n"),
        Request("a b", 9, 1.0, 1, 4, "\n"),
        Request("a b", 9, 1.0, 1, 3, None),
    ]
    keys = [cache.key(completer, base), cache.key(other, base), *(cache.key(completer, each) for each in changes)]
    assert len(set(keys)) == len(keys)
    assert cache.key(completer, base) == keys[0]


def test_a_truncated_cache_file_is_requested_again(tmp_path: Path) -> None:
    with serving() as server:
        run_of(server.url, tmp_path)()
        for path in (tmp_path / "answers").rglob("*.json"):
            path.write_text(path.read_text()[:-20])
        first_requests = len(server.requests)
        run_of(server.url, tmp_path)()
        assert len(server.requests) == 2 * first_requests


# The tables.


def test_the_table_shows_each_rate_with_its_interval_and_chance(tmp_path: Path) -> None:
    with serving() as server:
        evaluation = run_of(server.url, tmp_path)()
    headings, rows = rates_table(evaluation)
    assert headings[1:4] == ["over all prompts", "greedy", "95 % interval"]
    assert {"chance", "stop at once", "ceiling", "n"} <= set(headings)
    assert any("gram" in heading for heading in headings)
    rows_by_name = {row[1]: row for row in rows}
    assert {"R1: as many a as b", "R2: every a before every b", "completion empty"} <= set(rows_by_name)
    assert all(row[-1] == "8" for row in rows)
    headings, drawn = rates_table(evaluation, "drawn")
    assert headings[2:4] == ["drawn", "95 % interval"]
    assert [row[1] for row in drawn] == [row[1] for row in rows]
    assert remarks(evaluation)[0].startswith("greedy: ")


def test_stored_evaluations_are_read_with_their_rates(tmp_path: Path) -> None:
    with serving() as server:
        plain = run_of(server.url, tmp_path / "store" / "one")()
        controlled = run_of(
            server.url, tmp_path / "store" / "two", ANBN.with_changes(limit=3, samples=0), controls=True
        )()
    assert read_evaluations(tmp_path / "store") == [plain, controlled]
    assert read_evaluations(tmp_path / "store" / "one") == [plain]
    assert set(rates_of(plain)) == {"ood_headline", "ood_r1", "ood_r2_completion", "ood_finished"}
    assert rates_of(plain)["ood_headline"] == plain.main.greedy.report.headline
    assert rates_of(controlled)["id_finished"].n == 3
    (tmp_path / "store" / "two" / "evaluation.json").write_text("{")
    with pytest.raises(RuleExtrapError, match=r"two/evaluation\.json is not JSON"):
        read_evaluations(tmp_path / "store")


def test_a_server_that_does_not_sample_is_noted(tmp_path: Path) -> None:
    with serving(lambda handler, body, _: handler.answer({**body, "temperature": 0})) as server:
        evaluation = run_of(server.url, tmp_path)()
    assert any("does the server sample?" in note for note in evaluation.main.notes)


# The command.


def evaluate(*words: str) -> int:
    return main(["evaluate", "--language", "anbn", "--limit", "4", "--shots", "2", "--samples", "1", *words])


def test_the_evaluate_command_prints_the_tables_of_the_text_protocol(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving() as server:
        words = ("--model", "m", "--base-url", server.url, "--out", str(tmp_path))
        assert evaluate(*words) == 0
        text = capsys.readouterr()
        assert evaluate(*words, "--json") == 0
        document = json.loads(capsys.readouterr().out)
    assert "m on anbn: a^n b^n, n >= 1; protocol v2, plain text, letters, K = 2" in text.out
    assert "drawn completions of the same prompts" in text.out
    assert max(map(len, text.out.splitlines()[:-1])) <= 80
    assert "greedy: " in text.out
    assert "by protocol v2: 8 requests: about" in text.err
    assert document == json.loads((tmp_path / "evaluation.json").read_text())


@pytest.mark.parametrize("chat", [False, True])
def test_a_dry_run_prints_three_prompts_and_sends_nothing(
    chat: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving() as server:
        words = ["--model", "m", "--base-url", server.url, "--out", str(tmp_path / "out"), "--dry-run"]
        assert evaluate(*words, *(["--chat"] if chat else [])) == 0
        assert not server.requests
    text = capsys.readouterr().out
    assert text.count("--- prompt ") == 3
    assert text.count("[assistant]") == (6 if chat else 0)
    assert "8 requests: about" in text
    assert not (tmp_path / "out").exists()


def test_the_default_protocol_is_text_for_language_models_and_symbols_for_our_checkpoints(
    text_model: Path,
    tiny_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(text_model, tmp_path / "model")
    assert main(["evaluate", "--model", "model", "--language", "bban", "--json"]) == 0, capsys.readouterr().err
    document = json.loads(capsys.readouterr().out)
    assert document["conditions"][0]["settings"]["version"] == 2
    assert (tmp_path / "evaluations" / "model-bban" / "evaluation.json").exists()
    assert main(["evaluate", "--model", str(tiny_run), "--language", "anbn", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["protocol"] == "symbols"
    # The flag decides, and the error says why this checkpoint cannot follow the protocol.
    assert main(["evaluate", "--model", str(tiny_run), "--language", "anbn", "--protocol", "v2"]) == 2
    assert "tokenizer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--alphabet", "leters"], "did you mean 'letters'"),
        (["--backend", "opnai"], "did you mean 'openai'"),
        (["--paper"], "--paper does not apply to the text protocol"),
        (["--key-env", "NO_SUCH_KEY"], "NO_SUCH_KEY holds no key"),
        (["--concurrency", "0"], "concurrency is 0: give 1 or more"),
    ],
)
def test_invalid_flags_of_evaluate_are_refused_in_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate("--model", "m", "--base-url", "http://127.0.0.1:9/v1", *words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error


def test_evaluating_a_server_loads_no_torch(tmp_path: Path) -> None:
    with serving() as server:
        flags = f"'--base-url', {server.url!r}, '--out', {str(tmp_path)!r}, '--limit', '2', '--samples', '0'"
        code = (
            "import sys; from hf_ruleextrap.cli import main; "
            f"main(['evaluate', '--model', 'm', '--language', 'anbn', {flags}]); "
            "sys.exit('torch' in sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


def test_settings_of_another_version_are_refused() -> None:
    with pytest.raises(RuleExtrapError, match="known: 2"):
        ANBN.with_changes(version=9)


def test_requests_of_a_prompt_differ_in_their_sample_alone() -> None:
    prompts = ANBN.prompts()
    greedy, drawn = requests_of(ANBN, prompts), requests_of(ANBN, prompts, samples=2)
    assert [request.prompt for request in drawn] == [request.prompt for request in greedy for _ in range(2)]
    assert {request.sample for request in drawn} == {1, 2}
    assert len({request.seed for request in drawn}) == len(drawn)
    assert {(request.temperature, request.seed) for request in greedy} == {(0.0, 0)}
