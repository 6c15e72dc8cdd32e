"""Completers that continue prompts symbol by symbol, and text completers by name: the contracts of both."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from language_models import serving

from hf_ruleextrap import formal
from hf_ruleextrap.architectures import build_model
from hf_ruleextrap.completers import (
    BACKENDS,
    Answer,
    BackendConfig,
    Completions,
    FromSource,
    LocalModel,
    Oracle,
    Request,
    TextCompleter,
    text_completer,
)
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation import Evaluator
from hf_ruleextrap.evaluation.evaluate import samples_of
from hf_ruleextrap.evaluation.protocol import ProtocolSettings
from hf_ruleextrap.evaluation.text import requests_of
from hf_ruleextrap.formal import Language, WordBatch
from hf_ruleextrap.languages import get_language, list_languages

ANBN = get_language("anbn")
BIGRAM = formal.ngram(ANBN, WordBatch.from_strings(["ab", "aabb", "aaabbb"]), 2)


def completer_of(name: str, language: Language) -> LocalModel | FromSource | Oracle:
    if name == "oracle":
        return Oracle(language)
    if name == "bigram":
        return FromSource(formal.ngram(language, language.sample(99, max_length=9, rng=np.random.default_rng(0)), 2))
    if name in ("uniform", "always-stop"):
        return FromSource({"uniform": formal.uniform, "always-stop": formal.always_stop}[name](language))
    return LocalModel(build_model(name, language=language, seed=3), language)


SOME = [*list_languages(tag="paper"), "flipflop", "markedcopy"]
COMPLETERS = ["lstm", "transformer", "uniform", "always-stop", "bigram", "oracle"]


@pytest.mark.parametrize("name", COMPLETERS)
@pytest.mark.parametrize("language", [get_language(name) for name in SOME], ids=SOME)
def test_completions_are_repeatable_and_independent_of_other_prompts(name: str, language: Language) -> None:
    completer = completer_of(name, language)
    lengths = (4, 6)
    prompts = language.label([p.text for n in lengths for p in language.prompts(length=n, limit=6)])
    greedy = completer.complete(prompts, max_new_symbols=5)
    assert len(greedy.words) == len(greedy.finished) == len(prompts)
    assert greedy.words.lengths.max() <= 5
    # A prompt alone has the same completion as among all prompts.
    for row in (0, len(prompts) - 1):
        alone = completer.complete(prompts.take(np.array([row])), max_new_symbols=5)
        assert alone.words[0] == greedy.words[row]
        assert alone.finished[0] == greedy.finished[row]
    drawn = completer.complete(prompts, max_new_symbols=5, samples=3, seed=1)
    assert len(drawn.words) == 3 * len(prompts)
    again = completer.complete(prompts, max_new_symbols=5, samples=3, seed=1)
    assert list(again.words) == list(drawn.words)


@pytest.mark.parametrize("name", COMPLETERS)
def test_a_limit_of_zero_symbols_gives_empty_completions(name: str) -> None:
    completions = completer_of(name, ANBN).complete(ANBN.prompts(length=4), max_new_symbols=0)
    assert set(completions.words) == {""}


def test_sampling_changes_neither_the_global_random_state_nor_the_training_mode() -> None:
    completer = completer_of("lstm", ANBN)
    assert isinstance(completer, LocalModel)
    completer.model.train()
    before = torch.random.get_rng_state()
    completer.complete(ANBN.prompts(length=3), max_new_symbols=4, samples=2)
    assert torch.equal(before, torch.random.get_rng_state())
    assert completer.model.training


def test_a_greedy_bigram_follows_its_likeliest_symbols() -> None:
    completions = FromSource(BIGRAM).complete(ANBN.label(["a", "b"]), max_new_symbols=4)
    # After a, the symbols a and b are equally likely. After b, the symbol b and the end are. The first one is taken.
    assert list(completions.words) == ["aaaa", "bbbb"]
    assert completions.finished.tolist() == [False, False]


@pytest.mark.parametrize("name", SOME)
def test_the_oracle_keeps_every_open_rule_that_can_be_kept(name: str) -> None:
    language = get_language(name)
    for kind in ("id", "ood"):
        prompts = language.prompts(kind)  # type: ignore[arg-type]
        completions = Oracle(language).complete(prompts, max_new_symbols=32)
        verdicts = formal.score(language, prompts, completions.words, completions.finished)
        possible = ~(prompts.ood & prompts.open.all(axis=1))
        assert completions.finished.all()
        assert (verdicts.open_hold == possible).all()
        if kind == "id":
            assert verdicts.grammatical.all()
        else:
            assert verdicts.word[:, 0].all()


def test_the_oracle_s_completions_are_the_shortest() -> None:
    completions = Oracle(ANBN).complete(ANBN.label(["aaab", "baaa", "bbba", ""]), max_new_symbols=9)
    assert [len(word) for word in completions.words] == [2, 2, 2, 2]
    short = Oracle(ANBN).complete(ANBN.label(["aaab"]), max_new_symbols=1)
    assert not short.finished[0]


def test_an_evaluation_holds_every_reference() -> None:
    words = WordBatch.from_strings(list(ANBN.words(16)))
    evaluation = Evaluator(ANBN, prompt_length=4, max_new_symbols=8, train_words=words)(Oracle(ANBN))
    for condition in evaluation.conditions:
        names = {"uniform", "always-stop", "1-gram", "2-gram", "3-gram", "oracle", "ceiling"}
        assert set(condition.references) == names
        assert condition.greedy.report.as_exact() == condition.references["oracle"]


def test_an_unfinished_completion_keeps_no_rule_in_a_sample() -> None:
    """A completion that did not end keeps no rule in a sample, as in every rate over all prompts."""
    prompts = ANBN.label(["baa", "baa", "ab"])
    completions = Completions(WordBatch.from_strings(["b", "b", ""]), np.array([True, False, True]))
    samples = samples_of(formal.score(ANBN, prompts, completions.words, completions.finished), completions)
    assert [sample.rules for sample in samples] == [(True, False), (False, False), (True, True)]


@pytest.mark.parametrize("positions", ["none", "paper"])
def test_id_and_ood_prompts_have_equal_completions_together_and_apart(positions: str) -> None:
    """With the positions of the authors, the row of a prompt in its batch has an effect, so the kinds are separate."""
    completer = LocalModel(build_model("transformer", language=ANBN, seed=3, positions=positions), ANBN)
    prompts = ANBN.prompts(length=6)
    together = completer.complete(prompts, max_new_symbols=5)
    for kind in ("id", "ood"):
        part = together.take(prompts.ood == (kind == "ood"))
        apart = completer.complete(prompts.of_kind(kind), max_new_symbols=5)
        assert list(part.words) == list(apart.words)
        assert part.finished.tolist() == apart.finished.tolist()


OWN = '''
from hf_ruleextrap.completers import Abilities, Answer


class Stops:
    """Ends every line at once; leaves out the third request."""

    abilities = Abilities(plain=True, chat=False, sampling=False, log_probabilities=False)

    def __init__(self, backend):
        self.identity = {"backend": "stops", "model": backend.model}

    def answers(self, requests):
        for place, _ in enumerate(requests):
            if place != 2:
                yield place, Answer("\\n", True)

    def encode(self, text):
        return None

    def log_probabilities(self, pairs):
        raise NotImplementedError
'''


def test_an_unknown_backend_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(RuleExtrapError, match=r"unknown backend 'openia': did you mean 'openai'.*file.py:Class"):
        text_completer("openia", BackendConfig("m"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.py:Class", "there is no file 'nowhere.py'"),
        ("hf_ruleextrap.errors:Nothing", "has no 'Nothing'"),
        ("no_such_package.at_all:Class", "cannot import 'no_such_package.at_all'"),
    ],
)
def test_a_missing_backend_class_is_refused_in_one_line(name: str, message: str) -> None:
    with pytest.raises(RuleExtrapError, match=message):
        text_completer(name, BackendConfig("m"))


def test_a_backend_can_be_a_class_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from hf_ruleextrap.cli import main

    own = tmp_path / "my.py"
    own.write_text(OWN)
    flags = ["--limit", "5", "--shots", "2", "--out", str(tmp_path / "out"), "--json"]
    assert main(["evaluate", "--model", "m", "--backend", f"{own}:Stops", "--language", "anbn", *flags]) == 2
    shown = capsys.readouterr()
    (condition,) = json.loads(shown.out)["conditions"]
    # The completer cannot draw, so no samples are requested. A request without an answer is counted.
    assert condition["settings"]["samples"] == 0
    assert condition["greedy"]["statuses"] == {"empty": 4, "no-answer": 1}
    assert "1 answer is missing: no-answer" in shown.err


def completers(text_model: Path, url: str, record: Path) -> dict[str, TextCompleter]:
    return {
        "hf": text_completer("hf", BackendConfig(str(text_model))),
        "openai": text_completer("openai", BackendConfig("m", base_url=url)),
        "replay": text_completer("replay", BackendConfig(str(record))),
    }


def test_every_backend_answers_every_request_and_repeats_its_answers(text_model: Path, tmp_path: Path) -> None:
    settings = ProtocolSettings("anbn", shots=2, limit=5)
    requests = requests_of(settings, settings.prompts()) + requests_of(settings, settings.prompts(), samples=2)
    record = tmp_path / "answers.jsonl"
    record.write_text(
        "".join(json.dumps({"prompt": r.prompt, "sample": r.sample, "text": " b"}) + "\n" for r in requests)
    )
    with serving() as server:
        by_name = completers(text_model, server.url, record)
        # Other tests cover vLLM, with a stand-in.
        assert {*by_name, "vllm"} == set(BACKENDS)
        for completer in by_name.values():
            answers = dict(completer.answers(requests))
            assert sorted(answers) == list(range(len(requests)))
            assert all(isinstance(answer, Answer) and not answer.fault for answer in answers.values())
            assert dict(completer.answers(requests)) == answers
            json.dumps(completer.identity)
            ids = completer.encode("a b")
            assert ids is None or len(ids) == 2
            assert ids is None or completer.abilities.log_probabilities


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"text": " b"}', '{"prompt": "a"}', '{"prompt": "a", "text": " b", "ended": "false"}']
)
def test_an_unreadable_record_is_refused_with_its_line_number(line: str, tmp_path: Path) -> None:
    record = tmp_path / "answers.jsonl"
    record.write_text('{"prompt": "a", "text": " b"}\n\n' + line + "\n")
    with pytest.raises(RuleExtrapError, match=r"answers\.jsonl, line 3\b.*(give|write) "):
        text_completer("replay", BackendConfig(str(record)))


def test_a_request_missing_from_the_record_has_its_own_status(tmp_path: Path) -> None:
    record = tmp_path / "answers.jsonl"
    record.write_text('{"prompt": "a", "text": " b"}\n')
    requests = [Request(prompt, 9, 0.0, 0, 0, "\n") for prompt in ("a", "b")]
    answers = dict(text_completer("replay", BackendConfig(str(record))).answers(requests))
    assert answers[0] == Answer(" b", True)
    assert answers[1].fault == "not-recorded"


def test_the_former_name_of_the_configuration_still_works_with_a_warning() -> None:
    from hf_ruleextrap import completers

    with pytest.warns(DeprecationWarning, match="BackendConfig"):
        assert completers.Backend is completers.BackendConfig
