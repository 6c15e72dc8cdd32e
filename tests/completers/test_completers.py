"""Completers that continue prompts symbol by symbol, and their contract."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hf_ruleextrap import formal
from hf_ruleextrap.architectures import build_model
from hf_ruleextrap.completers import Completions, FromSource, LocalModel, Oracle
from hf_ruleextrap.evaluation import Evaluator
from hf_ruleextrap.evaluation.evaluate import samples_of
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
def test_the_contract(name: str, language: Language) -> None:
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
def test_a_limit_of_zero_leaves_room_for_the_end_alone(name: str) -> None:
    completions = completer_of(name, ANBN).complete(ANBN.prompts(length=4), max_new_symbols=0)
    assert set(completions.words) == {""}


def test_sampling_leaves_the_global_random_state_and_the_mode_alone() -> None:
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
def test_the_oracle_keeps_all_that_can_be_kept(name: str) -> None:
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


def test_every_reference_stands_in_an_evaluation() -> None:
    words = WordBatch.from_strings(list(ANBN.words(16)))
    evaluation = Evaluator(ANBN, prompt_length=4, max_new_symbols=8, train_words=words)(Oracle(ANBN))
    for condition in evaluation.conditions:
        names = {"uniform", "always-stop", "1-gram", "2-gram", "3-gram", "oracle", "ceiling"}
        assert set(condition.references) == names
        assert condition.greedy.report.as_exact() == condition.references["oracle"]


def test_a_sample_keeps_what_the_rates_count() -> None:
    """A completion that did not end keeps no rule in a sample, as in every rate over all prompts."""
    prompts = ANBN.label(["baa", "baa", "ab"])
    completions = Completions(WordBatch.from_strings(["b", "b", ""]), np.array([True, False, True]))
    samples = samples_of(formal.score(ANBN, prompts, completions.words, completions.finished), completions)
    assert [sample.rules for sample in samples] == [(True, False), (False, False), (True, True)]


@pytest.mark.parametrize("positions", ["none", "paper"])
def test_id_and_ood_prompts_together_are_completed_as_apart(positions: str) -> None:
    """With the authors' positions, the place of a row in its batch matters, and the kinds stay apart."""
    completer = LocalModel(build_model("transformer", language=ANBN, seed=3, positions=positions), ANBN)
    prompts = ANBN.prompts(length=6)
    together = completer.complete(prompts, max_new_symbols=5)
    for kind in ("id", "ood"):
        part = together.take(prompts.ood == (kind == "ood"))
        apart = completer.complete(prompts.of_kind(kind), max_new_symbols=5)
        assert list(part.words) == list(apart.words)
        assert part.finished.tolist() == apart.finished.tolist()
