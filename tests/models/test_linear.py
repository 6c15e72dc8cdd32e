"""The linear model: what it sees, where it is read, and the authors' constants."""

from __future__ import annotations

import pytest
import torch

from hf_ruleextrap import build_model, get_language, list_languages
from hf_ruleextrap.architectures import architecture_config
from hf_ruleextrap.completers import LocalModel
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation.likelihood import token_rows
from hf_ruleextrap.formal import WordBatch

BOS, EOS = 1, 2


def test_it_is_the_sum_over_the_inputs_seen_so_far() -> None:
    model = build_model("linear", vocab_size=6, seed=0).eval()
    ids = torch.tensor([[BOS, 3, 5, 4]])
    weight, bias = model.model.linear.weight, model.model.linear.bias
    embedded = model.model.embed_tokens(ids)[0]
    for t, found in enumerate(model(ids).logits[0]):
        expected = bias[t] + sum(embedded[s] @ weight[s, :, t] for s in range(t + 1))
        torch.testing.assert_close(found, expected)


def test_the_authors_form_sees_itself_and_the_future_only() -> None:
    model = build_model("linear", vocab_size=6, seed=0, causal=False).eval()
    ids = torch.tensor([[BOS, 3, 5, 4, 3]])
    other = ids.clone()
    other[0, 2] = 3
    changed = (model(ids, use_cache=False).logits != model(other, use_cache=False).logits).any(dim=-1)[0]
    assert changed.tolist() == [True, True, True, False, False]


@pytest.mark.parametrize(("name", "finished"), [("anbn", True), ("anbncn", False)])
def test_the_authors_constants(name: str, finished: bool) -> None:
    """Trained on words up to the last position, it ends at once after every prompt; else it never ends.

    The last position holds EOS for the longest words of a^n b^n. No word of a^n b^n c^n reaches it, so it is never
    trained, and the first of equal logits is no symbol.
    """
    language = get_language(name)
    model = build_model("linear", language=language, causal=False, read="last", max_position_embeddings=17, seed=0)
    words = WordBatch.from_strings(list(language.words(16)))
    ids = torch.from_numpy(token_rows(words, language, width=18))
    labels = ids.masked_fill(ids == 0, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    for _ in range(30):
        optimizer.zero_grad()
        # Position t predicts token t + 1, so the last token is a target and no input.
        logits = model(ids[:, :-1], use_cache=False).logits
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100).backward()
        optimizer.step()
    prompts = language.prompts(length=4)
    made = LocalModel(model, language).complete(prompts, max_new_symbols=8)
    assert made.finished.tolist() == [finished] * len(prompts)
    if finished:
        assert set(made.words) == {""}


def test_a_sequence_longer_than_its_positions_is_refused_in_one_line() -> None:
    model = build_model("linear", vocab_size=5, max_position_embeddings=6)
    with pytest.raises(ValueError, match="a sequence of 7 tokens is longer than the 6 positions"):
        model(torch.full((1, 7), 3))
    with pytest.raises(RuleExtrapError, match="read is 'first': give one of current, last"):
        architecture_config("linear", vocab_size=5, overrides={"read": "first"})


@pytest.mark.parametrize("language", list_languages(tag="paper"))
def test_the_default_form_reads_each_position(language: str) -> None:
    model = build_model("linear", language=language, seed=0).eval()
    prompts = get_language(language).prompts("ood", limit=8)
    assert len(set(LocalModel(model, get_language(language)).complete(prompts, max_new_symbols=8).words)) > 1
