"""Whoever has imported the package loads our checkpoints with transformers alone, without any flag."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Each way in is the first that its process takes: the child of a fork knows what was imported, and no more.
CODE = """
import os
import sys

{imports}
import torch
import transformers
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer, pipeline

assert not any(name.startswith("hf_ruleextrap.models") for name in sys.modules), "registered too soon"
run = sys.argv[1]

def tokenizer():
    return AutoTokenizer.from_pretrained(run)

def generated():
    pipe = pipeline("text-generation", model=run)
    return pipe("aab", max_new_tokens=3)[0]["generated_text"].startswith("aab")

WAYS = {{
    "AutoConfig": lambda: AutoConfig.from_pretrained(run).model_type == "ruleextrap_lstm",
    "for_model": lambda: AutoConfig.for_model("ruleextrap_lstm", hidden_size=3).hidden_size == 3,
    "AutoTokenizer": lambda: len(tokenizer()("aab")["input_ids"]) == 4,
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
BEFORE, AFTER = "import hf_ruleextrap", "from transformers import AutoConfig\nimport hf_ruleextrap"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="each way in needs a process that has taken no other")
@pytest.mark.parametrize("imports", [BEFORE, AFTER], ids=["before-transformers", "after-transformers"])
def test_every_auto_class_and_the_pipeline_know_our_models(imports: str, tiny_run: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(imports=imports), str(tiny_run)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ways = ["AutoConfig", "for_model", "AutoTokenizer", "AutoModel", "AutoModelForCausalLM", "pipeline"]
    assert done.stdout.splitlines() == [f"{way} 0" for way in ways], done.stderr


def test_the_auto_classes_keep_what_they_say_of_themselves() -> None:
    from transformers import AutoConfig

    assert AutoConfig.from_pretrained.__name__ == "from_pretrained"
    assert "pretrained_model_name_or_path" in (AutoConfig.from_pretrained.__doc__ or "")
    with pytest.raises(ValueError, match="Unrecognized model identifier: no-such-model"):
        AutoConfig.for_model("no-such-model")


def test_the_line_that_publish_prints_works_in_a_fresh_process(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from hf_ruleextrap.cli import main

    assert main(["publish", "checkpoint", str(tiny_run), "--to", str(tmp_path)]) == 0
    line = capsys.readouterr().out.splitlines()[-1].removeprefix(f"from {tmp_path}: ")
    code = f"from transformers import AutoModelForCausalLM\nprint(type({line}).__name__)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.stdout.strip() == "RuleLSTMForCausalLM", done.stderr
