"""The data that a report reads from one run, in a run folder or in a Parquet file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from hf_ruleextrap import formal
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation import Evaluation
from hf_ruleextrap.evaluation.prequential import CodeLength
from hf_ruleextrap.evaluation.rational_references import RATIONAL
from hf_ruleextrap.evaluation.references import ALWAYS_STOP, CEILING, NGRAMS, UNIFORM
from hf_ruleextrap.evaluation.resemblance import Divergence
from hf_ruleextrap.evaluation.results import SymbolSettings
from hf_ruleextrap.formal import Kind, Rate, Report
from hf_ruleextrap.languages import recorded_language
from hf_ruleextrap.sweep.grid import key_of
from hf_ruleextrap.train.recipe import Recipe
from hf_ruleextrap.train.results import LengthRates, Results

HEADLINE = "ood_headline"
"""The column of the rate at which every open rule holds on OOD prompts, which the claims are about."""

BASELINES = (UNIFORM, ALWAYS_STOP, *(f"{n}-gram" for n in NGRAMS))
"""The references that keep a rule without having learned it: a model must do better than the best of these."""

REFERENCES = (*BASELINES, *RATIONAL, CEILING)
"""The references that tables show beside the models."""

FORMER_NAMES = {"unigram": "1-gram", "bigram": "2-gram", "trigram": "3-gram"}
"""References that stored results have under another name."""

# The paper's two rules stand first in every language.
_R1, _R2 = 0, 1
_MASS = "eval_mass_"
_AUTHORS_COLUMNS = {
    "id_rule_1_accuracy": "id_r1",
    "id_rule_2_accuracy": "id_r2",
    "id_finished": "id_finished",
    "ood_rule_1_accuracy": "ood_r1",
    "ood_rule_2_completion_accuracy": "ood_r2_completion",
    "ood_finished": "ood_finished",
}

T = TypeVar("T")

Rates = dict[str, Rate]
"""Rates by column."""


class Check(BaseModel):
    """One evaluation during the training, rounded to single precision.

    Attributes:
        step: The optimizer step.
        validation_loss: The validation loss, in nats per token.
        id_r1, id_finished, ood_headline: The rates over all prompts; None where the log lacks them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: int
    validation_loss: float | None = None
    id_r1: float | None = None
    id_finished: float | None = None
    ood_headline: float | None = None

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> Check:
        """Return the evaluation in a line of a log."""
        names = {"validation_loss": "eval_loss"}
        columns = {name: line.get(names.get(name, f"eval_{name}")) for name in cls.model_fields if name != "step"}
        single = {name: None if value is None else float(np.float32(value)) for name, value in columns.items()}
        return cls(step=line["step"], **single)


