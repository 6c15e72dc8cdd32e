"""A mistake on the command line gives exit code 2 and one line that names the next step.

Each command of ``mistakes.jsonl`` takes at most ten seconds of CPU time.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hf_ruleextrap.cli import main
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.recipe_files import OTHER_NAMES

ROOT = Path(__file__).parents[1]
MISTAKES = [json.loads(line) for line in (ROOT / "tests/mistakes.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory, tiny_run: Path) -> Path:
    folder = tmp_path_factory.mktemp("broken")
    write_broken_files(folder, tiny_run)
    return folder


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    def expire(*_: object) -> None:
        raise AssertionError(f"still running after {seconds} s")

    # The timer counts the CPU time of this process, which a busy machine does not change.
    previous_handler = signal.signal(signal.SIGPROF, expire)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous_handler)


def test_the_table_of_mistakes_is_long_and_states_each_mistake() -> None:
    assert len(MISTAKES) >= 500
    assert all(row.keys() == {"command", "wrong"} and row["wrong"] for row in MISTAKES)
    assert len({json.dumps(row["command"]) for row in MISTAKES}) == len(MISTAKES)


@pytest.mark.parametrize("row", MISTAKES, ids=lambda row: f"{' '.join(row['command'])[:60]!r}"[1:-1])
def test_each_mistake_of_the_table_is_refused_in_one_line(
    row: dict, broken: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cwd").mkdir()
    places = {"{tmp}/cwd": str(tmp_path / "cwd"), "{tmp}": str(broken), "{repository}": str(ROOT), "{long}": "x" * 300}
    words = []
    for word in row["command"]:
        for name, value in places.items():
            word = word.replace(name, value)
        words.append(word)
    with at_most(10):
        try:
            code = main(words)
        except SystemExit as leave:
            code = leave.code
    captured = capsys.readouterr()
    assert code == 2, captured.err
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("error: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sample", "annbn"], "unknown language 'annbn': did you mean 'anbn'"),
        (["languages", "--level", "regulr"], "unknown level 'regulr': did you mean 'regular'"),
        (["languages", "--tag", "papr"], "unknown tag 'papr': did you mean 'paper'"),
        (["check", "nowhere.py:Mine"], "there is no file 'nowhere.py'"),
        (["sample", "anbn", "--max-length", "1"], "give max_length >= 2"),
        (["sample", "anbn", "-n", "-1"], "give 0 or more"),
        (["sample", "anbn", "--seed", "-1"], "give 0 or more"),
        (["prompts", "anbn", "--length", "0"], "no id prompt of anbn has 0 symbols"),
        (["prompts", "dyck", "--length", "7"], "no id prompt of dyck has 7 symbols"),
        (["evaluate", "--model", "nowhere/at-all", "--language", "anbn"], "no checkpoint can be loaded"),
        (["chance", "anbn", "--completer", "unifrom"], "unknown completer 'unifrom': did you mean 'uniform'"),
        (["explain", "anbn", "bca"], "'c' is not a symbol of the alphabet"),
        (["explain", "anbn", "baa", "--learner", "rational-modlar"], "did you mean 'rational-modular'"),
        (["explain", "anbn", "baa", "--epsilon", "1"], "give a probability between 0 and 1"),
        (["explain", "anbn", "b" * 17], "has 17 symbols, and no word that the learner knows has more than 16"),
        (["explain", "dyck", "([", "--max-length", "64"], "give max_length 35 or less"),
        (["score", "nowhere.jsonl", "--language", "anbn"], "cannot read the file of completions 'nowhere.jsonl'"),
        (["mass", "--model", "x", "--language", "anbn", "--max-length", "99"], "too many to follow"),
        (["mass", "--model", "x", "--language", "anbn", "--out", "x.docx"], "cannot draw"),
        (["train", "nowhere.yaml"], "cannot read the recipe 'nowhere.yaml'"),
        (["train", "--max_steps", "soon"], "max_steps is 'soon'"),
        (["train", "--architecture", "lstn"], "unknown architecture 'lstn'"),
    ],
)
def test_a_mistake_is_refused_in_one_line_with_exit_code_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert len(captured.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train --num_train_epochs 3", "unknown flag --num_train_epochs: max_epochs is the number of passes"),
        ("train --per-device-train-batch-size=8", "unknown flag --per-device-train-batch-size: batch_size is"),
        ("train --max_step 3", "unknown flag --max_step (did you mean --max_steps or --max_epochs?)"),
        ("train --max-step 3", "unknown flag --max-step (did you mean --max_steps or --max_epochs?)"),
        ("evaluate --modl x --language anbn", "unknown flag --modl (did you mean --model?)"),
        ("sweep mini --outt store", "unknown flag --outt (did you mean --out?)"),
        ("train quickstart fast", "unrecognized arguments: 'fast'"),
        ("plot", "the following arguments are required: run"),
    ],
)
def test_an_unknown_flag_is_refused_with_the_nearest_flags(
    words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words.split())
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {message}")
    assert line.endswith(f"; see hf-ruleextrap {words.split()[0]} --help")


def test_a_recipe_key_of_the_trainer_is_refused_with_our_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text("seed: 1\nlr_scheduler_type: linear\n", encoding="utf-8")
    assert main(["train", str(tmp_path / "mine.yaml")]) == 2
    assert "mine.yaml:2: unknown key 'lr_scheduler_type': the name is lr_scheduler" in capsys.readouterr().err


def test_every_foreign_name_leads_to_a_key_or_a_flag_of_this_package() -> None:
    for name, advice in OTHER_NAMES.items():
        assert name not in Recipe.model_fields
        words = set(re.findall(r"[\w-]+", advice))
        assert words & {*Recipe.model_fields, "--overwrite"} or "leave" in words, name


@pytest.mark.parametrize("name", ["runs/quickstrt", "./gpt2", "../there", "/no/folder", "~nobody/x", "gpt2/", "a/b/c"])
def test_a_mistyped_path_is_refused_without_a_request_to_the_hub(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def request(*_: object, **__: object) -> None:
        raise AssertionError("a request goes to the Hub")

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", request)
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", request)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "quickstart").mkdir(parents=True)
    assert main(["evaluate", "--model", name, "--language", "anbn"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: no checkpoint can be loaded from '{name}': there is no such folder; ")
    assert ("did you mean 'runs/quickstart'?" in line) == name.startswith("runs")


@pytest.mark.parametrize("line", ["not json", "[]", '{"prompt": "a"}'])
def test_an_invalid_line_of_completions_is_named(line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "made.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n' + line, encoding="utf-8")
    assert main(["score", str(path), "--language", "anbn"]) == 2
    error = capsys.readouterr().err
    assert "made.jsonl, line 2, " in error
    assert 'write {"prompt": "…"' in error


@pytest.mark.parametrize("words", [["nonsense"], ["train", "--max_step", "3"], ["compare"], ["sample"]])
def test_a_command_line_that_cannot_be_parsed_is_refused_in_one_line(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert len(captured.err.strip().splitlines()) == 1


def test_a_checkpoint_of_another_language_is_refused(capsys: pytest.CaptureFixture[str], tiny_run: Path) -> None:
    assert main(["evaluate", "--model", str(tiny_run), "--language", "anbncn"]) == 2
    assert "does not fit anbncn: it lacks 'c'" in capsys.readouterr().err


# Broken files.


_TEXTS = {
    "deep.yaml": "model: " + "[" * 100_000,
    "deep.json": "[" * 200_000 + "]" * 200_000,
    "model5.yaml": "model: 5\n",
    "recipes5.yaml": "recipes: [5]\n",
    "recipesnull.yaml": "recipes: [null]\n",
    "axesnull.yaml": "axes: {null: [1]}\n",
    "keys.yaml": "1: 2\n",
    "list.yaml": "- a\n",
    "tab.yaml": "language:\tanbn\n\t- x: [\n",
    "empty.yaml": "",
    "tag.yaml": "language: !!python/object/apply:os.getcwd []\n",
    "date.yaml": "language: 2020-01-01\n",
    "raises.py": "raise SystemExit(3)\n",
    "raises2.py": "1/0\n",
    "syntax.py": "def (\n",
    "recursion.py": "def f(): f()\nf()\n",
    "file": "x",
    # Each line has ten times the values of the line before.
    "laughs.yaml": "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)),
    "late.py": """
