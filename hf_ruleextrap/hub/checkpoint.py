"""Write a finished run as a model repository: weights, config, tokenizer, modeling code if needed, results, a card."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from hf_ruleextrap.errors import one_line
from hf_ruleextrap.evaluation import table
from hf_ruleextrap.files import safe_name
from hf_ruleextrap.languages import recorded_language
from hf_ruleextrap.tokenization import tokenizer_of
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.results import Results
from hf_ruleextrap.train.run import save

from ._citation import CITATION
from .cards import ORGANIZATION, render
from .releases import read_run, repository_name
from .run_files import brings_code, read_alphabet, read_model

# The keys of a recipe that do not describe the model.
_PRIVATE_KEYS = ("output_dir", "push_to_hub", "hub_organization", "report_to")


def write_checkpoint(run: str | Path, folder: str | Path, *, organization: str = ORGANIZATION) -> list[Path]:
    """Write a model repository from a run folder; `from_pretrained` opens it.

    The run folder may come from a stranger. Therefore no file is copied from it, no code in it runs, and no name in it
    leads out of the repository (see `hf_ruleextrap.hub.run_files`).

    Args:
        run: the folder of a finished run, whose checkpoint with the lowest validation loss is published.
        folder: the folder for the repository; files of the same name are replaced.
        organization: the owner of the repository in the card.

    Returns:
        The files, sorted.

    Raises:
        RuleExtrapError: the folder holds no finished run, or no weights that can be read.
    """
    run, folder = Path(run), Path(folder)
    results = _publishable(read_run(run))
    model = read_model(run, results.recipe.architecture)
    tokenizer = tokenizer_of(read_alphabet(run))
    folder.mkdir(parents=True, exist_ok=True)
    # The draft is on the same disk, so that each complete file is moved to its place at once.
    with TemporaryDirectory(dir=folder, prefix=".part-") as place:
        draft = Path(place)
        save(model, tokenizer, results.recipe, draft)
        results.write(draft)
        (draft / "recipe.yaml").write_text(results.recipe.to_yaml(), encoding="utf-8")
        (draft / "README.md").write_text(_card(results, organization), encoding="utf-8")
        _write_eval_results(results, draft, organization)
        for path in sorted(path for path in draft.rglob("*") if path.is_file()):
            target = folder / path.relative_to(draft)
            target.parent.mkdir(exist_ok=True)
            path.replace(target)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _publishable(results: Results) -> Results:
    """Return the results without private keys: paths, and where the run was published and tracked."""
    defaults: dict[str, object] = {name: Recipe.model_fields[name].default for name in _PRIVATE_KEYS}
    language = re.split(r"[/\\]", results.recipe.language)[-1]
    return results.model_copy(update={"recipe": results.recipe.model_copy(update={**defaults, "language": language})})


def _card(results: Results, organization: str) -> str:
    recipe = results.recipe
    language = recorded_language(recipe.language)
    headings, rows = table.rates_table(results.best)
    outside = results.best.main
    return render(
        "model.md",
        card_data=_metadata(results, organization),
        name=repository_name(recipe),
        repository=f"{organization}/{repository_name(recipe)}",
        language=results.best.language,
        summary="" if language is None else language.summary,
        rules=list(outside.greedy.report.rules.values()),
        recipe=recipe,
        training=results.training,
        test=results.test,
        settings=outside.settings,
        headings=headings,
        rows=rows,
        ours=brings_code(recipe.architecture),
        example=outside.samples[0].prompt if language is None else language.prompts("ood")[0].text,
        citation=CITATION,
    )


def _metadata(results: Results, organization: str) -> str:
    """Return the card's YAML, with the rates as a ``model-index``."""
    from huggingface_hub import EvalResult, ModelCardData

    recipe, language = results.recipe, safe_name(results.best.language)
    eval_results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=f"{organization}/{language}",
            dataset_name=f"{language} prompts",
            dataset_config="prompts",
            dataset_split=kind,
            metric_type=f"{organization}/rule_extrapolation",
            metric_name=name,
            metric_value=rate,
        )
        for kind, name, rate in _rates(results)
    ]
    return ModelCardData(
        model_name=repository_name(recipe),
        license="apache-2.0",
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["formal-languages", "rule-extrapolation"],
        datasets=[f"{organization}/{language}"],
        metrics=[f"{organization}/rule_extrapolation"],
        eval_results=eval_results,
    ).to_yaml()


def _write_eval_results(results: Results, folder: Path, organization: str) -> None:
    """Write the same rates to ``.eval_results/LANGUAGE.yaml``, which the Hub reads, too."""
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    language, settings = safe_name(results.best.language), results.best.main.settings
    entries = [
        EvalResultEntry(
            dataset_id=f"{organization}/{language}",
            task_id=f"{kind}_{name}".replace(" ", "_"),
            value=rate,
            notes=f"greedy completions of at most {settings.max_new_symbols} symbols; seed {results.recipe.seed}",
        )
        for kind, name, rate in _rates(results)
    ]
    path = folder / ".eval_results" / f"{language}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False), encoding="utf-8")


def _rates(results: Results) -> list[tuple[str, str, float]]:
    """Return the kind, name and value of each rate in the metadata; undefined rates are left out."""
    defined_rates: list[tuple[str, str, float]] = []
    for kind, condition in results.best.kinds.items():
        report = condition.greedy.report
        rates = {"every open rule holds": report.headline} if kind == "ood" else {}
        rates |= {name: rule.word.all for name, rule in report.rules.items()}
        rates["finished"] = report.finished
        defined_rates += [(kind, one_line(name), rate.rate) for name, rate in rates.items() if rate.rate is not None]
    return defined_rates