class Masses(BaseModel):
    """The probability of all short words by the rules they keep, at one step of the training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: int
    both: float
    only_r1: float
    only_r2: float
    neither: float

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> Masses:
        """Return the probabilities in a line of a log."""
        cells = {name: line[f"{_MASS}{name}"] for name in cls.model_fields if name != "step"}
        return cls(step=line["step"], **cells)


class Run(BaseModel):
    """The data that a report reads from one run.

    Attributes:
        recipe: The whole recipe.
        parameters, steps: The number of parameters of the model, and the number of optimizer steps.
        best_step: The step of the checkpoint with the lowest validation loss.
        checkpoint_step: The step of the checkpoint that the numbers describe; None in files of an earlier version,
            which describe the checkpoint with the lowest validation loss.
        diverged_at: The step at which the validation loss was not finite, which ended the run; None for other runs.
        learned: Whether the run has learned its language; None if the run does not record the numbers that decide
            this (`has_learned`).
        learned_at: The step of the first evaluation since which the run counts as learned; None if unknown.
        validation_loss, validation_floor: The loss of the described checkpoint and its floor, as the recipe counts PAD.
        test_loss, test_floor: The test loss of the described checkpoint without PAD, in nats per token, and its floor;
            None if the floor is unknown.
        excess, excess_error: The test loss less the loss of the language's own distribution on the same words, and its
            standard error over words; None if unknown.
        test_loss_with_padding, test_floor_with_padding: The test loss and its floor with PAD.
        rates: The rates of the described checkpoint over all prompts.
        references: The same rates for each computed reference of `REFERENCES`.
        chance_among_finished: The rates of uniformly random symbols among finished completions.
        best_check, minimum_loss: The columns of the authors' tables, each counted as the authors count them.
        by_length: The rates at other prompt lengths.
        masses: The probabilities of short words over the training, if the recipe has ``mass_length``.
        code_length: The code length of a run on a stream; None for other runs.
        resemblance: The divergence of each rational learner from the described checkpoint, the smallest first; empty
            if the divergences were not computed.
        checks: The evaluations during the training.
        train_seconds, evaluate_seconds: The duration of the training and of the final evaluation.
        device, torch, git_commit: The device, the version of torch, and the commit of the code.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: Recipe
    parameters: int
    steps: int
    best_step: int
    checkpoint_step: int | None = None
    diverged_at: int | None = None
    learned: bool | None = None
    learned_at: int | None = None
    validation_loss: float
    validation_floor: float | None
    test_loss: float
    test_floor: float | None
    excess: float | None = None
    excess_error: float | None = None
    test_loss_with_padding: float
    test_floor_with_padding: float | None
    rates: Rates
    references: dict[str, Rates]
    chance_among_finished: Rates
    best_check: dict[str, float]
    minimum_loss: dict[str, float]
    by_length: list[LengthRates]
    masses: list[Masses]
    code_length: CodeLength | None = None
    resemblance: tuple[Divergence, ...] = ()
    checks: list[Check] = []
    train_seconds: float
    evaluate_seconds: float
    device: str
    torch: str | None
    git_commit: str | None

    @property
    def key(self) -> str:
        """The name of the run, which its recipe determines."""
        return key_of(self.recipe)

    @property
    def ood_rate(self) -> float | None:
        """The rate at which every open rule holds on OOD prompts; None where it is unknown."""
        return self.rates[HEADLINE].rate if HEADLINE in self.rates else None

    def reference_rate(self, name: str) -> float | None:
        """Return the rate of a reference that compares with `ood_rate`; None where it is unknown."""
        rates = self.references.get(name, {})
        return rates[HEADLINE].rate if HEADLINE in rates else None

    def rates_since_learning(self) -> dict[int, float]:
        """Return the OOD rates by the number of steps since the run has learned its language; empty if it has not."""
        rates = {check.step: check.ood_headline for check in self.checks if check.ood_headline is not None}
        return self._since_learning(rates)

    def masses_since_learning(self) -> dict[int, Masses]:
        """Return the probabilities of short words by the number of steps since the run has learned its language."""
        return self._since_learning({masses.step: masses for masses in self.masses})

    def _since_learning(self, by_step: Mapping[int, T]) -> dict[int, T]:
        start = self.learned_at
        return {} if start is None else {step - start: value for step, value in by_step.items() if step >= start}

    @classmethod
    def of(cls, results: Results, log: Iterable[Mapping[str, Any]] = ()) -> Run:
        """Build the record from a run's results and the lines of its log."""
        chosen, training = results.chosen, results.training
        plain, padded = results.test_without_padding, results.test_with_padding
        rates, excess = rates_of(chosen), excess_of(plain.loss, plain.floor, plain.excess)
        log = list(log)
        # Results of an earlier version do not record whether a run has learned its language.
        recorded = "learned" in training.model_fields_set
        return cls(
            recipe=results.recipe,
            parameters=training.parameters,
            steps=training.steps,
            best_step=training.best_step,
            checkpoint_step=training.chosen_step,
            diverged_at=training.diverged_at,
            learned=training.learned if recorded else has_learned(rates, excess),
            learned_at=training.learned_at,
            validation_loss=results.validation.loss,
            validation_floor=results.validation.floor,
            test_loss=plain.loss,
            test_floor=plain.floor,
            excess=excess,
            excess_error=plain.excess_error,
            test_loss_with_padding=padded.loss,
            test_floor_with_padding=padded.floor,
            rates=rates,
            references={
                name: _over_kinds(reports) for name in REFERENCES if (reports := _reference_reports(results, name))
            },
            chance_among_finished=_over_kinds({kind: each.chance for kind, each in chosen.kinds.items()}, "finished"),
            best_check=_authors_columns(results.paper.best_check),
            minimum_loss=_authors_columns(results.paper.minimum_loss),
            by_length=results.by_length,
            masses=[Masses.of(line) for line in log if f"{_MASS}both" in line],
            code_length=results.code_length,
            checks=[Check.of(line) for line in log if "eval_loss" in line],
            train_seconds=results.timing.train_seconds,
            evaluate_seconds=results.timing.evaluate_seconds,
            device=results.timing.device,
            torch=results.versions.get("torch"),
            git_commit=results.git_commit,
        )


