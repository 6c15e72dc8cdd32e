"""The typed schema of ``results.json``, which every run writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    model_serializer,
    model_validator,
)
from pydantic_core.core_schema import SerializerFunctionWrapHandler

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation import Evaluation
from hf_ruleextrap.evaluation.likelihood import Likelihood
from hf_ruleextrap.evaluation.prequential import CodeLength
from hf_ruleextrap.evaluation.results import SCHEMA_VERSION, SymbolSettings, read_document
from hf_ruleextrap.files import write_text
from hf_ruleextrap.formal import Kind, Rate, Report
from hf_ruleextrap.inputs import parse_json_lines, read_text

from .recipe import Recipe

FILE = "results.json"
_PAPER = "eval_paper/"
_EVALUATIONS = ("best", "last")


class Training(BaseModel):
    """The course of the training.

    Attributes:
        fitted: The fields of the model that a budget of parameters decided.
        best_step: The step of the checkpoint with the lowest validation loss; 0 if the run diverged before its first
            checkpoint, and its rates are those of the untrained model.
        diverged_at: The step of the first evaluation whose loss was not finite, which ended the run; otherwise None.
        learned_at: The step of the first of two consecutive evaluations that met the criterion of
            `hf_ruleextrap.train.callbacks`; None if the model never learned the language.
        last_step: The step of the last checkpoint; None in results of an earlier version.
        checkpoint: The checkpoint that the run folder and the results describe: ``best`` or ``last``.
        learned: Whether the model has learned the language, and the described checkpoint itself meets the criterion.
    """

    model_config = ConfigDict(extra="forbid")

    parameters: int
    fitted: dict[str, Any]
    steps: int
    best_step: int
    stopped_early: bool
    train_words: int
    validation_words: int
    test_words: int
    diverged_at: int | None = None
    learned_at: int | None = None
    last_step: int | None = None
    checkpoint: Literal["best", "last"] = "best"
    learned: bool = False

    @property
    def chosen_step(self) -> int:
        """The step of the described checkpoint; 0 for the untrained model."""
        return (self.last_step or 0) if self.checkpoint == "last" else self.best_step

    @property
    def chosen_name(self) -> str:
        """The described checkpoint in words."""
        kind = {"best": "checkpoint with the lowest validation loss", "last": "last checkpoint"}[self.checkpoint]
        return f"{kind} (step {self.chosen_step} of {self.steps})"


class PaperColumns(BaseModel):
    """The authors' columns (`Report.paper_columns`) by kind and name, such as ``ood_rule_1_accuracy``.

    Attributes:
        best_check: The largest value of each column over all evaluations of the run, as in the paper's main tables.
            The value is biased upwards, because each column has its own best evaluation.
        minimum_loss: All columns at the evaluation with the lowest validation loss.
    """

    model_config = ConfigDict(extra="forbid")

    best_check: dict[str, float]
    minimum_loss: dict[str, float]

    @classmethod
    def from_log(cls, log: Path, best_step: int) -> PaperColumns:
        """Read the columns from ``log.jsonl``."""
        lines = read_log(log)
        best: dict[str, float] = {}
        at_minimum: dict[str, float] = {}
        for line in lines:
            columns = {key.removeprefix(_PAPER): rate for key, rate in line.items() if key.startswith(_PAPER)}
            best = {key: max(rate, best.get(key, rate)) for key, rate in {**best, **columns}.items()}
            if line["step"] == best_step and columns:
                at_minimum = columns
        return cls(best_check=best, minimum_loss=at_minimum)


class LengthRates(BaseModel):
    """The described checkpoint on prompts of one length and kind.

    Attributes:
        length: The number of symbols in a prompt.
        kind: The kind of the prompts.
        headline: For OOD prompts, the rate at which every open rule holds; for ID prompts, the rate at which prompt and
            completion are a word of the language.
        finished: The rate of finished completions.
        chance: The headline of uniformly random symbols, of which one is the end.
    """

    model_config = ConfigDict(extra="forbid")

    length: int
    kind: Kind
    headline: Rate
    finished: Rate
    chance: Rate

    @classmethod
    def of(cls, evaluation: Evaluation) -> list[LengthRates]:
        """Return the rates of an evaluation, for each kind of prompts."""
        return [
            cls(
                length=condition.settings.prompt_length,
                kind=kind,
                headline=_headline(condition.greedy.report, kind),
                finished=condition.greedy.report.finished,
                chance=_headline(condition.chance, kind),
            )
            for kind, condition in evaluation.kinds.items()
            if isinstance(condition.settings, SymbolSettings)
        ]


def _headline(report: Report, kind: Kind) -> Rate:
    return report.headline if kind == "ood" else report.grammatical


class Timing(BaseModel):
    """The part of the results that differs between two runs of the same recipe and seed.

    Attributes:
        train_seconds, evaluate_seconds: Seconds by the clock since the run started or resumed.
        cpu_seconds: Processor seconds of the main process on all cores, which a busy machine affects less.
    """

    model_config = ConfigDict(extra="forbid")

    train_seconds: float
    evaluate_seconds: float
    cpu_seconds: float | None = None
    processes: int
    device: str
    threads: int


class Results(BaseModel):
    """The results of a run, which the run folder holds as ``results.json``.

    The version of the schema changes when a field changes its meaning. In JSON, the parts that ``best`` and ``last``
    have in common are stored once, beside them: the references, which depend on the prompts and not on the checkpoint,
    the versions and the commit.

    Attributes:
        schema_version: The version of this schema.
        recipe: The whole recipe.
        training: The course of the training. Its ``checkpoint`` is the described checkpoint.
        validation, test: The likelihood of held-out words under the described checkpoint.
        test_without_padding, test_with_padding: The test loss without and with PAD, which do not depend on the recipe.
        divergence: The Kullback-Leibler divergence of the described checkpoint from the data, in nats per word; None
            if it cannot be computed.
        code_length: The prequential code length of a stream; None for a run on a fixed set of words.
        best, last: Rule extrapolation of the checkpoint with the lowest validation loss, and of the last checkpoint (of
            a run that diverged, the last checkpoint whose loss was finite). See `chosen`.
        by_length: The described checkpoint at the other prompt lengths that the recipe lists.
        paper: The authors' columns.
        versions: The versions of Python and the packages.
        git_commit: The commit of the working directory's repository, or None.
        timing: The times and the machine. All other fields are equal for two runs with the same recipe and seed.

    >>> from hf_ruleextrap import Recipe, Results, run_recipe
    >>> recipe = Recipe(train_size=8, held_out_size=8, max_length=16, max_steps=2, eval_steps=2, output_dir="my-run")
    >>> results = run_recipe(recipe)
    >>> Results.read(recipe.run_dir).best.main.greedy.report.n
    251
    """

    # JSON has no NaN, which is the loss of a run that diverged.
    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="constants")

    schema_version: Literal[2] = SCHEMA_VERSION
    recipe: Recipe
    training: Training
    validation: Likelihood
    test: Likelihood
    test_without_padding: Likelihood
    test_with_padding: Likelihood
    divergence: float | None
    code_length: CodeLength | None = None
    best: Evaluation
    last: Evaluation
    by_length: list[LengthRates] = []
    paper: PaperColumns
    versions: dict[str, str | None]
    git_commit: str | None
    timing: Timing

    @property
    def chosen(self) -> Evaluation:
        """Rule extrapolation of the described checkpoint, which is the one in the run folder."""
        return self.last if self.training.checkpoint == "last" else self.best

    @model_serializer(mode="wrap")
    def _share(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document = serialize(self)
        document["references"] = document["best"]["references"]
        for name in _EVALUATIONS:
            evaluation = document[name]
            document[name] = {
                key: value for key, value in evaluation.items() if key not in document or value != document[key]
            }
        return dict(document)

    @model_validator(mode="wrap")
    @classmethod
    def _unshare(cls, document: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        if isinstance(document, dict) and "references" in document:
            document = dict(document)
            shared = {"references": document.pop("references")}
            shared |= {key: document[key] for key in ("versions", "git_commit") if key in document}
            document |= {
                name: {**shared, **document[name]} for name in _EVALUATIONS if isinstance(document.get(name), dict)
            }
        return validate(document)

    def write(self, folder: Path) -> None:
        """Write ``results.json``; the file appears whole or not at all."""
        write_text(folder / FILE, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Results:
        """Read the results of a run folder.

        Raises:
            RuleExtrapError: If the file cannot be read, has another schema version, or does not hold results.
        """
        advice = "train again; `hf-ruleextrap report` reads a store of version 1 as it is"
        return read_document(cls, folder / FILE, "results", advice)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's ``log.jsonl``, each with its step.

    Raises:
        RuleExtrapError: If the file cannot be read, or if a line is not a line of a log.
    """
    rows = parse_json_lines(read_text(path, "log"), str(path))
    for number, row in rows:
        numbers = all(isinstance(value, (int, float)) or value is None for value in row.values())
        if not isinstance(row.get("step"), int) or not numbers:
            raise RuleExtrapError(f"{path}, line {number}, is not a line of a log: remove the line, or train again")
    return [row for _, row in rows]
