"""Every architecture learns a tiny a^n b^n to near the entropy of its data."""

from __future__ import annotations

from pathlib import Path

import pytest

from hf_ruleextrap.architectures import get_preset, list_architectures
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.run import run_recipe

EVERY = [(name, size) for name in list_architectures() for size in get_preset(name).sizes]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), EVERY)
def test_200_steps_reach_the_floor_plus_20_percent(name: str, size: str, tmp_path: Path) -> None:
    values = {
        "architecture": name,
        "size": size,
        "max_length": 16,
        "disjoint": False,
        "train_size": 64,
        "held_out_size": 16,
        "max_steps": 200,
        "eval_steps": 200,
        "learning_rate": 0.01,
        "output_dir": str(tmp_path),
    }
    if (name, size) == ("transformer", "paper"):
        # Ten wide, with its norms after the sums, it diverges at larger steps.
        values |= {"learning_rate": 0.005, "warmup_steps": 20}
    found = run_recipe(Recipe.of(values, "test")).test
    assert found.floor is not None
    assert found.floor * 0.999 <= found.loss <= 1.2 * found.floor
