"""The result of an evaluation, with one typed schema for every completer and both protocols."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeVar

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic_core.core_schema import SerializerFunctionWrapHandler

from hf_ruleextrap.completers.base import Completions
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.files import write_text
from hf_ruleextrap.formal import Kind, Report, Verdicts
from hf_ruleextrap.formal.words import FOREIGN_CODE
from hf_ruleextrap.inputs import first_problem, parse_json, read_text

from .protocol import STATUSES, ProtocolSettings
from .rational_references import LearnerRates
from .references import UNIFORM, Verdict

SCHEMA_VERSION: Final = 2
"""The version of the schema of ``evaluation.json``, of ``evaluate --json`` and of a run's ``results.json``.

Version 1 had two schemas, one for symbol by symbol and one for the text protocol, and repeated the references.
"""

FILE = "evaluation.json"

_SHOWN = 6

Document = TypeVar("Document", bound=BaseModel)


@dataclass(frozen=True)
class Sample:
    """A completion as an example for readers.

    Attributes:
        prompt, completion: The symbols of the prompt and of the completion. A question mark stands for a token that is
            no symbol.
        finished: Whether the completion ended by itself.
        rules: For each rule, in order, whether the completion counts as a success in the rate of the rule: the rule
            holds for the prompt with the completion, and the completion finished and consists of symbols.
    """

    prompt: str
    completion: str
    finished: bool
    rules: tuple[bool, ...]

    def __str__(self) -> str:
        """Return the prompt, a bar, the completion, and ``<eos>`` or ``…``."""
        end = " <eos>" if self.finished else " …"
        return f"{' '.join(self.prompt)} │ {' '.join(self.completion)}{end}".replace("│  ", "│ ")


def samples_of(verdicts: Verdicts, completions: Completions) -> list[Sample]:
    """Return at most six of N completions, evenly spread.

    Args:
        verdicts: The verdicts of `formal.score`, with one completion of each prompt.
        completions: The N completions.
    """
    n, words, kept = len(verdicts.prompts), verdicts.prompts.words, verdicts.word & verdicts.counts[:, None]
    return [
        Sample(
            words[i],
            completions.words[i].replace(chr(FOREIGN_CODE), "?"),
            bool(completions.finished[i]),
            tuple(kept[i].tolist()),
        )
        for i in np.unique(np.linspace(0, n - 1, min(_SHOWN, n)).astype(int))
    ]


def statuses_of(verdicts: Verdicts) -> dict[str, int]:
    """Return the number of completions of each status, the most frequent first.

    Args:
        verdicts: The verdicts of completions by symbol; completions as text report their own statuses.
    """
    conditions = (~verdicts.parsed, ~verdicts.finished, verdicts.empty)
    statuses = np.select(conditions, ("unparsable", "unfinished", "empty"), "ok")
    return dict(Counter(statuses.tolist()).most_common())


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SymbolSettings(_Model):
    """The settings of an evaluation symbol by symbol.

    Attributes:
        prompt_length: The number of symbols in each prompt.
        max_new_symbols: The length limit of a completion.
        seed: The random seed for drawing prompts, and for references that must be sampled.
    """

    prompt_length: int
    max_new_symbols: int
    seed: int = 0


class Outcome(_Model):
    """The outcome of greedy completions, or of drawn completions.

    Attributes:
        report: The rates. A missing answer counts as a failure.
        statuses: The number of completions of each status, including faults, the most frequent status first.
        verdict: The comparison of the model with the references. None in a file that an earlier version wrote for a
            checkpoint.
        reasoning_tokens: The number of tokens of reasoning before the answers, which are not part of the answers.
        refused: The parameters of a request that the server refused, each with the name under which the server took
            the parameter instead, or None if the requests were sent without the parameter.
    """

    report: Report
    statuses: dict[str, int] = {}
    verdict: Verdict | None = None
    reasoning_tokens: int = 0
    refused: dict[str, str | None] = {}

    @property
    def is_greedy(self) -> bool:
        """Whether the server accepted the temperature. Otherwise the server drew the answers at its own temperature."""
        return "temperature" not in self.refused


class Condition(_Model):
    """The evaluation of prompts of one kind with one set of parameters.

    Attributes:
        name: ``id`` or ``ood`` for an evaluation symbol by symbol. In the text protocol ``main``, or the name of a
            control.
        kind: The kind of the prompts.
        settings: All parameters.
        greedy: The outcome of greedy completions, which take the most likely symbol or token at each step.
        drawn: The outcome of drawn completions; None if no completions were drawn.
        references: The rates of the references on the same prompts, by name (`evaluation.references`).
        rational: The rates of the rational learners of the training words on the OOD prompts; empty if they were not
            computed.
        samples: Some of the greedy completions.
        notes: Remarks for readers, one line each.
    """

    name: str
    kind: Kind
    settings: SymbolSettings | ProtocolSettings
    greedy: Outcome
    drawn: Outcome | None = None
    references: dict[str, Report]
    rational: list[LearnerRates] = []
    samples: list[Sample] = []
    notes: list[str] = []

    @property
    def chance(self) -> Report:
        """The rates of chance, which draws each symbol, or the end, with equal probability."""
        return self.references[UNIFORM]

    @property
    def unanswered(self) -> int:
        """The number of requests that have no answer."""
        counts = [outcome.statuses for outcome in (self.greedy, self.drawn) if outcome is not None]
        return sum(n for statuses in counts for status, n in statuses.items() if status not in STATUSES)


class Evaluation(_Model):
    """The evaluation of a completer on a language, as in ``evaluation.json`` and in the output of ``evaluate --json``.

    In JSON, each set of references is stored once, under ``references`` and the name of the first condition that has
    the set. The field ``references`` of a condition is that name.

    Attributes:
        schema_version: The version of this schema.
        model: The name of the completer.
        completer: Everything on which the completions depend: the backend, the weights, the endpoint.
        language: The name of the language.
        protocol: ``symbols`` for symbol by symbol, or the version of the text protocol, for example ``v2``.
        conditions: The conditions. The controls come last.
        skipped: The reason for each control that is not possible, by the name of the control.
        faults: An explanation of each fault in one line.
        versions: The versions of Python and of the packages.
        git_commit: The commit of the project's own checkout.

    >>> from hf_ruleextrap import Evaluator, get_language
    >>> from hf_ruleextrap.completers import Oracle
    >>> language = get_language("anbn")
    >>> evaluation = Evaluator(language, max_new_symbols=16)(Oracle(language), "oracle")
    >>> [condition.name for condition in evaluation.conditions]
    ['id', 'ood']
    >>> round(evaluation.main.greedy.report.headline.rate, 2), round(evaluation.main.chance.headline.rate, 2)
    (0.98, 0.15)
    """

    schema_version: Literal[2] = SCHEMA_VERSION
    model: str
    completer: dict[str, Any] = {}
    language: str
    protocol: str
    conditions: list[Condition]
    skipped: dict[str, str] = {}
    faults: dict[str, str] = {}
    versions: dict[str, str | None] = {}
    git_commit: str | None = None

    @property
    def main(self) -> Condition:
        """The condition of the headline: the first with OOD prompts, or else the first condition."""
        return self.kinds.get("ood", self.conditions[0])

    @property
    def kinds(self) -> dict[Kind, Condition]:
        """The first condition of each kind of prompts."""
        conditions: dict[Kind, Condition] = {}
        for condition in self.conditions:
            conditions.setdefault(condition.kind, condition)
        return conditions

    def rates(self) -> dict[str, float]:
        """Return the greedy rates to follow during training, by short names. Undefined rates are left out."""
        rates: dict[str, float | None] = {}
        for kind, condition in self.kinds.items():
            report = condition.greedy.report
            for i, rule in enumerate(report.rules.values(), start=1):
                rates[f"{kind}_r{i}"] = rule.word.all.rate
                rates[f"{kind}_r{i}_finished"] = rule.word.finished.rate
                rates[f"{kind}_r{i}_completion"] = rule.completion.all.rate
            rates[f"{kind}_finished"] = report.finished.rate
            rates[f"{kind}_headline"] = report.headline.rate
            rates |= {f"paper/{kind}_{column}": rate for column, rate in report.paper_columns().items()}
        return {name: rate for name, rate in rates.items() if rate is not None}

    def to_dict(self) -> dict[str, Any]:
        """Return the evaluation as plain dictionaries and numbers, as in JSON."""
        return self.model_dump(mode="json")

    @model_serializer(mode="wrap")
    def _share(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document = serialize(self)
        return {**document, "references": take_references(document["conditions"])}

    @model_validator(mode="wrap")
    @classmethod
    def _unshare(cls, document: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        if isinstance(document, dict) and "references" in document:
            document = dict(document)
            document["conditions"] = with_references(document["conditions"], document.pop("references"))
        return validate(document)

    def write(self, folder: Path) -> Path:
        """Write ``evaluation.json``, which appears whole or not at all, and return its path."""
        write_text(folder / FILE, self.model_dump_json(indent=2) + "\n")
        return folder / FILE

    @classmethod
    def read(cls, folder: Path) -> Evaluation:
        """Read ``evaluation.json`` from a folder.

        Raises:
            RuleExtrapError: If the file is missing, damaged, or of another version.
        """
        return read_document(
            cls, folder / FILE, "evaluation", "give the same evaluate command again: its answers are kept"
        )


def read_document(schema: type[Document], path: Path, what: str, advice: str) -> Document:
    """Read a JSON file of the schema version of this package.

    Args:
        schema: The type of the document.
        path: The file.
        what: The noun for the file in a message, such as ``"results"``.
        advice: What to do with a file of another version.

    Raises:
        RuleExtrapError: If the file cannot be read, has another schema version, or does not fit the schema.
    """
    text = read_text(path, what)
    document = parse_json(text, str(path))
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version is None:
        raise RuleExtrapError(f"{path} has no schema_version, and so holds no results: remove it and evaluate again")
    if version != SCHEMA_VERSION:
        raise RuleExtrapError(f"{path} has schema version {version}, and here it is {SCHEMA_VERSION}: {advice}")
    try:
        return schema.model_validate_json(text)
    except ValidationError as error:
        raise RuleExtrapError(
            f"{path} holds no {what} of this version: {first_problem(error)}; remove the file, and repeat the command "
            "that wrote it"
        ) from None


def take_references(conditions: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Take the references out of conditions that are plain dictionaries, and return each set of references once.

    Args:
        conditions: The conditions. The references of each are replaced by the name of the set, which is the name of the
            first condition that has the set.
    """
    shared: dict[str, Any] = {}
    for condition in conditions:
        references, name = condition["references"], condition["name"]
        known = next((key for key, other in shared.items() if other == references), None)
        while known is None and name in shared:
            name += " (other)"
        condition["references"] = known or name
        shared[condition["references"]] = references
    return shared


def with_references(conditions: Iterable[dict[str, Any]], shared: dict[str, Any]) -> list[dict[str, Any]]:
    """Return conditions that are plain dictionaries with the references that `take_references` took out of them."""
    # The schema refuses an unknown name with its place in the file.
    return [{**each, "references": shared.get(each["references"], each["references"])} for each in conditions]


def read_evaluations(store: str | Path) -> list[Evaluation]:
    """Read the evaluations in a folder and in its subfolders.

    Args:
        store: The folder of an evaluation, or a folder with one subfolder for each evaluation.

    Raises:
        RuleExtrapError: If a file is damaged, or of another version.
    """
    paths = sorted([*Path(store).glob(FILE), *Path(store).glob(f"*/{FILE}")])
    return [Evaluation.read(path.parent) for path in paths]
