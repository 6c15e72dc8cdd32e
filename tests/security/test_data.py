"""What lies in a stranger's files is data: pickles run no code, and nested or huge values cost little."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from tiny import TINY

from hf_ruleextrap.cli import main
from hf_ruleextrap.inputs import parse_yaml
from hf_ruleextrap.train.checkpoints import seal
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.run import run_recipe
from hf_ruleextrap.train.trainer import RuleTrainer


class Bomb:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.place),)


@pytest.mark.parametrize("file", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_pickle_in_a_checkpoint_runs_no_code(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {**TINY, "max_steps": 4, "eval_steps": 2, "output_dir": str(tmp_path / "run")}

    evaluate, calls = RuleTrainer.evaluate, iter(range(9))

    def cut_off(trainer: RuleTrainer, *arguments: object, **settings: object) -> object:
        if next(calls):
            raise KeyboardInterrupt
        return evaluate(trainer, *arguments, **settings)

    # The run is cut off at its second evaluation, so that training goes on from the first checkpoint.
    with monkeypatch.context() as patch:
        patch.setattr(RuleTrainer, "evaluate", cut_off)
        with pytest.raises(KeyboardInterrupt):
            run_recipe(Recipe.of(values, "test"))
    checkpoint = tmp_path / "run" / "checkpoint-2"
    assert (checkpoint / file).exists()
    (checkpoint / file).write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    seal(checkpoint)
    capsys.readouterr()
    code = main(["train", *(f"--{key}={value}" for key, value in values.items())])
    assert not (tmp_path / "exploded").exists()
    error = capsys.readouterr().err
    assert code in (0, 2), error
    assert "Traceback" not in error


@pytest.mark.parametrize("key", ["model", "by_length", "language"])
def test_yaml_that_expands_without_end_is_one_line(
    key: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lines = ["a: &a [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    bomb = "\n".join(f"  {line}" for line in lines)
    recipe = tmp_path / "bomb.yaml"
    recipe.write_text(f"{key}:\n{bomb}\n", encoding="utf-8")
    assert main(["train", str(recipe), f"--output_dir={tmp_path / 'run'}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "expands to more than 100,000 values" in line
    assert not (tmp_path / "run").exists()


def test_yaml_tags_make_no_objects() -> None:
    with pytest.raises(ValueError, match="could not determine a constructor"):
        parse_yaml("!!python/object/apply:os.getcwd []", "a recipe")
