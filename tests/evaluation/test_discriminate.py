"""The discriminative test: models with known probabilities, servers, and input that is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from language_models import Handler, Script, serving

from hf_ruleextrap import formal
from hf_ruleextrap.cli import main
from hf_ruleextrap.completers import Abilities, BackendConfig, LocalModel, text_completer
from hf_ruleextrap.completers.hf import HfCompleter
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation.discrimination import (
    Accuracy,
    by_source,
    discriminate,
    discriminate_symbols,
    discriminate_text,
    discrimination_table,
    remarks,
)
from hf_ruleextrap.evaluation.likelihood import word_log_probability
from hf_ruleextrap.evaluation.protocol import ProtocolSettings, context_words, spelled
from hf_ruleextrap.formal import WordBatch
from hf_ruleextrap.formal.words import FloatArray
from hf_ruleextrap.languages import get_language, list_languages

ANBN = ProtocolSettings("anbn", shots=4)


class OfText:
    """A text completer whose log-probabilities are a function of the two texts."""

    def __init__(self, log_probability: object, *, able: bool = True) -> None:
        self.abilities = Abilities(plain=True, chat=False, sampling=False, log_probabilities=able)
        self.identity: dict[str, str] = {}
        self.log_probability, self.pairs = log_probability, []

    def answers(self, requests: object) -> object:
        raise NotImplementedError

    def encode(self, text: str) -> None:
        del text

    def log_probabilities(self, pairs: Sequence[tuple[str, str]]) -> FloatArray:
        self.pairs += pairs
        return np.array([self.log_probability(*pair) for pair in pairs])


def fewer_as(before: str, after: str) -> float:
    del before
    return -len(after) - after.count("a")


def indifferent(before: str, after: str) -> float:
    del before, after
    return 0.0


def product_of_tables(source: formal.Source, word: str) -> float:
    """Return the probability of a word, computed factor by factor, without logarithms or batches."""
    base, context, probability = len(source.alphabet) + 1, 0, 1.0
    for symbol in word:
        digit = source.alphabet.index(symbol)
        probability *= float(source.table[context, digit])
        context = (context * base + digit + 1) % base**source.order
    return probability * float(source.table[context, -1])


@pytest.mark.parametrize("name", list_languages(tag="paper"))
@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_accuracy_of_an_n_gram_source_follows_from_its_table(name: str, n: int) -> None:
    language = get_language(name)
    source = formal.ngram(language, language.sample(200, max_length=10, rng=np.random.default_rng(3)), n)
    for rule in discriminate(language, by_source(source), {}, max_length=10, limit=20):
        if rule.accuracy is None:
            assert rule.reason
            continue
        wins = ties = 0
        for pair in rule.pairs:
            word, broken = product_of_tables(source, pair.word), product_of_tables(source, pair.broken)
            assert (np.exp(pair.log_word), np.exp(pair.log_broken)) == pytest.approx((word, broken))
            is_tie = word == pytest.approx(broken, rel=1e-9, abs=0)
            wins, ties = wins + (word > broken and not is_tie), ties + is_tie
        assert (rule.accuracy.wins, rule.accuracy.ties) == (wins, ties)
        assert rule.accuracy.rate == (rule.accuracy.wins + rule.accuracy.ties / 2) / len(rule.pairs)
        assert rule.accuracy.low <= rule.accuracy.rate <= rule.accuracy.high


def test_an_indifferent_model_is_at_chance_and_the_language_itself_is_always_right() -> None:
    language = get_language("anbn")
    for rule in discriminate(language, by_source(formal.uniform(language)), {}, max_length=12, limit=30):
        assert rule.accuracy is not None
        assert (rule.accuracy.rate, rule.accuracy.ties) == (0.5, rule.accuracy.n)
        assert str(rule.verdict).startswith("not above chance: 0.50 against 0.50")

    def knows(pairs: Sequence[formal.MinimalPair]) -> FloatArray:
        return np.array([language.contains([pair.word, pair.broken]) for pair in pairs], dtype=float)

    uniform = {"uniform": by_source(formal.uniform(language))}
    for rule in discriminate(language, knows, uniform, max_length=12, limit=30):
        assert rule.accuracy is not None
        assert rule.accuracy.rate == 1.0
        assert rule.words == 6
        assert "by 0.50 [0." in str(rule.verdict)


def test_a_tie_counts_one_half() -> None:
    accuracy = Accuracy.of(np.array([1.0, 0.5, 0.0, 0.5]))
    assert (accuracy.rate, accuracy.wins, accuracy.ties, accuracy.n) == (0.5, 1, 2, 4)
    assert (accuracy.low, accuracy.high) == pytest.approx((0.15, 0.85), abs=0.005)


def test_a_checkpoint_is_scored_by_its_exact_likelihood(tiny_run: Path) -> None:
    language = get_language("anbn")
    model = LocalModel.from_pretrained(tiny_run, language)
    discrimination = discriminate_symbols(
        model, "tiny", max_length=10, limit=12, train_words=WordBatch.from_strings(["ab", "aabb"])
    )
    assert discrimination.protocol == "symbols"
    for rule in discrimination.rules:
        assert rule.accuracy is not None
        assert list(rule.references) == ["1-gram", "2-gram", "3-gram"]
        # Each word is read alone, without padding.
        log_probabilities = [
            [float(word_log_probability(model.model, WordBatch.from_strings([text]), language)[0]) for text in both]
            for both in ((pair.word, pair.broken) for pair in rule.pairs)
        ]
        assert [[p.log_word, p.log_broken] for p in rule.pairs] == [
            pytest.approx(each, abs=1e-4) for each in log_probabilities
        ]
        assert rule.accuracy.wins == sum(word > broken for word, broken in log_probabilities)
    json.dumps(discrimination.to_dict())


def test_both_words_of_a_pair_follow_the_same_context_which_contains_neither() -> None:
    completer = OfText(fewer_as)
    discrimination = discriminate_text(completer, "it", ANBN, limit=10)
    assert completer.pairs
    for (before, after), (other_before, other_after) in zip(completer.pairs[::2], completer.pairs[1::2], strict=True):
        assert before == other_before
        lines = before.splitlines()
        assert len(lines) == 4
        assert before.endswith("\n")
        assert after.endswith("\n")
        assert not any(f"{line}\n".startswith(text.rstrip("\n")) for line in lines for text in (after, other_after))
    for rule in discrimination.rules:
        for pair in rule.pairs:
            assert (pair.log_word < pair.log_broken) == (pair.word.count("a") > pair.broken.count("a"))
    first = discrimination.rules[0]
    # Every word begins with aa or is ab, so the pair of ab and aa has no context lines.
    assert first.skipped
    assert any("left out" in line for line in remarks(discrimination))


def test_the_n_grams_are_fitted_on_the_context_of_each_pair() -> None:
    discrimination = discriminate_text(OfText(indifferent), "it", ANBN, limit=10)
    for rule in discrimination.rules:
        assert rule.accuracy is not None
        assert rule.accuracy.rate == 0.5
        success = []
        for pair in rule.pairs:
            lines = WordBatch.from_strings(context_words(ANBN, pair.word, pair.broken))
            source = formal.ngram(ANBN.the_language, lines, 3)
            word, broken = product_of_tables(source, pair.word), product_of_tables(source, pair.broken)
            # Equal factors in another order may differ in the last digit; that is a tie.
            success.append(0.5 if word == pytest.approx(broken, rel=1e-9, abs=0) else float(word > broken))
        assert rule.references["3-gram"].rate == pytest.approx(np.mean(success))


def test_the_pairs_of_the_backend_hf_have_its_log_probabilities(text_model: Path) -> None:
    completer = text_completer("hf", BackendConfig(str(text_model)))
    discrimination = discriminate_text(completer, "text", ANBN, limit=6)
    pair = discrimination.rules[1].pairs[0]
    before = "".join(spelled(ANBN, line) + "\n" for line in context_words(ANBN, pair.word, pair.broken))
    texts = [(before, spelled(ANBN, text) + "\n") for text in (pair.word, pair.broken)]
    assert [pair.log_word, pair.log_broken] == pytest.approx(list(completer.log_probabilities(texts)), abs=1e-4)


def test_a_rule_that_cannot_be_broken_alone_has_no_accuracy() -> None:
    discrimination = discriminate_text(OfText(indifferent), "it", ProtocolSettings("dyck", shots=4), limit=4)
    first, _, third = discrimination.to_dict()["rules"]
    assert first["accuracy"] is None
    assert "each string that breaks it also breaks properly_nested" in first["reason"]
    assert third["accuracy"]["n"] == 4
    headings, cells = discrimination_table(discrimination)
    assert all(len(row) == len(headings) for row in cells)
    assert cells[0][1:3] == ["-", ""]
    assert remarks(discrimination)[0].startswith("R1: no pairs: no string of up to 8 symbols")


def test_discrimination_is_refused_without_log_probabilities_or_plain_text() -> None:
    with pytest.raises(RuleExtrapError, match="no log-probabilities"):
        discriminate_text(OfText(None, able=False), "it", ANBN)
    for settings in (ANBN.with_changes(chat=True), ANBN.with_changes(shots=0), ANBN.with_changes(context="r2-broken")):
        with pytest.raises(RuleExtrapError, match="in plain text, after one or more words"):
            discriminate_text(OfText(None), "it", settings)


def test_the_discriminate_command_prints_a_table_and_json(
    tiny_run: Path, text_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--language", "anbn", "--limit", "4"]
    assert main(["discriminate", "--model", str(tiny_run), *flags]) == 0
    text = capsys.readouterr().out
    assert "symbol by symbol" in " ".join(text.split())
    row = next(line for line in text.splitlines() if line.startswith("R2: every a before"))
    # An n-gram of the run's training words has a number.
    assert re.fullmatch(r"R2: .* +\d\.\d\d +\[.*\] +0\.50 +\d\.\d\d .*", row), row
    assert main(["discriminate", "--model", str(text_model), *flags, "--shots", "4", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["protocol"], document["chance"], document["settings"]["shots"]) == ("v2", 0.5, 4)
    assert [rule["accuracy"]["n"] + rule["skipped"] for rule in document["rules"]] == [4, 4]
    for wrong_flags, message in (
        (["--limit", "0"], "limit is 0: give 1 or more"),
        (["--max-length", "1"], "max_length 1 is too small"),
        (["--seed", "-1"], "--seed is -1"),
        (["--backend", "openai", "--batch-size", "2"], "--batch-size does not apply to the backend openai"),
    ):
        assert main(["discriminate", "--model", str(tiny_run), "--language", "anbn", *wrong_flags]) == 2
        assert message in capsys.readouterr().err


# Servers.


PAIRS = [("a a b b\n", "a b\n"), ("a a b b\n", "a a\n"), ("a b\n", "b a a b\n")]


def behind_a_server(model: Path, front: str = "") -> Script:
    """Return a server that computes with a model and adds a token before and after the prompt, as vLLM does."""
    local = text_completer("hf", BackendConfig(str(model)))
    assert isinstance(local, HfCompleter)

    def script(handler: Handler, body: dict[str, Any], number: int) -> None:
        del number
        assert body["echo"]
        assert body["logprobs"] == 1
        ids = torch.tensor([local.texts.of(body["prompt"])])
        with torch.inference_mode():
            logs = local.model(ids).logits[0].log_softmax(-1)
        values = [None, *logs[:-1].gather(-1, ids[0, 1:, None])[:, 0].tolist()]
        tokens = [local.tokenizer.decode([token]) for token in ids[0]]
        new, value = " b", -0.5
        tokens, values = [*([front] if front else []), *tokens, new], [*([None] if front else []), *values, value]
        logprobs = {"tokens": tokens, "token_logprobs": values, "top_logprobs": None, "text_offset": [0] * len(tokens)}
        choice = {"text": body["prompt"] + new, "logprobs": logprobs, "finish_reason": "length", "index": 0}
        handler.respond(json.dumps({"choices": [choice]}))

    return script


@pytest.mark.parametrize("front", ["", "<|begin_of_text|>"])
def test_discrimination_is_equal_in_process_and_behind_a_server(text_model: Path, front: str) -> None:
    here = discriminate_text(text_completer("hf", BackendConfig(str(text_model))), "m", ANBN, limit=8)
    with serving(behind_a_server(text_model, front)) as server:
        there = discriminate_text(text_completer("openai", BackendConfig("m", base_url=server.url)), "m", ANBN, limit=8)
        assert len(server.requests) == 2 * sum(len(rule.pairs) for rule in here.rules)
    for one, other in zip(here.rules, there.rules, strict=True):
        assert (one.accuracy, one.verdict, one.references) == (other.accuracy, other.verdict, other.references)
        logs = np.array([[(pair.log_word, pair.log_broken) for pair in rule.pairs] for rule in (one, other)])
        assert np.abs(logs[0] - logs[1]).max() < 1e-4
    assert any(rule.accuracy and 0 < rule.accuracy.rate < 1 for rule in here.rules)


def test_the_discriminate_command_accepts_a_server(text_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--language", "anbn", "--limit", "4", "--shots", "4", "--json"]
    with serving(behind_a_server(text_model)) as server:
        flags = ["--base-url", server.url, "--tokenizer", str(text_model), "--concurrency", "2"]
        assert main(["discriminate", "--model", "m", *few, *flags]) == 0
    there = json.loads(capsys.readouterr().out)
    assert main(["discriminate", "--model", str(text_model), *few]) == 0
    here = json.loads(capsys.readouterr().out)
    assert [rule["accuracy"] for rule in here["rules"]] == [rule["accuracy"] for rule in there["rules"]]
    assert main(["discriminate", "--model", "m", *few, "--tokenizer", str(text_model), "--backend", "hf"]) == 2
    assert "--tokenizer does not apply to the backend hf" in capsys.readouterr().err


def test_a_refused_parameter_is_left_out_for_all_pairs(text_model: Path) -> None:
    answers = behind_a_server(text_model)

    def script(handler: Handler, body: dict[str, Any], number: int) -> None:
        if "seed" in body:
            handler.respond(json.dumps({"error": {"message": "Unknown parameter: 'seed'.", "param": "seed"}}), 400)
        else:
            answers(handler, body, number)

    with serving(script) as server:
        logs = text_completer("openai", BackendConfig("m", base_url=server.url)).log_probabilities(PAIRS)
        assert len(server.requests) == len(PAIRS) + 1
    here = text_completer("hf", BackendConfig(str(text_model))).log_probabilities(PAIRS)
    assert list(logs) == pytest.approx(list(here), abs=1e-4)


def responding(choice: Any, status: int = 200) -> Script:
    return lambda handler, _, __: handler.respond(json.dumps({"choices": [choice]}), status)


def with_logprobs(tokens: Any, values: Any) -> Script:
    return responding({"text": "", "finish_reason": "length", "logprobs": {"tokens": tokens, "token_logprobs": values}})


def error(message: str, status: int) -> Script:
    return lambda handler, _, __: handler.respond(json.dumps({"error": {"message": message, "code": status}}), status)


TOKENS = ["a", " a", " b", " b", "\n", "a", " b", "\n"]
# For each name: the server, and the message of the error.
WITHOUT = {
    "llama.cpp": (error("Only no echo is supported", 400), "http-400: .*Only no echo is supported"),
    "OpenAI's chat models": (error("This is a chat model and not supported in v1/completions", 404), "http-404"),
    "echo is ignored": (responding({"text": " b", "finish_reason": "length"}), "no token_logprobs"),
    "logprobs are null": (responding({"text": " b", "finish_reason": "length", "logprobs": None}), "no token_logprobs"),
    "only the new token": (with_logprobs([" b"], [-0.1]), "do not spell the prompt"),
    "no values": (with_logprobs(TOKENS, [None] * 8), "the log-probabilities in the response are \\[None"),
    "probabilities": (with_logprobs(TOKENS, [None, *[0.5] * 7]), "the log-probabilities in the response are \\[0.5"),
    "not numbers": (with_logprobs(TOKENS, [None, *["-1"] * 7]), "in the response are \\['-1'"),
    "no number": (with_logprobs(TOKENS, [None, *[float("nan")] * 7]), "in the response are \\[nan"),
    "a token too few": (with_logprobs(TOKENS, [None, *[-1.0] * 6]), "no token_logprobs"),
    "merged": (with_logprobs(["a a b b", "\na", " b\n"], [None, -1.0, -1.0]), "a token holds the end of"),
    "no choice": (lambda handler, _, __: handler.respond('{"choices": []}'), "no token_logprobs"),
    "an error": (lambda handler, _, __: handler.respond('{"error": "no logprobs"}'), "server-error: no logprobs"),
}


@pytest.mark.parametrize("name", WITHOUT)
def test_a_server_without_log_probabilities_is_refused_in_one_line(name: str) -> None:
    script, message = WITHOUT[name]
    with serving(script) as server:
        config = BackendConfig("m", base_url=server.url, retries=0, concurrency=1)
        completer = text_completer("openai", config)
        with pytest.raises(RuleExtrapError, match=message) as refusal:
            completer.log_probabilities(PAIRS[:1] * 20)
        # No further request is sent.
        assert len(server.requests) <= 2
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).startswith(f"{server.url} gives no log-probabilities of a prompt (")


def test_a_key_in_a_response_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a-secret-that-nobody-may-see")
    with serving(error("wrong key sk-a-secret-that-nobody-may-see", 401)) as server:
        completer = text_completer("openai", BackendConfig("m", base_url=server.url))
        with pytest.raises(RuleExtrapError, match=r"http-401.*give the same command again") as refusal:
            completer.log_probabilities(PAIRS)
    assert "nobody" not in str(refusal.value)
