"""Write a finished run as a model repository: weights, config, tokenizer, modeling code if needed, results, a card.

A run folder may come from an unknown source. Therefore no file of the folder is copied. The model is loaded with the
classes of transformers and of this package, never with code in the folder, and is saved again for publishing.
"""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import yaml

from hf_ruleextrap.architectures import list_architectures, model_type_of
from hf_ruleextrap.errors import RuleExtrapError, one_line
from hf_ruleextrap.evaluation import table
from hf_ruleextrap.files import safe_name
from hf_ruleextrap.languages import recorded_language
from hf_ruleextrap.tokenization import alphabet_of, tokenizer_of
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.results import Results
from hf_ruleextrap.train.run import save

from .cards import CITATION, FINISHED, HEADLINE, INSTALL, ORGANIZATION, metric_names, render, task_id
from .push import read_run, repository_name

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_CONFIG, _WEIGHTS, _TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
# The keys of a recipe that do not describe the model.
_PRIVATE_KEYS = ("output_dir", "push_to_hub", "hub_organization", "report_to")


def write_checkpoint(run: str | Path, folder: str | Path, *, organization: str = ORGANIZATION) -> list[Path]:
    """Write a model repository from a run folder; `from_pretrained` opens it.

    The run folder may come from an unknown source. Therefore no file of the folder is copied, no code in it runs, and
    no name in it leads out of the repository.

    Args:
        run: The folder of a finished run, whose described checkpoint is published (see `Training.checkpoint`).
        folder: The folder for the repository; files of the same name are replaced.
        organization: The owner of the repository in the card.

    Returns:
        The files, sorted.

    Raises:
        RuleExtrapError: If the folder holds no finished run, or no weights that can be read.
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
    headings, rows = table.rates_table(results.chosen)
    outside = results.chosen.main
    example = outside.samples[0].prompt if language is None else language.prompts("ood")[0].text
    return render(
        "model.md",
        card_data=_metadata(results, organization, example),
        name=repository_name(recipe),
        repository=f"{organization}/{repository_name(recipe)}",
        language=results.chosen.language,
        summary="" if language is None else language.summary,
        rules=list(outside.greedy.report.rules.values()),
        recipe=recipe,
        training=results.training,
        test=results.test,
        settings=outside.settings,
        headings=headings,
        rows=rows,
        ours=brings_code(recipe.architecture),
        example=example,
        install=INSTALL,
        citation=CITATION,
    )


def _metadata(results: Results, organization: str, example: str) -> str:
    """Return the card's YAML, with the rates as a ``model-index`` and a prompt for the Hub's widget."""
    from huggingface_hub import EvalResult, ModelCardData

    recipe, language = results.recipe, safe_name(results.chosen.language)
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
        widget=[{"text": one_line(example), "example_title": "A prompt that breaks a rule"}],
    ).to_yaml()


def _write_eval_results(results: Results, folder: Path, organization: str) -> None:
    """Write the same rates to ``.eval_results/LANGUAGE.yaml``, which the Hub reads, too."""
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    language, settings = safe_name(results.chosen.language), results.chosen.main.settings
    entries = [
        EvalResultEntry(
            dataset_id=f"{organization}/{language}",
            task_id=task_id(kind, name),
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
    for kind, condition in results.chosen.kinds.items():
        report = condition.greedy.report
        rates = {name: rule.word.all for name, rule in report.rules.items()}
        rates |= {HEADLINE: report.headline, FINISHED: report.finished}
        values = {name: rates[name].rate for name in metric_names(kind, report.rules)}
        defined_rates += [(kind, one_line(name), value) for name, value in values.items() if value is not None]
    return defined_rates


def read_model(run: Path, architecture: str) -> PreTrainedModel:
    """Load the checkpoint in a run folder.

    Args:
        run: The run folder.
        architecture: The name of the architecture in the run's recipe.

    Raises:
        RuleExtrapError: If the weights are missing or unreadable, do not fit the configuration, or are not of the
            architecture; or a file is a symbolic link.
    """
    from safetensors import safe_open
    from transformers import AutoModelForCausalLM

    config = _read_config(run, architecture)
    path = _regular(run / _WEIGHTS)
    try:
        with safe_open(path, framework="pt") as weights:
            names = list(weights.keys())
        load: Any = AutoModelForCausalLM.from_pretrained
        model, loading = load(
            run, config=config, trust_remote_code=False, use_safetensors=True, output_loading_info=True
        )
    # The exception for an incomplete file or for wrong shapes depends on the library.
    except Exception as error:
        raise RuleExtrapError(
            f"{path} cannot be read as the weights of this run ({one_line(str(error))[:200]}): train it again"
        ) from None
    wrong = sorted({*loading["missing_keys"], *loading["unexpected_keys"], *map(str, loading["mismatched_keys"])})
    if wrong or not names:
        shown = one_line(", ".join(wrong[:3]))[:200] or "it is empty"
        raise RuleExtrapError(f"{path} does not fit {run / _CONFIG} ({shown}): train it again")
    loaded: PreTrainedModel = model
    return loaded


def read_alphabet(run: Path) -> tuple[str, ...]:
    """Return the alphabet of a run's tokenizer.

    Raises:
        RuleExtrapError: If the tokenizer is missing or unreadable, or this package did not write it.
    """
    path = _regular(run / _TOKENIZER)
    try:
        return alphabet_of(_read_json(path)["model"]["vocab"])
    except (KeyError, TypeError, ValueError):
        raise RuleExtrapError(f"{path} is not a tokenizer of one token a symbol: train the run again") from None


def _read_config(run: Path, architecture: str) -> PreTrainedConfig:
    """Return the configuration of a run with only the fields that its class knows."""
    from transformers import CONFIG_MAPPING, PreTrainedConfig

    path = _regular(run / _CONFIG)
    values = _read_json(path)
    model_type = model_type_of(architecture)
    if not isinstance(values, dict) or values.get("model_type") != model_type:
        raise RuleExtrapError(f"{path} is not the configuration of {architecture!r}, which the run's recipe names")
    config_class: type[PreTrainedConfig] = CONFIG_MAPPING[model_type]
    known = {*inspect.signature(config_class.__init__).parameters, *inspect.signature(PreTrainedConfig).parameters}
    fields = {key: value for key, value in values.items() if key in known - {"self", "kwargs"}}
    try:
        return config_class(**fields)
    except Exception as error:
        raise RuleExtrapError(f"{path} makes no {architecture}: {one_line(str(error))[:200]}") from None


def brings_code(architecture: str) -> bool:
    """Return whether checkpoints of an architecture contain code, because transformers lacks the architecture."""
    return architecture in list_architectures() and model_type_of(architecture).startswith("ruleextrap_")


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise RuleExtrapError(f"{path} is torn, or not JSON: train the run again") from None


def _regular(path: Path) -> Path:
    """Return a path that is a regular file; a symbolic link could point to any file of this machine."""
    if path.is_symlink():
        raise RuleExtrapError(f"{path} is a symbolic link, and publishing follows none: put the file itself there")
    if not path.is_file():
        raise RuleExtrapError(f"{path} is missing, so there is nothing to publish: train the run again")
    return path
