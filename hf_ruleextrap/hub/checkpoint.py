"""A finished run as a model repository: weights, config, tokenizer, code where it is ours, results, and a card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import yaml

from hf_ruleextrap.evaluation import table
from hf_ruleextrap.languages import get_language
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.results import Results

from .cards import ORGANIZATION, render
from .citation import CITATION
from .releases import read_run, repository_name

# What a repository holds of a run folder; never optimizer state, pickles, or other checkpoints.
_TAKEN = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")

# Keys of a recipe that say nothing of the model.
_OWN = ("output_dir", "push_to_hub", "hub_organization", "report_to")


def write_checkpoint(run: str | Path, folder: str | Path, *, organization: str = ORGANIZATION) -> list[Path]:
    """Write a model repository from a run folder; `from_pretrained` opens it as it stands.

    Args:
        run: the folder of a finished run; its checkpoint with the lowest validation loss is taken.
        folder: where it goes; files of the same name are replaced.
        organization: whose repository the card names.

    Returns:
        The files, sorted.

    Raises:
        RuleExtrapError: the folder holds no finished run.
    """
    run, folder = Path(run), Path(folder)
    results = read_run(run)
    folder.mkdir(parents=True, exist_ok=True)
    for path in [run / name for name in _TAKEN] + sorted(run.glob("*.py")):
        if path.exists():
            shutil.copyfile(path, folder / path.name)
    # Where it lay is nobody's matter, and who trains it again publishes and tracks as they like.
    own = {name: Recipe.model_fields[name].default for name in _OWN}
    results = results.model_copy(update={"recipe": results.recipe.model_copy(update=own)})
    results.write(folder)
    (folder / "recipe.yaml").write_text(results.recipe.to_yaml(), encoding="utf-8")
    (folder / "README.md").write_text(_card(results, folder, organization), encoding="utf-8")
    _write_eval_results(results, folder, organization)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _card(results: Results, folder: Path, organization: str) -> str:
    recipe, language = results.recipe, get_language(results.recipe.language)
    headings, rows = table.rows(results.best)
    return render(
        "model.md",
        card_data=_metadata(results, organization),
        repository=f"{organization}/{repository_name(recipe)}",
        language=language,
        recipe=recipe,
        training=results.training,
        test=results.test,
        evaluation=results.best,
        headings=headings,
        rows=rows,
        ours="auto_map" in json.loads((folder / "config.json").read_text(encoding="utf-8")),
        example=language.prompts("ood")[0].text,
        citation=CITATION,
    )


def _metadata(results: Results, organization: str) -> str:
    """The card's YAML, with the rates as a ``model-index``."""
    from huggingface_hub import EvalResult, ModelCardData

    recipe = results.recipe
    found = [
        EvalResult(
            task_type="text-generation",
            dataset_type=f"{organization}/{results.best.language}",
            dataset_name=f"{results.best.language} prompts",
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
        datasets=[f"{organization}/{results.best.language}"],
        metrics=[f"{organization}/rule_extrapolation"],
        eval_results=found,
    ).to_yaml()


def _write_eval_results(results: Results, folder: Path, organization: str) -> None:
    """The same rates as ``.eval_results/LANGUAGE.yaml``, which the Hub reads, too."""
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    language = results.best.language
    entries = [
        EvalResultEntry(
            dataset_id=f"{organization}/{language}",
            task_id=f"{kind}_{name}".replace(" ", "_"),
            value=rate,
            notes=f"greedy completions of at most {results.best.max_new_symbols} symbols; seed {results.recipe.seed}",
        )
        for kind, name, rate in _rates(results)
    ]
    path = folder / ".eval_results" / f"{language}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False), encoding="utf-8")


def _rates(results: Results) -> list[tuple[str, str, float]]:
    """Kind, name and rate of what the metadata hold; what was never asked is left out."""
    found: list[tuple[str, str, float]] = []
    for kind, of_kind in results.best.kinds.items():
        report = of_kind.report
        rates = {"every open rule holds": report.headline} if kind == "ood" else {}
        rates |= {name: rule.word.all for name, rule in report.rules.items()}
        rates["finished"] = report.finished
        found += [(kind, name, rate.rate) for name, rate in rates.items() if rate.rate is not None]
    return found
