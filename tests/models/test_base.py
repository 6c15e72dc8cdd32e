"""The common parts of the models, and an architecture that a user adds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from models.gru import RuleGRUForCausalLM
from tiny import TINY
from transformers import AutoModelForCausalLM

from hf_ruleextrap import build_model, exact_mass
from hf_ruleextrap.models import RecurrentCache, register
from hf_ruleextrap.models.lstm import RuleLSTMConfig, RuleLSTMForCausalLM
from hf_ruleextrap.models.recurrent import reordered, tokens_first
from hf_ruleextrap.models.transformer import RuleTransformerConfig, RuleTransformerForCausalLM
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.run import run_recipe


def build_cache() -> RecurrentCache:
    """Return a cache of two layers and two rows after five columns."""
    cache = RecurrentCache()
    cache.update_states([(torch.tensor([[0.0], [1.0]]),), (torch.tensor([2, 3]), torch.zeros(2, 3, 4))], 5)
    return cache


def test_a_cache_counts_columns_and_rows():
    cache = build_cache()
    assert (cache.get_seq_length(), cache.batch_size, len(cache), cache.get_max_length()) == (5, 2, 2, -1)
    cache.update_states(cache.states, 2)
    assert cache.get_seq_length(1) == 7
    assert cache.is_initialized
    assert not cache.is_compileable
    assert not cache.is_croppable


def test_a_reset_cache_is_empty():
    cache = build_cache()
    cache.reset()
    assert (cache.get_seq_length(), cache.batch_size, len(cache)) == (0, -1, 0)
    assert not cache.is_initialized


def test_rows_move_together_in_every_tensor():
    cache = build_cache()
    cache.batch_repeat_interleave(2)
    cache.reorder_cache(torch.tensor([3, 0, 1]))
    assert cache.states[0][0].tolist() == [[1.0], [0.0], [0.0]]
    assert cache.states[1][0].tolist() == [3, 2, 2]
    assert cache.states[1][1].shape == (3, 3, 4)


def test_a_state_cannot_be_cropped():
    build_cache().crop(0)
    with pytest.raises(ValueError, match="cannot be cropped"):
        build_cache().crop(-1)


def test_tokens_move_to_the_front_in_their_order_and_back():
    inputs = torch.arange(16.0).view(2, 4, 2)
    real = torch.tensor([[False, True, False, True], [True, True, True, False]])
    order = tokens_first(real)
    moved = reordered(inputs, order)
    assert moved[0, :2, 0].tolist() == [2, 6]
    assert moved[1, :3, 0].tolist() == [8, 10, 12]
    assert reordered(moved, order.argsort(dim=1)).equal(inputs)


def test_right_padding_moves_no_token():
    assert tokens_first(None) is None
    assert tokens_first(torch.tensor([[True, True, False], [True, False, False], [False, False, False]])) is None


def test_training_returns_no_state_unless_one_is_requested():
    model = RuleLSTMForCausalLM(RuleLSTMConfig()).train()
    ids = torch.tensor([[1, 3, 4]])
    assert model(ids).past_key_values is None
    assert model(ids, use_cache=True).past_key_values.seen == 3
    assert model.eval()(ids).past_key_values.seen == 3


@torch.no_grad()
def test_the_state_after_padded_rows_is_that_of_the_rows_alone():
    model = RuleLSTMForCausalLM(RuleLSTMConfig(num_hidden_layers=2)).eval()
    ids = torch.tensor([[0, 0, 1, 3], [1, 4, 4, 0], [0, 0, 0, 0]])
    mask = (ids != 0).long()
    states = model(ids, attention_mask=mask).past_key_values.states
    for row in range(2):
        alone = model(ids[row][mask[row].bool()][None]).past_key_values.states
        for layer, expected in zip(states, alone, strict=True):
            for tensor, single in zip(layer, expected, strict=True):
                torch.testing.assert_close(tensor[row], single[0])
    # A row without tokens keeps its state, which is zero.
    assert all(not tensor[2].any() for layer in states for tensor in layer)


@pytest.mark.parametrize(
    ("config", "fields", "message"),
    [
        (RuleLSTMConfig, {"hidden_size": 0}, "hidden_size is 0: give an integer of at least 1"),
        (RuleLSTMConfig, {"hidden_size": "64"}, "hidden_size is '64'"),
        (RuleLSTMConfig, {"num_hidden_layers": True}, "num_hidden_layers is True"),
        (RuleLSTMConfig, {"vocab_size": 2.0}, "vocab_size is 2.0"),
        (RuleLSTMConfig, {"dropout": 1.5}, "dropout is 1.5: give a number between 0 and 1"),
        (RuleLSTMConfig, {"dropout": float("nan")}, "dropout is nan"),
        (RuleLSTMConfig, {"tie_word_embeddings": True}, "embedding_size 10 differs from hidden_size 64"),
        (RuleLSTMConfig, {"eos_token_id": 5}, "eos_token_id is 5: give an id from 0 to 4"),
        (RuleTransformerConfig, {"num_attention_heads": 3}, "give one of 1, 2, 5, 10"),
        (RuleTransformerConfig, {"positions": "rope"}, "give one of none, paper, sinusoidal, learned, rotary, alibi"),
        (RuleTransformerConfig, {"positions": None}, "positions is None"),
        (RuleTransformerConfig, {"norm_placement": "both"}, "give one of post, pre"),
        (RuleTransformerConfig, {"positions": "rotary", "num_attention_heads": 10}, "10 / 10 = 1 is odd"),
        (RuleTransformerConfig, {"layer_norm_eps": "6e-3"}, "layer_norm_eps is '6e-3'"),
        (RuleTransformerConfig, {"max_position_embeddings": -1}, "max_position_embeddings is -1"),
    ],
)
def test_an_invalid_configuration_is_refused_in_one_line(config, fields, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        config(**fields)
    assert "\n" not in str(caught.value)


def test_a_field_set_later_is_checked_when_the_model_is_built():
    config = RuleTransformerConfig()
    config.num_attention_heads = 4
    with pytest.raises(ValueError, match="num_attention_heads 4 does not divide hidden_size 10"):
        RuleTransformerForCausalLM(config)


def test_tied_embeddings_are_one_tensor():
    model = RuleLSTMForCausalLM(RuleLSTMConfig(embedding_size=8, hidden_size=8, tie_word_embeddings=True))
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_a_gru_in_one_file_is_built_trained_saved_and_evaluated(tmp_path: Path) -> None:
    register(RuleGRUForCausalLM)
    model = build_model("ruleextrap_gru", vocab_size=5, hidden_size=8, seed=0).eval()
    ids = torch.tensor([[1, 3, 3, 4, 3]])
    whole = model(ids).logits
    cache = model(ids[:, :3]).past_key_values
    torch.testing.assert_close(model(ids[:, 3:], past_key_values=cache).logits, whole[:, 3:])
    outputs = [model.generate(ids, max_new_tokens=6, do_sample=False, use_cache=use).tolist() for use in (True, False)]
    assert outputs[0] == outputs[1]
    assert sum(exact_mass(model, "anbn", max_length=3).cells.values()) < 1

    results = run_recipe(
        Recipe.of({**TINY, "architecture": "ruleextrap_gru", "output_dir": str(tmp_path / "run")}, "test")
    )
    assert results.best.kinds["ood"].greedy.report.n == 251
    assert type(AutoModelForCausalLM.from_pretrained(tmp_path / "run")) is RuleGRUForCausalLM
