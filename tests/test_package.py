"""The statements of pyproject.toml and of the scripts beside the package about an installation."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from hf_ruleextrap.cli import main

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_lowest_python_is_the_first_of_the_classifiers() -> None:
    versions = re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["classifiers"]))
    assert PROJECT["requires-python"] == f">={versions[0]}"
    assert versions == [f"3.{minor}" for minor in range(11, 15)]


def test_each_dependency_is_pinned_without_a_condition() -> None:
    """A pin with a condition would leave a version of Python untested."""
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    names = {re.split("[>=]", pin)[0].lower() for pin in pins}
    assert {re.split("[>=]", dependency)[0].lower() for dependency in PROJECT["dependencies"]} <= names


def test_the_job_script_states_its_dependencies_for_uv() -> None:
    """The test reads the comment by the definition of PEP 723."""
    text = (ROOT / "training/train_job.py").read_text(encoding="utf-8")
    block = re.search(r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$", text)
    assert block is not None
    assert block["type"] == "script"
    metadata = tomllib.loads("".join(line[2:] for line in block["content"].splitlines(keepends=True)))
    assert metadata["requires-python"] == PROJECT["requires-python"]
    assert metadata["dependencies"] == [f"{PROJECT['name']} @ git+{PROJECT['urls']['Homepage']}"]


def test_the_job_script_publishes_and_reports_a_missing_login_before_the_training(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "training/train_job.py", "quickstart", "--output_dir", str(tmp_path / "run")]
    job = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert job.returncode == 2
    assert job.stderr.startswith(("error: nobody is logged in", "error: HF_HUB_OFFLINE is set"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_every_command_and_the_flags_of_train(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(word in script for word in ("publish", "discriminate", "max_steps", "push-to-hub"))


@pytest.mark.parametrize(
    ("words", "completed"),
    [("hf-ruleextrap discr", "discriminate"), ("hf-ruleextrap train --warmup", "--warmup_steps")],
)
def test_bash_completes_commands_and_flags(words: str, completed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    line = f"COMP_WORDS=({words}); COMP_CWORD={words.count(' ')}; _shtab_hf_ruleextrap; echo ${{COMPREPLY[@]}}"
    script = f"{capsys.readouterr().out}\n{line}\n"
    bash = subprocess.run(["bash"], input=script, capture_output=True, text=True, timeout=30, check=True)
    assert completed in bash.stdout.split()
