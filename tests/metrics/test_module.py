"""The `evaluate` module works with the functions of the evaluate library, and its folder works without this package."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import evaluate
import numpy as np
import pytest
from without_package import BLOCK

from hf_ruleextrap import formal, get_language, score
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.languages import built_in_languages
from hf_ruleextrap.metrics import RULE_EXTRAPOLATION, build
from hf_ruleextrap.metrics.build import build_metric, flat_source

PROMPTS, COMPLETIONS, FINISHED = ["baa", "ba", "ab", "bb"], ["b", "a", "", "aa"], [True, True, True, False]


@pytest.fixture
def metric() -> evaluate.Metric:
    return evaluate.load(RULE_EXTRAPOLATION, "anbn", keep_in_memory=True)


def test_the_metric_gives_the_result_of_score(metric: evaluate.Metric) -> None:
    expected = score("anbn", PROMPTS, COMPLETIONS, FINISHED).to_dict()
    assert metric.compute(predictions=COMPLETIONS, references=PROMPTS, finished=FINISHED) == expected


def test_rows_can_be_added_one_by_one_and_in_batches(metric: evaluate.Metric) -> None:
    metric.add_batch(predictions=COMPLETIONS[:2], references=PROMPTS[:2])
    metric.add(prediction=COMPLETIONS[2], reference=PROMPTS[2])
    metric.add_batch(predictions=COMPLETIONS[3:], references=PROMPTS[3:])
    assert metric.compute() == score("anbn", PROMPTS, COMPLETIONS).to_dict()
    # The metric can be used again.
    assert metric.compute(predictions=["b"], references=["baa"])["n"] == 1


def test_add_and_add_batch_accept_the_arguments_of_compute(metric: evaluate.Metric) -> None:
    expected = score("anbn", PROMPTS, COMPLETIONS, FINISHED).to_dict()
    metric.add_batch(predictions=COMPLETIONS[:2], references=PROMPTS[:2], finished=FINISHED[:2])
    for prompt, completion, flag in zip(PROMPTS[2:], COMPLETIONS[2:], FINISHED[2:], strict=True):
        metric.add(prediction=completion, reference=prompt, finished=flag)
    assert metric.compute() == expected
    metric.add_batch(predictions=COMPLETIONS[:3], references=PROMPTS[:3])
    assert metric.compute(predictions=COMPLETIONS[3:], references=PROMPTS[3:], finished=["False"]) == expected


def test_any_text_can_be_added(metric: evaluate.Metric) -> None:
    strange = ["\ud800", "b\0", "</s>", "b"]
    metric.add_batch(predictions=strange[:1], references=["baa"])
    for text in strange[1:]:
        metric.add(prediction=text, reference="baa")
    assert metric.compute() == score("anbn", ["baa"] * 4, strange).to_dict()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prediction": None, "reference": "baa"}, "prediction 0 is NoneType, not a string"),
        ({"prediction": "b", "reference": 3}, "reference 0 is int, not a string"),
        ({"prediction": "b", "reference": "baa", "finished": "no"}, "finished, row 0, is 'no'"),
    ],
)
def test_an_invalid_row_is_refused_in_one_line(metric: evaluate.Metric, row: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        metric.add(**row)
    assert "\n" not in str(caught.value)


def test_the_metric_accepts_several_completions_of_a_prompt(metric: evaluate.Metric) -> None:
    completions = ["b", "", "a", "b"]
    result = metric.compute(predictions=completions, references=["baa", "baa", "ba", "ba"], samples=2)
    assert result == score("anbn", ["baa", "ba"], completions, samples=2).to_dict()
    with pytest.raises(ValueError, match="repeat each prompt"):
        metric.compute(predictions=completions, references=["baa", "ba", "baa", "ba"], samples=2)


def test_the_metric_combines_with_other_metrics() -> None:
    both = evaluate.combine(
        {name: evaluate.load(RULE_EXTRAPOLATION, name, keep_in_memory=True) for name in ("anbn", "ban")},
        force_prefix=True,
    )
    result = both.compute(predictions=["b"], references=["baa"])
    assert result["anbn_headline"] == score("anbn", ["baa"], ["b"]).to_dict()["headline"]
    assert result["ban_grammatical"] == score("ban", ["baa"], ["b"]).to_dict()["grammatical"]


@pytest.mark.parametrize(
    ("name", "message"),
    [("annbn", "did you mean 'anbn'"), (None, "known: a5, .*, anbn, anbnan, anbncn, .*, tomita7, z5")],
)
def test_an_unknown_language_is_refused_with_the_list(name: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate.load(RULE_EXTRAPOLATION, name)


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([], [], "nothing to score: give at least one"),
        (["a"], [], "1 predictions and 0 references"),
        (["a", None], ["a", "b"], "prediction 1 is NoneType, not a string"),
        (["a"], [3], "reference 0 is int, not a string"),
        (["a"], ["axb"], "row 0: 'x' is not a symbol"),
    ],
)
def test_invalid_arguments_of_compute_are_refused_in_one_line(
    metric: evaluate.Metric, predictions: list[object], references: list[object], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        metric.compute(predictions=predictions, references=references)
    assert "\n" not in str(caught.value)
    # The rows of the mistake are not kept.
    assert metric.compute(predictions=["b"], references=["baa"])["n"] == 1


def test_computing_without_rows_is_an_error(metric: evaluate.Metric) -> None:
    with pytest.raises(ValueError, match="nothing to score"):
        metric.compute()


def test_any_text_is_counted(metric: evaluate.Metric) -> None:
    strange = ["b" * 20_000, "\ud800", "b\u0301", "b\0", "</s>", "b\n"]
    result = metric.compute(predictions=strange, references=["baa"] * len(strange))
    assert result == score("anbn", ["baa"] * len(strange), strange).to_dict()
    assert result["unparsable"]["hits"] == len(strange) - 1


WORKER = """
import sys
import evaluate

rank = int(sys.argv[1])
metric = evaluate.load(sys.argv[2], "anbn", process_id=rank, num_process=2, experiment_id="two", cache_dir=sys.argv[3])
metric.add_batch(predictions=[["b", "a"], ["", "aa"]][rank], references=[["baa", "ba"], ["ab", "bb"]][rank])
result = metric.compute()
assert (result is None) == (rank == 1)
print(result and (result["n"], result["headline"]["hits"], result["rules"]["as_equal_bs"]["word"]["all"]["hits"]))
"""


def test_two_processes_give_one_result(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WORKER]
    processes = [
        subprocess.Popen([*command, str(rank), RULE_EXTRAPOLATION, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=120)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    report = score("anbn", PROMPTS, COMPLETIONS)
    kept_r1 = report.rules["as_equal_bs"].word.all.hits
    assert outputs == [str((4, report.headline.hits, kept_r1)), "None"]


# The folder of the metric.


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
    assert {path.name for path in again} == {"app.py", "golden.json", "rule_extrapolation.py", "rules.py"}


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


LOAD_AND_COMPUTE = """
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
        [sys.executable, "-I", "-c", BLOCK + LOAD_AND_COMPUTE, str(folder)],
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
