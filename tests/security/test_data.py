"""A stranger's files are data: they run no code, cost little, and none of their code is published."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from security.strangers import Stranger, tree
from tiny import TINY
from transformers import AutoModelForCausalLM

from hf_ruleextrap import load_model
from hf_ruleextrap.cli import main
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.files import safe_name
from hf_ruleextrap.hub.cards import code, python
from hf_ruleextrap.inputs import parse_yaml
from hf_ruleextrap.report.tables import escape_latex, escape_markdown
from hf_ruleextrap.train.checkpoints import seal
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.run import run_recipe
from hf_ruleextrap.train.trainer import RuleTrainer


class Bomb:
    """An object whose pickle creates a folder when it is loaded."""

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

    # The run is interrupted at its second evaluation, so that training resumes from the first checkpoint.
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
def test_yaml_that_expands_without_end_is_refused_in_one_line(
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


def test_yaml_tags_create_no_objects() -> None:
    with pytest.raises(ValueError, match="could not determine a constructor"):
        parse_yaml("!!python/object/apply:os.getcwd []", "a recipe")


CODE = "from pathlib import Path\nPath(__file__).with_name('RAN').touch()\nraise SystemExit\n"
EVALUATE = ["evaluate", "--model", "runs/theirs", "--language", "anbn", "--protocol", "symbols", "--json"]


def publish() -> int:
    return main(["publish", "checkpoint", "runs/theirs", "--to", "site"])


@pytest.mark.parametrize("key", ["architecture", "language"])
def test_no_name_from_data_leaves_its_folder(key: str, stranger: Stranger) -> None:
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


def test_text_from_data_is_escaped_in_every_format() -> None:
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


EVALUATE_SHORT_PROMPTS = [
    "evaluate",
    "--model",
    "runs/theirs",
    "--language",
    "anbn",
    "--prompt-length=4",
    "--max-new-symbols=4",
]


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    "values",
    [
        {"hidden_size": 10**9},
        {"hidden_size": 10**12},
        {"vocab_size": 10**10},
        {"embedding_size": 10**10},
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": 1e300},
        {"attn_implementation": "kernels-community/flash-attn"},
        {"_attn_implementation": "evil/kernel"},
        {"attn_implementation": 5},
        {"dtype": "os.system"},
        {"quantization_config": {"quant_method": "gptq"}},
        {"text_config": {"attn_implementation": "evil/kernel"}},
    ],
    ids=lambda values: json.dumps(values)[:40],
)
def test_a_config_with_impossible_values_is_refused_in_one_line(
    values: dict[str, Any], stranger: Stranger, capsys: pytest.CaptureFixture[str]
) -> None:
    change(stranger.run / "config.json", **values)
    assert main(EVALUATE_SHORT_PROMPTS) == 2
    errors = capsys.readouterr().err
    assert "Traceback" not in errors
    (line,) = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert "runs/theirs" in line


def test_a_kernel_of_the_hub_is_not_loaded(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[object] = []
    monkeypatch.setattr("transformers.modeling_utils.PreTrainedModel.from_pretrained", loaded.append)
    change(stranger.run / "config.json", attn_implementation="kernels-community/flash-attn")
    with pytest.raises(RuleExtrapError, match="may run code from the Hub: remove the key, or write one of eager, sdpa"):
        load_model("runs/theirs")
    assert not loaded


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("language", "key"),
    [("anbn", "max_length"), ("bban", "train_size"), ("bban", "max_length"), ("bban", "held_out_size")],
)
def test_a_recipe_of_endless_work_does_not_delay_other_commands(
    language: str, key: str, stranger: Stranger, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger.change(**{"language": language, key: 10**12})
    command = [language if word == "anbn" else word for word in EVALUATE_SHORT_PROMPTS]
    assert main(command) == 0, capsys.readouterr().err
    printed = capsys.readouterr()
    if language == "bban":
        assert "note: the training words of runs/theirs are left out, and so are the n-grams" in printed.err
        assert "gram" not in printed.out
    assert main(["plot", "runs/theirs"]) == 0


TEMPLATES = {
    "raises": "{{ raise_exception('no') }}",
    "divides": "{{ 1 / 0 }}",
    "looks up": "{{ messages[99].content.more }}",
    "recurses": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "a range": "{% for i in range(10 ** 12) %}{% endfor %}",
    "loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "writes": "{% for i in range(99999) %}{{ 'a a a' }}{% endfor %}",
    "syntax": "{% for %}",
    "reaches out": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_chat_template_that_raises_or_loops_is_refused_in_one_line(
    name: str,
    text_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("hf_ruleextrap.completers.in_process.MOST_TEMPLATE_SECONDS", 0.5)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(text_model, "theirs")
    Path("theirs/chat_template.jinja").write_text(TEMPLATES[name])
    assert main(["evaluate", "--model=theirs", "--language=anbn", "--chat", "--limit=2", "--samples=0"]) == 2
    errors = capsys.readouterr().err
    assert "Traceback" not in errors
    line = errors.strip().splitlines()[-1]
    assert line.startswith("error: the chat template of theirs ")
    assert "leave out --chat" in line


def test_the_note_of_a_failed_cell_is_not_read_through_a_link(stranger: Stranger) -> None:
    notes, secret = stranger.folder / "runs" / "failures", stranger.folder / "secret.txt"
    secret.write_text("the reader's secret")
    notes.mkdir()
    (notes / "cell.txt").symlink_to(secret)
    (notes / "other.txt").write_text("ended early")
    assert main(["report", "runs", "--out", "out"]) == 0
    text = Path("out/report.md").read_text()
    assert "ended early" in text
    assert "secret" not in text
    # The notes are not read through a linked folder either.
    notes.rename(stranger.folder / "failures")
    notes.symlink_to(stranger.folder / "failures")
    assert main(["report", "runs", "--out", "out"]) == 0
    assert "ended early" not in Path("out/report.md").read_text()


def test_a_loaded_model_that_looks_ahead_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, BertLMHeadModel

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    for is_decoder in (True, False):
        BertLMHeadModel(BertConfig(vocab_size=5, is_decoder=is_decoder, **sizes)).save_pretrained(tmp_path / "bert")
        if is_decoder:
            load_model(tmp_path / "bert")
        else:
            with pytest.raises(RuleExtrapError, match="looks ahead"):
                load_model(tmp_path / "bert")
