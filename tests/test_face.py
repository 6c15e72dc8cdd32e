"""What a user sees after ``import hf_ruleextrap``: the nouns, each with a docstring and an example that runs."""

from __future__ import annotations

import doctest
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import hf_ruleextrap

NOUNS = {
    *("Language", "Rule", "Recipe", "run_recipe", "Results", "Evaluator", "Evaluation", "LocalModel", "build_model"),
    *("build_tokenizer", "build_splits", "score", "chance", "exact_mass", "get_language", "list_languages"),
    *("random_conjunction", "load_model", "list_architectures", "RuleExtrapError"),
}
ROOT_MODULES = {path.stem for path in Path(hf_ruleextrap.__file__).parent.iterdir() if path.name != "__pycache__"}


def test_dir_lists_the_nouns_before_any_of_them_is_loaded() -> None:
    code = "import hf_ruleextrap as h; print(*(name for name in dir(h) if not name.startswith('_')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert set(done.stdout.split()) == NOUNS == set(hf_ruleextrap.__all__)
    assert "__version__" in dir(hf_ruleextrap)


def test_score_needs_none_of_the_large_libraries() -> None:
    """`evaluate` in particular, whose makers are leaving it."""
    code = (
        "import sys; sys.modules |= dict.fromkeys(('evaluate', 'datasets', 'torch', 'transformers')); "
        "from hf_ruleextrap import score; print(score('anbn', ['baa'], ['b'], [True]).headline.rate)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "1.0", done.stderr


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'hf_ruleextrap' has no attribute 'scores'"):
        hf_ruleextrap.scores  # noqa: B018  # the look-up is the test


@pytest.mark.parametrize("name", sorted(NOUNS))
def test_each_noun_has_a_docstring_whose_example_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noun = getattr(hf_ruleextrap, name)
    assert noun.__name__ == name
    assert name not in ROOT_MODULES
    assert inspect.isclass(noun) or inspect.isfunction(noun)
    documentation = inspect.cleandoc(noun.__doc__)
    summary = documentation.splitlines()[0]
    assert summary[0].isupper()
    assert documentation.split("\n\n")[0].endswith((".", "…"))
    monkeypatch.chdir(tmp_path)
    module = vars(inspect.getmodule(noun))
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    example = doctest.DocTestParser().get_doctest(noun.__doc__, dict(module), name, None, None)
    assert example.examples, f"{name} has no example"
    output: list[str] = []
    result = doctest.DocTestRunner(optionflags=options).run(example, out=output.append)
    assert result.failed == 0, "".join(output)
