"""A stranger's checkpoint: values in its config, its recipe and its chat template cost little and run no code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from security.strangers import Stranger

from hf_ruleextrap import load_model
from hf_ruleextrap.cli import main
from hf_ruleextrap.errors import RuleExtrapError

EVALUATE = ["evaluate", "--model", "runs/theirs", "--language", "anbn", "--prompt-length=4", "--max-new-symbols=4"]


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
def test_a_config_that_asks_for_too_much_is_one_line(
    values: dict[str, Any], stranger: Stranger, capsys: pytest.CaptureFixture[str]
) -> None:
    change(stranger.run / "config.json", **values)
    assert main(EVALUATE) == 2
    errors = capsys.readouterr().err
    assert "Traceback" not in errors
    (line,) = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert "runs/theirs" in line


def test_the_code_of_a_kernel_on_the_hub_is_not_asked_for(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr("transformers.modeling_utils.PreTrainedModel.from_pretrained", asked.append)
    change(stranger.run / "config.json", attn_implementation="kernels-community/flash-attn")
    with pytest.raises(RuleExtrapError, match="may run code from the Hub: remove the key, or write one of eager, sdpa"):
        load_model("runs/theirs")
    assert not asked


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("language", "key"),
    [("anbn", "max_length"), ("bban", "train_size"), ("bban", "max_length"), ("bban", "held_out_size")],
)
def test_a_recipe_of_endless_work_costs_nothing(
    language: str, key: str, stranger: Stranger, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger.change(**{"language": language, key: 10**12})
    command = [language if word == "anbn" else word for word in EVALUATE]
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
def test_a_chat_template_that_raises_or_loops_is_one_line(
    name: str,
    text_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("hf_ruleextrap.completers.tokens._MOST_SECONDS", 0.5)
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
    # A folder of notes that is a link shows nothing, either.
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
