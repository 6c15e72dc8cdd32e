"""The public names of ``hf_ruleextrap``, each with a docstring and an example that runs."""

from __future__ import annotations

import doctest
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import hf_ruleextrap

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