from hf_ruleextrap.languages.anbn import AnBn

class Late(AnBn):
    name = "late"

    def draw(self, *arguments, **keywords):
        raise KeyError("x")

    def alive(self, state):
        raise IndexError(1)
""",
    "init.py": """
from hf_ruleextrap.languages.anbn import AnBn

class Init(AnBn):
    name = "init"

    def __init__(self, **keywords):
        raise KeyError("x")
""",
    "nomod.py": """
from hf_ruleextrap.formal import Regular, count_mod, no_factor

class M(Regular):
    name = "m"
    summary = "m"
    level = "regular"
    alphabet = ("a", "b")
    rules = (count_mod("a", 0, 0), no_factor("bb"))
""",
}
_BYTES = {
    "latin1.yaml": "language: anbn # hé\n".encode("latin1"),
    "latin1.jsonl": '{"prompt": "aé", "completion": "b"}\n'.encode("latin1"),
    "binary.yaml": bytes(range(256)),
}
_RUNS = {
    "torn": ("model.safetensors", None),
    "emptyw": ("model.safetensors", ""),
    "badtok": ("tokenizer.json", "{"),
    "badconf": ("config.json", "{"),
    "notconf": ("config.json", "[]"),
    "logstrange": ("log.jsonl", 'nonsense\n[]\n{"step": "x"}\n'),
    "resultstorn": ("results.json", '{"a": '),
    "resultsdeep": ("results.json", "[" * 100_000),
    "recipebad": ("recipe.yaml", "language: ["),
}


def write_broken_files(folder: Path, run: Path) -> None:
    """Write the files, a copy of a finished run, and broken copies of that run."""
    for name, text in _TEXTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    for name, data in _BYTES.items():
        (folder / name).write_bytes(data)
    shutil.copytree(run, folder / "run")
    for name, (file, text) in _RUNS.items():
        path = shutil.copytree(run, folder / name) / file
        if text is None:
            path.write_bytes(path.read_bytes()[:100])
        else:
            path.write_text(text, encoding="utf-8")
