"""Registration with transformers is explicit: `import hf_ruleextrap.models` does it, or `hf_ruleextrap.load_model`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import hf_ruleextrap
from hf_ruleextrap import RuleExtrapError, build_model


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


def test_importing_the_package_changes_nothing_and_load_model_registers_and_loads(tiny_run: Path) -> None:
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
