"""A stranger's files are data: pickles run no code, nested values cost little, and no code of theirs is published."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from security.strangers import Stranger, tree
from tiny import TINY
from transformers import AutoModelForCausalLM

from hf_ruleextrap.cli import main
from hf_ruleextrap.files import safe_name
from hf_ruleextrap.hub.cards import code, python
from hf_ruleextrap.inputs import parse_yaml
from hf_ruleextrap.report.tables import escape_latex, escape_markdown
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


CODE = "from pathlib import Path\nPath(__file__).with_name('RAN').touch()\nraise SystemExit\n"
EVALUATE = ["evaluate", "--model", "runs/theirs", "--language", "anbn", "--protocol", "symbols", "--json"]


def publish() -> int:
    return main(["publish", "checkpoint", "runs/theirs", "--to", "site"])


@pytest.mark.parametrize("key", ["architecture", "language"])
def test_no_name_leaves_the_folder_it_is_put_in(key: str, stranger: Stranger) -> None:
    before = tree(stranger.folder)
    stranger.change(**{key: "x/../../../target"})
    publish()
    written = {path for path in tree(stranger.folder) if path not in before}
    assert all(path.startswith("site/ruleextrap/") for path in written)
    results = stranger.results()
    results["best"]["language"] = "../../../../target"
    stranger.write_results(results)
    publish()
    assert all(path.startswith("site/ruleextrap/") for path in set(tree(stranger.folder)) - set(before))
    for text in ("..", "../x", "/etc/passwd", "a\0b", "a/../b", ".hidden", "\\\\host\\x", "x" * 9999, "", "é" * 300):
        name = safe_name(text)
        assert name
        assert Path("folder", name).resolve().parent == Path("folder").resolve()
        assert len(name.encode()) < 200


def test_only_our_modeling_files_and_known_fields_are_published(stranger: Stranger) -> None:
    from hf_ruleextrap import models

    for name in ("sitecustomize.py", "lstm.py", "base.py", "evil.py"):
        (stranger.run / name).write_text(CODE)
    config = json.loads((stranger.run / "config.json").read_text())
    config |= {"auto_map": {"AutoConfig": "evil.Config"}, "_name_or_path": "/home/them", "note": "theirs"}
    (stranger.run / "config.json").write_text(json.dumps(config))
    stranger.change(language=str(stranger.folder / "evil.py") + ":Theirs", output_dir="/home/them/run")
    assert publish() == 0
    (folder,) = Path("site/ruleextrap").iterdir()
    files = tree(folder)
    own = {path.name: path.read_bytes() for path in Path(models.__path__[0]).glob("*.py")}
    code_files = {name: text for name, text in files.items() if name.endswith(".py")}
    assert set(code_files) == {"lstm.py", "base.py", "recurrent.py"}
    assert all(own[name] == text for name, text in code_files.items())
    published = json.loads(files["config.json"])
    assert published["auto_map"]["AutoConfig"] == "lstm.RuleLSTMConfig"
    assert "note" not in published
    for name, text in files.items():
        assert str(stranger.folder).encode() not in text, name
        assert b"/home/them" not in text, name
    assert files["model.safetensors"] == (stranger.run / "model.safetensors").read_bytes()
    assert not stranger.ran


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "results.json"])
@pytest.mark.parametrize("how", ["link", "missing", "torn"])
def test_a_file_that_is_linked_missing_or_torn_is_refused(
    name: str, how: str, stranger: Stranger, capsys: pytest.CaptureFixture[str]
) -> None:
    path = stranger.run / name
    content = path.read_bytes()
    path.unlink()
    if how == "link":
        (stranger.folder / "secret").write_bytes(content)
        path.symlink_to(stranger.folder / "secret")
    elif how == "torn":
        path.write_bytes(content[: len(content) // 2])
    assert publish() == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not Path("site").exists() or not tree(Path("site"))


def test_no_code_of_the_folder_runs_even_where_remote_code_is_allowed(stranger: Stranger) -> None:
    (stranger.run / "evil.py").write_text(CODE)
    for name, entry in (
        ("config.json", {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["evil.T", "evil.T"]}),
    ):
        path = stranger.run / name
        path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": entry}))
    assert main(EVALUATE) == 0
    assert main([*EVALUATE, "--trust-remote-code"]) == 0
    assert not stranger.ran


def test_pickled_weights_are_not_read(stranger: Stranger, capsys: pytest.CaptureFixture[str]) -> None:
    model = AutoModelForCausalLM.from_pretrained(stranger.run)
    torch.save(model.state_dict(), stranger.run / "pytorch_model.bin")
    (stranger.run / "model.safetensors").unlink()
    assert main(EVALUATE) == 2
    assert "no checkpoint can be loaded" in capsys.readouterr().err


def test_text_stays_in_its_place_in_every_format() -> None:
    text = "a|b\n\n| x | <script>`c` [d](e) &lt; \u202e\x1b[31m $m$"
    escaped = escape_markdown(text)
    assert "\n" not in escaped
    assert escaped.isprintable()
    for sign in "|<`[$":
        assert all(escaped[place - 1] == "\\" for place in range(len(escaped)) if escaped[place] == sign)
    assert code("a`b``c\n") == "``` a`b``c ```"
    assert eval(python('"]); import os\n#`')) == '"]); import os\n#`'
    latex = escape_latex("[1] *x\n\n\\input{/etc/passwd} %&#_^^5c")
    assert latex.startswith("{[}1{]} {*}x \\textbackslash{}input\\{")
    assert "\n" not in latex
