"""The tasks for lm-evaluation-harness: their files, their functions, and scores equal to those of our own runner."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from language_models import write_text_model

from hf_ruleextrap import formal
from hf_ruleextrap.cli import main
from hf_ruleextrap.completers import BackendConfig, text_completer
from hf_ruleextrap.completers.base import Answer
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation import lm_eval as ours
from hf_ruleextrap.evaluation.protocol import PROTOCOL_VERSION, ProtocolSettings, rendered
from hf_ruleextrap.evaluation.text import AnswerCache, Prompted
from hf_ruleextrap.evaluation.text.prompted import read_answer
from hf_ruleextrap.formal import WordBatch
from hf_ruleextrap.languages import list_languages

PAPER = list_languages(tag="paper")
FEW = {"shots": 4, "limit": 5}


class Plain(yaml.SafeLoader):
    """A loader of YAML that reads ``!function`` as the name of the function."""


Plain.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


def read(name: str) -> dict[str, Any]:
    return yaml.load((ours.TASKS / name).read_text(encoding="utf-8"), Loader=Plain)


def test_the_task_template_states_the_protocol() -> None:
    template = read("template.yaml")
    assert template["metadata"]["version"] == PROTOCOL_VERSION
    generation = template["generation_kwargs"]
    assert generation == {"until": ["\n"], "do_sample": False, "temperature": 0.0, "max_gen_toks": ours.MOST_NEW_TOKENS}
    for reference in (template["custom_dataset"], template["process_results"]):
        module, _, function = reference.rpartition(".")
        assert module == ours.__name__
        assert callable(getattr(ours, function))


def test_the_template_lists_every_metric_as_a_mean() -> None:
    listed = read("template.yaml")["metric_list"]
    assert {metric["aggregation"] for metric in listed} == {"mean"}
    rates = set()
    for kind in ("id", "ood"):
        (row, *_) = ours.documents(language="anbn", ruleextrap={"kind": kind, **FEW})["test"]
        rates |= set(ours.process_results(row, [" b"]))
    assert rates == {metric["metric"] for metric in listed}


def test_each_language_of_the_paper_has_a_task_and_one_task_accepts_any_language() -> None:
    names = {path.stem for path in ours.TASKS.glob("ruleextrap_*.yaml")}
    assert names == {*(f"ruleextrap_{name}" for name in PAPER), "ruleextrap_language"}
    for name in PAPER:
        assert read(f"ruleextrap_{name}.yaml") == {
            "include": "template.yaml",
            "task": f"ruleextrap_{name}",
            "tag": "ruleextrap",
            "dataset_kwargs": {"language": name},
        }


def test_the_token_limit_suffices_for_every_language() -> None:
    assert max(ProtocolSettings(name).max_new_tokens for name in list_languages()) <= ours.MOST_NEW_TOKENS


def test_the_documents_are_the_prompts_of_the_protocol() -> None:
    rows = ours.documents(language="dyck", ruleextrap={"alphabet": "brackets", **FEW}, pretrained="it", seed=3)["test"]
    settings = ProtocolSettings("dyck", alphabet="brackets", samples=0, **FEW)
    assert [row["prompt"] for row in rows] == settings.prompts().texts
    assert [row["text"] for row in rows] == [rendered(settings, prompt) for prompt in settings.prompts().texts]


@hypothesis_settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from([" a", " b", "a", " dog", " ", "\n"]), max_size=50), st.sampled_from(["id", "ood"]))
def test_an_answer_is_scored_as_our_own_runner_does(pieces: list[str], kind: str) -> None:
    settings = ProtocolSettings("anbn", kind=kind, samples=0, **FEW)  # type: ignore[arg-type]  # one of two
    (row, *_) = ours.documents(language="anbn", ruleextrap={"kind": kind, **FEW})["test"]
    # Each piece is a token, and our own runner stops a model at the limit of tokens.
    written = pieces[: settings.max_new_tokens]
    symbols, finished, _ = read_answer(settings, Answer("".join(written), ended=len(written) == len(pieces)))
    prompts = settings.the_language.label([row["prompt"]])
    report = formal.aggregate(
        formal.score(settings.the_language, prompts, WordBatch.from_strings([symbols]), [finished])
    )
    rates = ours.process_results(row, ["".join(pieces).partition("\n")[0]])
    if sum(map(len, map(str.split, written))) <= settings.max_new_symbols and len(written) < len(pieces):
        # The harness cannot know that tokens without symbols used up the limit, so the scores may differ.
        return
    expected = {"finished": report.finished, "empty": report.empty, "unparsable": report.unparsable}
    expected["open_rules" if kind == "ood" else "grammatical"] = (
        report.headline if kind == "ood" else report.grammatical
    )
    for name, rate in expected.items():
        assert rates.get(name) == rate.rate, name


@pytest.mark.parametrize(
    ("language", "parameters", "message"),
    [
        (None, {}, "no language: give --metadata"),
        ("anbn", {"language": "dyck"}, "the task is about anbn, not dyck"),
        ("anbn", {"shot": 3}, "unknown parameter in the metadata's ruleextrap 'shot': did you mean 'shots'"),
        ("anbn", {"chat": True}, "unknown parameter"),
        ("anbn", {"max_word_length": 64}, "a completion of 128 symbols is too long here"),
    ],
)
def test_invalid_metadata_is_refused_with_the_reason(
    language: str | None, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(RuleExtrapError, match=re.escape(message)):
        ours.documents(language=language, ruleextrap=parameters)


def test_lm_eval_path_prints_the_folder_of_the_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lm-eval-path"]) == 0
    assert (Path(capsys.readouterr().out.strip()) / "template.yaml").is_file()


def own_scores(model: Path, settings: ProtocolSettings, folder: Path) -> tuple[formal.Report, set[str]]:
    """Return the rates of our own runner, and the statuses of the answers."""
    completer = Prompted(settings, text_completer("hf", BackendConfig(str(model))), AnswerCache(folder))
    prompts = settings.prompts()
    completions = completer.complete(prompts, max_new_symbols=settings.max_new_symbols)
    verdicts = formal.score(settings.the_language, prompts, completions.words, completions.finished)
    return formal.aggregate(verdicts, groups=False), set(completions.statuses or ())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_harness_and_our_own_runner_have_equal_scores(text_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install 'hf-ruleextrap[lm-eval]'")
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    untrained = write_text_model(tmp_path / "untrained", steps=0)
    statuses: set[str] = set()
    conditions = [
        (text_model, ["ruleextrap"], {}),
        (text_model, ["ruleextrap_language"], {"language": "tomita4", "kind": "id"}),
        (text_model, ["ruleextrap_anbn"], {"max_new_symbols": 2}),
        (untrained, ["ruleextrap_anbn", "ruleextrap_dyck"], {"alphabet": "swapped"}),
    ]
    for model, tasks, changed in conditions:
        parameters = {"limit": 5, "shots": 4, **changed}
        evaluation = simple_evaluate(
            model="hf",
            model_args={"pretrained": str(model)},
            tasks=tasks,
            task_manager=TaskManager(
                include_path=str(ours.TASKS), include_defaults=False, metadata={"ruleextrap": parameters}
            ),
            batch_size=1,
            device="cpu",
            bootstrap_iters=0,
        )
        assert evaluation is not None
        names = [name for name in evaluation["results"] if name != "ruleextrap"]
        assert sorted(names) == (sorted(f"ruleextrap_{name}" for name in PAPER) if tasks == ["ruleextrap"] else tasks)
        for name in names:
            scores = evaluation["results"][name]
            language = {"language": name.removeprefix("ruleextrap_"), **parameters}
            settings = ProtocolSettings(samples=0, **language)  # type: ignore[arg-type]  # parameters by name
            report, occurred = own_scores(model, settings, tmp_path / "answers")
            statuses |= occurred
            first, second = list(report.rules.values())[:2]
            expected = {"r1": first.word.all, "r2": second.word.all, "finished": report.finished}
            expected |= {"empty": report.empty, "unparsable": report.unparsable}
            expected |= (
                {"grammatical": report.grammatical} if settings.kind == "id" else {"open_rules": report.headline}
            )
            for metric, rate in expected.items():
                assert scores[f"{metric},none"] == pytest.approx(rate.rate), (name, metric)
    assert statuses == {"ok", "empty", "unfinished", "unparsable"}
