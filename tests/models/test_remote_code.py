"""A process without this package loads a checkpoint by the code in the checkpoint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from without_package import BLOCK

from hf_ruleextrap import get_language
from hf_ruleextrap.architectures import build_model, get_preset, list_architectures
from hf_ruleextrap.tokenization import build_tokenizer

EVERY = [(name, size) for name in list_architectures() for size in get_preset(name).sizes]

LOAD_AND_GENERATE = """
import json
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, pipeline

folder, trusts = sys.argv[1], sys.argv[2] == "yes"
ids = torch.tensor(json.loads(sys.argv[3]))
if not trusts:
    try:
        AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False)
    except ValueError as error:
        sys.exit(0 if "trust_remote_code=True" in str(error) else str(error))
    sys.exit("loaded without trust")
model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
backbone = AutoModel.from_pretrained(folder, trust_remote_code=True)
print(type(backbone).__name__)
with torch.no_grad():
    logits = model(ids).logits
    # Another alignment of the weights in memory may change the order of a matrix product.
    torch.testing.assert_close(model.lm_head(backbone(ids).last_hidden_state), logits)
out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False)
model.save_pretrained(sys.argv[4])
again = AutoModelForCausalLM.from_pretrained(sys.argv[4], trust_remote_code=True)
torch.testing.assert_close(again(ids).logits, logits)
pipe = pipeline("text-generation", model=folder, trust_remote_code=True)
texts = [outputs[0]["generated_text"] for outputs in pipe(["aab", "c"], max_new_tokens=4, batch_size=2)]
assert not any(name.split(".")[0] == "hf_ruleextrap" for name in sys.modules)
print(json.dumps({"logits": logits.tolist(), "generated": out.tolist(), "texts": texts}))
"""


def run_without_the_package(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the other process in a folder of its own, offline, and without the Python settings of this process."""
    cwd = tmp_path / "elsewhere"
    cwd.mkdir(exist_ok=True)
    settings = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    other_variables = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "PYTHON"))}
    return subprocess.run(
        [sys.executable, "-I", "-c", BLOCK + LOAD_AND_GENERATE, *arguments],
        cwd=cwd,
        env=other_variables | settings,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(("name", "size"), EVERY)
def test_remote_code_loads_and_generates_without_this_package(name, size, tmp_path):
    language = get_language("anbncn")
    model = build_model(name, language=language, size=size, seed=0).eval()
    model.save_pretrained(tmp_path / "checkpoint")
    build_tokenizer(language).save_pretrained(tmp_path / "checkpoint")
    ids = torch.tensor([[1, 3, 4], [1, 5, 5]])
    run = run_without_the_package(
        tmp_path, str(tmp_path / "checkpoint"), "yes", json.dumps(ids.tolist()), str(tmp_path / "again")
    )
    assert run.returncode == 0, run.stderr
    backbone, result = run.stdout.splitlines()[-2:]
    assert backbone == type(model.base_model).__name__
    output = json.loads(result)
    assert [text.startswith(prompt) for text, prompt in zip(output["texts"], ("aab", "c"), strict=True)] == [True, True]
    with torch.no_grad():
        torch.testing.assert_close(torch.tensor(output["logits"]), model(ids).logits)
    options = {"max_new_tokens": 6, "do_sample": False}
    expected = model.generate(ids, attention_mask=torch.ones_like(ids), **options)
    assert output["generated"] == expected.tolist()


def test_mamba_loads_without_trust_in_remote_code(tmp_path):
    build_model("mamba", vocab_size=6, seed=0).save_pretrained(tmp_path / "checkpoint")
    run = run_without_the_package(tmp_path, str(tmp_path / "checkpoint"), "no", "[[1]]")
    assert "loaded without trust" in run.stderr


def test_a_checkpoint_with_code_is_refused_without_trust_in_remote_code(tmp_path):
    build_model("lstm", vocab_size=6, seed=0).save_pretrained(tmp_path / "checkpoint")
    run = run_without_the_package(tmp_path, str(tmp_path / "checkpoint"), "no", "[[1]]")
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("name", list_architectures())
def test_the_config_of_a_checkpoint_names_its_code_files(name, tmp_path):
    model = build_model(name, vocab_size=6, seed=0)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    if name == "mamba":
        # transformers has this architecture, so that its checkpoint contains no code and needs no trust.
        assert config["architectures"] == ["MambaForCausalLM"]
        assert "auto_map" not in config
        assert not [*tmp_path.glob("*.py")]
        return
    auto_map = config["auto_map"]
    assert set(auto_map) == {"AutoConfig", "AutoModel", "AutoModelForCausalLM"}
    for entry in auto_map.values():
        file, _ = entry.split(".")
        assert (tmp_path / f"{file}.py").is_file()


def test_the_saved_auto_map_names_no_other_repository(tmp_path):
    model = build_model("lstm", vocab_size=6, seed=0)
    model.config.auto_map = {"AutoModel": "someone/else--lstm.RuleLSTMModel"}
    model.save_pretrained(tmp_path)
    assert "someone/else" not in (tmp_path / "config.json").read_text()
