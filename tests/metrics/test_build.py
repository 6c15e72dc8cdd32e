"""The published folder of the metric works without this package."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from hf_ruleextrap import formal, get_language, list_languages
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.languages import built_in_languages
from hf_ruleextrap.metrics import build
from hf_ruleextrap.metrics.build import build_metric, flat_source


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("metric") / "rule_extrapolation"
    build_metric(path)
    return path


@pytest.fixture(scope="module")
def rules(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("built_rules", folder / "rules.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_same_sources_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    again = build_metric(tmp_path / "rule_extrapolation")
    assert {path.name: path.read_bytes() for path in again} == {
        path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"
    }
    assert {f"{name}.json" for name in list_languages(tag="paper")} <= {path.name for path in again}


def test_the_folder_does_not_import_the_package(folder: Path) -> None:
    code = (folder / "rules.py").read_text(encoding="utf-8")
    statements = [line for line in code.splitlines() if line.startswith(("import ", "from "))]
    assert statements
    assert not any("hf_ruleextrap" in line or line.startswith("from .") for line in statements)
    assert str(Path(build.__file__).parents[2]) not in code


@pytest.mark.parametrize("name", built_in_languages())
def test_the_folder_agrees_with_the_package_on_random_words(name: str, rules: ModuleType) -> None:
    language, theirs = get_language(name), rules.LANGUAGES[name]
    rng = np.random.default_rng(7)
    half = 50_000 if "paper" in language.tags else 5_000
    # Half of the completions are random and follow a prompt; half are words of the language after the empty prompt.
    symbols = rng.choice([*language.alphabet, "x"], (half, 8), p=_weights(language))
    random = ["".join(row[:n]) for row, n in zip(symbols, rng.integers(0, 9, half), strict=True)]
    inside = list(language.sample(half, max_length=24, rng=rng))
    completions = [*random, *inside]
    texts = language.prompts().texts
    prompts = [texts[i] for i in rng.integers(0, len(texts), len(completions))]
    prompts[half:] = [""] * half
    ours = formal.score(language, prompts, completions)
    built = rules.score(theirs, prompts, completions)
    for field in ("finished", "empty", "parsed", "word", "completion", "grammatical", "open_hold"):
        assert np.array_equal(getattr(ours, field), getattr(built, field)), field
    assert formal.aggregate(ours).to_dict() == rules.aggregate(built).to_dict()
    assert 0 < ours.grammatical.sum() < len(completions)


def _weights(language: formal.Language) -> list[float]:
    n = len(language.alphabet)
    return [0.98 / n] * n + [0.02]


WITHOUT_THE_PACKAGE = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "hf_ruleextrap":
            raise ImportError("not installed here")

sys.meta_path.insert(0, Refuse())
import evaluate

metric = evaluate.load(sys.argv[1], "dyck")
print(metric.compute(predictions=["]"], references=[")["])["headline"]["hits"])
try:
    evaluate.load(sys.argv[1], "dick")
except ValueError as error:
    print(error)
"""


def test_the_metric_loads_and_computes_without_the_package(folder: Path, tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-I", "-c", WITHOUT_THE_PACKAGE, str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    first, second = process.stdout.strip().splitlines()
    assert first == "1"
    assert second.startswith("unknown language 'dick': did you mean 'dyck'")


def test_the_folder_must_have_the_name_of_the_script(tmp_path: Path) -> None:
    with pytest.raises(RuleExtrapError, match="'rule_extrapolation'"):
        build_metric(tmp_path / "rule-extrapolation")


def test_a_name_that_two_modules_define_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "defined_names", lambda _: ["_ROWS"])
    with pytest.raises(RuleExtrapError, match="both define _ROWS"):
        flat_source()


def test_the_single_file_scores_many_completions_without_compiled_loops(
    rules: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "FEWEST_SYMBOLS", 0)
    assert rules.score(rules.LANGUAGES["anbn"], ["baa", "baa"], ["b", "a"]).word.tolist() == [
        [True, False],
        [False, False],
    ]