def excess_of(loss: float, floor: float | None, excess: float | None = None) -> float | None:
    """Return the recorded excess loss; else the loss above its floor, or None where the floor is unknown, too."""
    return excess if excess is not None or floor is None else loss - floor


def has_learned(rates: Rates, excess: float | None) -> bool | None:
    """Judge by one checkpoint whether a run has learned its language, for results that do not record it.

    The criterion is that of `hf_ruleextrap.train.callbacks`, for the test loss and at a single evaluation.

    Args:
        rates: The columns of the checkpoint.
        excess: The excess loss of the checkpoint in nats per token. The criterion ignores an unknown loss (None).

    Returns:
        Whether the run has learned its language; None if the rates on ID prompts are unknown.
    """
    # The module imports transformers, which a report of newer results does not need.
    from hf_ruleextrap.train.callbacks import LEAST_ID_R1, MOST_EXCESS

    first, finished = (rates[name].rate if name in rates else None for name in ("id_r1", "id_finished"))
    if first is None or finished is None:
        return None
    return first >= LEAST_ID_R1 and finished == 1 and (excess is None or excess <= MOST_EXCESS)


def rates_of(evaluation: Evaluation) -> Rates:
    """Return the greedy columns of one evaluation, each over all prompts.

    A completion that did not finish, or that contains a token that is not a symbol, is a failure.

    Args:
        evaluation: The evaluation of any completer. A kind of prompts that it lacks gives no columns.
    """
    return _over_kinds({kind: condition.greedy.report for kind, condition in evaluation.kinds.items()})


def columns_of(kind: Kind, report: Report, among: Literal["all", "finished"] = "all") -> Rates:
    """Return the columns of the tables for the prompts of one kind.

    Args:
        kind: The kind of the prompts.
        report: The report on these prompts.
        among: Whether the rates are over all prompts or among finished completions. Only the former have a headline.
    """
    rules = list(report.rules.values())
    first, finished = getattr(rules[_R1].word, among), report.finished
    if kind == "id":
        return {"id_r1": first, "id_r2": getattr(rules[_R2].word, among), "id_finished": finished}
    headline = {HEADLINE: report.headline} if among == "all" else {}
    second = getattr(rules[_R2].completion, among)
    return {**headline, "ood_r1": first, "ood_r2_completion": second, "ood_finished": finished}


def _over_kinds(reports: Mapping[Kind, Report], among: Literal["all", "finished"] = "all") -> Rates:
    return {name: rate for kind, report in reports.items() for name, rate in columns_of(kind, report, among).items()}


def _reference_reports(results: Results, name: str) -> dict[Kind, Report]:
    """Return the reports of a reference on ID and on OOD prompts; an empty mapping where they are unknown.

    Older results have no ceiling for each rate. The ceiling depends only on the language, the prompts and the limit, so
    this function computes it.
    """
    kinds = results.chosen.kinds
    if all(name in condition.references for condition in kinds.values()):
        return {kind: condition.references[name] for kind, condition in kinds.items()}
    settings, recipe = results.chosen.main.settings, results.recipe
    if name != CEILING or not isinstance(settings, SymbolSettings):
        return {}
    ceilings = _ceilings(recipe.language, recipe.paper, settings.prompt_length, settings.max_new_symbols, recipe.seed)
    # A language that has changed since the run has other prompts.
    same = all(report.n == kinds[kind].greedy.report.n for kind, report in ceilings.items())
    return ceilings if same else {}


@cache
def _ceilings(language: str, paper: bool, length: int, limit: int, seed: int) -> dict[Kind, Report]:
    known = recorded_language(language, paper=paper)
    if known is None:
        return {}
    try:
        prompts = known.prompts(length=length, rng=np.random.default_rng(seed))
    except RuleExtrapError:
        return {}
    kinds: tuple[Kind, ...] = ("id", "ood")
    return {kind: formal.ceiling(known, prompts.of_kind(kind), max_new_symbols=limit) for kind in kinds}


def _authors_columns(rates: Mapping[str, float]) -> dict[str, float]:
    return {column: rates[name] for name, column in _AUTHORS_COLUMNS.items() if name in rates}
