"""The result of an evaluation: one typed schema for every completer and every way of asking."""

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
from hf_ruleextrap.errors import RuleExtrapError, one_line
from hf_ruleextrap.files import write_text
from hf_ruleextrap.formal import Kind, Report, Verdicts
from hf_ruleextrap.formal.words import FOREIGN_CODE
from hf_ruleextrap.inputs import parse_json, read_text

from .protocol import STATUSES, ProtocolSettings
from .rational_references import LearnerRates
from .references import UNIFORM, Verdict

SCHEMA_VERSION: Final = 2
"""Of ``evaluation.json``, of ``evaluate --json`` and of a run's ``results.json``. Version 1 had one schema for a
checkpoint and another one for the text protocol, and repeated the references."""

FILE = "evaluation.json"

_SHOWN = 6

Document = TypeVar("Document", bound=BaseModel)


@dataclass(frozen=True)
class Sample:
    """One completion, to be read.

    Attributes:
        prompt, completion: their symbols; a token that is no symbol is a question mark.
        finished: it ended by itself.
        rules: for each rule, in order, whether it is kept as the rates count it: the rule holds for the whole word, and
            the completion finished and holds symbols alone.
    """

    prompt: str
    completion: str
    finished: bool
    rules: tuple[bool, ...]

    def __str__(self) -> str:
        """The prompt, a bar, the completion, and its end if there was one."""
        end = " <eos>" if self.finished else " …"
        return f"{' '.join(self.prompt)} │ {' '.join(self.completion)}{end}".replace("│  ", "│ ")


def samples_of(verdicts: Verdicts, completions: Completions) -> list[Sample]:
    """Return a few of N completions, evenly spread.

    Args:
        verdicts: of `formal.score`, one completion a prompt.
        completions: what was scored.
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
        verdicts: The verdicts of completions that are symbols, and not text.
    """
    conditions = (~verdicts.parsed, ~verdicts.finished, verdicts.empty)
    statuses = np.select(conditions, ("unparsable", "unfinished", "empty"), "ok")
    return dict(Counter(statuses.tolist()).most_common())


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SymbolSettings(_Model):
    """How a checkpoint is asked symbol by symbol.

    Attributes:
        prompt_length: symbols in each prompt.
        max_new_symbols: the length limit of a completion.
        seed: for prompts that are drawn, and for references that must be sampled.
    """

    prompt_length: int
    max_new_symbols: int
    seed: int = 0


class Outcome(_Model):
    """What one way of decoding gave.

    Attributes:
        report: the rates; an answer that is missing counts as a failure.
        statuses: The number of completions of each status, the most frequent first, faults among them.
        verdict: The sentence that compares the model with the references. None in a file that an earlier version
            wrote for a checkpoint.
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
        """Whether the server took the temperature, without which the answers are drawn in an unknown way."""
        return "temperature" not in self.refused


class Condition(_Model):
    """The prompts of one kind, asked in one way.

    Attributes:
        name: ``id`` or ``ood`` of a checkpoint that is asked symbol by symbol; by the text protocol ``main``, or what a
            control changes.
        kind: of the prompts.
        settings: every parameter.
        greedy: the most likely symbols or tokens; the headline.
        drawn: some completions drawn for each prompt; None where none were asked for.
        references: by name, what needs no model, on the same prompts (`evaluation.references`).
        rational: the rates of the rational learners of the training words, on OOD prompts where they were computed.
        samples: a few greedy completions.
        notes: what a reader should know of it.
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
        """What uniformly random symbols and an end achieve."""
        return self.references[UNIFORM]

    @property
    def unanswered(self) -> int:
        """The number of requests that have no answer."""
        counts = [outcome.statuses for outcome in (self.greedy, self.drawn) if outcome is not None]
        return sum(n for statuses in counts for status, n in statuses.items() if status not in STATUSES)


class Evaluation(_Model):
    """A completer on a language's prompts: ``evaluation.json``, and what ``evaluate --json`` prints.

    As JSON, each set of references stands once, under ``references`` and the name of the first condition that has it;
    a condition's own ``references`` is that name.

    Attributes:
        schema_version: of this schema.
        model: the completer's name.
        completer: what the completions depend on: the backend, the weights, the endpoint.
        language: its name.
        protocol: ``symbols`` for symbol by symbol, else the version of the text protocol, such as ``v2``.
        conditions: those that are not controls first.
        skipped: the controls that could not be run, and why.
        faults: a line that explains each fault.
        versions: of Python and the packages.
        git_commit: of the project's own checkout.

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
        """The condition of the headline: OOD prompts where there are some, and no control."""
        return self.kinds.get("ood", self.conditions[0])

    @property
    def kinds(self) -> dict[Kind, Condition]:
        """The first condition of each kind of prompts, which for the kinds that were asked is no control."""
        conditions: dict[Kind, Condition] = {}
        for condition in self.conditions:
            conditions.setdefault(condition.kind, condition)
        return conditions

    def rates(self) -> dict[str, float]:
        """The greedy numbers worth following during training, by short names; undefined ones are left out."""
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
        """Plain dictionaries and numbers, as in the JSON."""
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
        """Read a folder's file.

        Raises:
            RuleExtrapError: it is not there, torn, or of another version.
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
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise RuleExtrapError(
            f"{path} holds no {what} of this version: {place}: {one_line(first['msg'])}; remove the file, and repeat "
            "the command that wrote it"
        ) from None


def take_references(conditions: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Take the references out of conditions that are plain dictionaries, and return each set of references once.

    Args:
        conditions: each gets, in place of its references, the name of the set; that is the name of the first condition
            that has the set.
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
    # A name that stands for nothing stays, and is refused with its place by the schema.
    return [{**each, "references": shared.get(each["references"], each["references"])} for each in conditions]


def read_evaluations(store: str | Path) -> list[Evaluation]:
    """Read all evaluations in a folder, and in its folders.

    Args:
        store: a folder that an evaluation was written to, or one of several such folders.

    Raises:
        RuleExtrapError: a file that is torn, or of another version.
    """
    paths = sorted([*Path(store).glob(FILE), *Path(store).glob(f"*/{FILE}")])
    return [Evaluation.read(path.parent) for path in paths]
