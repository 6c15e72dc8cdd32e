"""What CONTRIBUTING.md says of a new architecture, followed with a toy."""

from __future__ import annotations

from pathlib import Path

import torch
from models.gru import RuleGRUForCausalLM
from tiny import TINY
from transformers import AutoModelForCausalLM

from hf_ruleextrap import build_model, exact_mass
from hf_ruleextrap.models import register
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.run import run_recipe


def test_a_gru_in_one_file_is_built_trained_saved_and_evaluated(tmp_path: Path) -> None:
    register(RuleGRUForCausalLM)
    model = build_model("ruleextrap_gru", vocab_size=5, hidden_size=8, seed=0).eval()
    ids = torch.tensor([[1, 3, 3, 4, 3]])
    whole = model(ids).logits
    cache = model(ids[:, :3]).past_key_values
    torch.testing.assert_close(model(ids[:, 3:], past_key_values=cache).logits, whole[:, 3:])
    found = [model.generate(ids, max_new_tokens=6, do_sample=False, use_cache=use).tolist() for use in (True, False)]
    assert found[0] == found[1]
    assert sum(exact_mass(model, "anbn", max_length=3).cells.values()) < 1

    results = run_recipe(
        Recipe.of({**TINY, "architecture": "ruleextrap_gru", "output_dir": str(tmp_path / "run")}, "test")
    )
    assert results.best.kinds["ood"].greedy.report.n == 251
    assert type(AutoModelForCausalLM.from_pretrained(tmp_path / "run")) is RuleGRUForCausalLM
