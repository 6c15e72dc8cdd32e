"""Text completers by name, and a text completer of the user's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from llm_server import serving

from hf_ruleextrap.completers import BACKENDS, Answer, BackendConfig, Request, TextCompleter, text_completer
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation.protocol import ProtocolSettings
from hf_ruleextrap.evaluation.text import requests_of

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


def test_an_unknown_name_gets_the_nearest() -> None:
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
def test_a_class_that_is_not_there_is_one_line(name: str, message: str) -> None:
    with pytest.raises(RuleExtrapError, match=message):
        text_completer(name, BackendConfig("m"))


def test_a_class_of_one_s_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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


def test_the_contract_of_every_backend(text_model: Path, tmp_path: Path) -> None:
    settings = ProtocolSettings("anbn", shots=2, limit=5)
    requests = requests_of(settings, settings.prompts()) + requests_of(settings, settings.prompts(), samples=2)
    record = tmp_path / "answers.jsonl"
    record.write_text(
        "".join(json.dumps({"prompt": r.prompt, "sample": r.sample, "text": " b"}) + "\n" for r in requests)
    )
    with serving() as server:
        by_name = completers(text_model, server.url, record)
        # vLLM is tested with a stand-in, in a file of its own.
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
def test_a_record_that_cannot_be_read_names_its_line(line: str, tmp_path: Path) -> None:
    record = tmp_path / "answers.jsonl"
    record.write_text('{"prompt": "a", "text": " b"}\n\n' + line + "\n")
    with pytest.raises(RuleExtrapError, match=r"answers\.jsonl, line 3\b.*(give|write) "):
        text_completer("replay", BackendConfig(str(record)))


def test_what_a_record_lacks_has_its_own_status(tmp_path: Path) -> None:
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
