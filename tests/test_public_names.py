"""The public names of ``hf_ruleextrap``, and the registration of its models with transformers.

Registration is explicit: `import hf_ruleextrap.models` or `hf_ruleextrap.load_model` registers the models.
"""

from __future__ import annotations

import doctest
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import hf_ruleextrap
from hf_ruleextrap import RuleExtrapError, build_model

PUBLIC_NAMES = {
    *("Language", "Rule", "Recipe", "run_recipe", "Results", "Evaluator", "Evaluation", "LocalModel", "build_model"),
    *("build_tokenizer", "build_splits", "score", "chance", "exact_mass", "get_language", "list_languages"),
    *("random_conjunction", "load_model", "list_architectures", "RuleExtrapError"),
}
ROOT_MODULES = {path.stem for path in Path(hf_ruleextrap.__file__).parent.iterdir() if path.name != "__pycache__"}


def test_dir_lists_the_public_names_before_any_is_loaded() -> None:
    code = "import hf_ruleextrap as h; print(*(name for name in dir(h) if not name.startswith('_')))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert set(process.stdout.split()) == PUBLIC_NAMES == set(hf_ruleextrap.__all__)
    assert "__version__" in dir(hf_ruleextrap)


def test_score_needs_none_of_the_large_libraries() -> None:
    """The library `evaluate` in particular is not needed, because its maintenance is ending."""
    code = (
        "import sys; sys.modules |= dict.fromkeys(('evaluate', 'datasets', 'torch', 'transformers')); "
        "from hf_ruleextrap import score; print(score('anbn', ['baa'], ['b'], [True]).headline.rate)"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert process.stdout.strip() == "1.0", process.stderr


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'hf_ruleextrap' has no attribute 'scores'"):
        hf_ruleextrap.scores  # noqa: B018  # the look-up is the test


@pytest.mark.parametrize("name", sorted(PUBLIC_NAMES))
def test_each_public_name_has_a_docstring_whose_example_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public_object = getattr(hf_ruleextrap, name)
    assert public_object.__name__ == name
    assert name not in ROOT_MODULES
    assert inspect.isclass(public_object) or inspect.isfunction(public_object)
    documentation = inspect.cleandoc(public_object.__doc__)
    summary = documentation.splitlines()[0]
    assert summary[0].isupper()
    assert documentation.split("\n\n")[0].endswith((".", "…"))
    monkeypatch.chdir(tmp_path)
    module = vars(inspect.getmodule(public_object))
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    example = doctest.DocTestParser().get_doctest(public_object.__doc__, dict(module), name, None, None)
    assert example.examples, f"{name} has no example"
    output: list[str] = []
    result = doctest.DocTestRunner(optionflags=options).run(example, out=output.append)
    assert result.failed == 0, "".join(output)


# Registration.


def in_a_fresh_process(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


# Each way runs in a forked process, in which no other way has run before.
WAYS = """
import os
import sys

{imports}
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer, pipeline

run = sys.argv[1]

def tokenizer():
    return AutoTokenizer.from_pretrained(run)

def generated():
    pipe = pipeline("text-generation", model=run)
    return pipe("aab", max_new_tokens=3)[0]["generated_text"].startswith("aab")

WAYS = {{
    "AutoConfig": lambda: AutoConfig.from_pretrained(run).model_type == "ruleextrap_lstm",
    "for_model": lambda: AutoConfig.for_model("ruleextrap_lstm", hidden_size=3).hidden_size == 3,
    "AutoTokenizer": lambda: type(tokenizer()).__name__ == "SymbolTokenizer",
    "AutoModel": lambda: type(AutoModel.from_pretrained(run)).__name__ == "RuleLSTMModel",
    "AutoModelForCausalLM": lambda: type(AutoModelForCausalLM.from_pretrained(run)).__module__
    == "hf_ruleextrap.models.lstm",
    "pipeline": generated,
}}
for name, way in WAYS.items():
    child = os.fork()
    if child == 0:
        try:
            assert way(), name
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
    print(name, os.waitpid(child, 0)[1], flush=True)
"""
BEFORE = "import hf_ruleextrap.models"
AFTER = "from transformers import AutoConfig\nimport hf_ruleextrap.models"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="each way needs a process of its own")
@pytest.mark.parametrize("imports", [BEFORE, AFTER], ids=["before-transformers", "after-transformers"])
def test_every_auto_class_and_the_pipeline_know_our_models(imports: str, tiny_run: Path) -> None:
    process = in_a_fresh_process(WAYS.format(imports=imports), str(tiny_run))
    assert process.returncode == 0, process.stderr
    ways = ["AutoConfig", "for_model", "AutoTokenizer", "AutoModel", "AutoModelForCausalLM", "pipeline"]
    assert process.stdout.splitlines() == [f"{way} 0" for way in ways], process.stderr


def test_the_import_changes_no_global_state_and_load_model_registers_and_loads(tiny_run: Path) -> None:
    code = """
import sys
before = list(sys.meta_path), list(sys.path_hooks)
import hf_ruleextrap
hf_ruleextrap.get_language("anbn")
assert before == (sys.meta_path, sys.path_hooks)
from transformers import AutoConfig
assert AutoConfig.from_pretrained.__func__.__module__ == AutoConfig.__module__
assert not hasattr(AutoConfig.from_pretrained, "__wrapped__")
try:
    AutoConfig.for_model("ruleextrap_lstm")
except ValueError:
    print(type(hf_ruleextrap.load_model(sys.argv[1])).__module__)
    print(AutoConfig.for_model("ruleextrap_lstm").model_type)
"""
    process = in_a_fresh_process(code, str(tiny_run))
    assert process.stdout.split() == ["hf_ruleextrap.models.lstm", "ruleextrap_lstm"], process.stderr


def test_load_model_never_runs_the_code_in_a_checkpoint(tmp_path: Path) -> None:
    build_model("lstm", language="anbn", seed=0).save_pretrained(tmp_path)
    for module in tmp_path.glob("*.py"):
        module.write_text("raise SystemExit('the code of the checkpoint has run')")
    assert type(hf_ruleextrap.load_model(tmp_path, trust_remote_code=True)).__module__ == "hf_ruleextrap.models.lstm"


def test_load_model_reads_no_pickle_and_refuses_in_one_line(tmp_path: Path) -> None:
    model = build_model("lstm", language="anbn", seed=0)
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(RuleExtrapError, match="no checkpoint can be loaded from") as caught:
            hf_ruleextrap.load_model(folder)
        assert "\n" not in str(caught.value)


def test_the_line_that_publish_prints_works_in_a_fresh_process(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from hf_ruleextrap.cli import main

    assert main(["publish", "checkpoint", str(tiny_run), "--to", str(tmp_path)]) == 0
    line = capsys.readouterr().out.splitlines()[-1].removeprefix(f"from {tmp_path}: ")
    code = f"from transformers import AutoModelForCausalLM\nprint(type({line}).__name__)"
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False
    )
    assert process.stdout.strip() == "RuleLSTMForCausalLM", process.stderr
