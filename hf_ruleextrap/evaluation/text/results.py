"""What an evaluation by the protocol leaves behind as ``evaluation.json``: a typed schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation.evaluate import Sample
from hf_ruleextrap.evaluation.protocol import STATUSES, ProtocolSettings
from hf_ruleextrap.files import write_text
from hf_ruleextrap.formal import Kind, Rate, Report

from .verdict import Verdict

SCHEMA_VERSION = 1
FILE = "evaluation.json"
ID_PROMPTS = "ID prompts"


class Decoded(BaseModel):
    """What one way of decoding gave.

    Attributes:
        report: the rates; an answer that is missing counts as a failure.
        statuses: how many answers have each status, faults among them.
        verdict: beside the references.
    """

    model_config = ConfigDict(extra="forbid")

    report: Report
    statuses: dict[str, int]
    verdict: Verdict


class Condition(BaseModel):
    """One condition of the protocol.

    Attributes:
        name: what is changed; ``main`` for nothing.
        settings: every parameter.
        greedy: the most likely tokens; the headline.
        drawn: at temperature 1, some for each prompt; None where none were asked for.
        references: by name, what needs no model; ``chance`` is exact where it can be.
        examples: a few greedy answers.
        notes: what a reader should know of it.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    settings: ProtocolSettings
    greedy: Decoded
    drawn: Decoded | None
    references: dict[str, Report]
    examples: list[Sample]
    notes: list[str]

    @property
    def unanswered(self) -> int:
        """How many requests have no answer."""
        counts = [decoded.statuses for decoded in (self.greedy, self.drawn) if decoded is not None]
        return sum(n for statuses in counts for status, n in statuses.items() if status not in STATUSES)


class TextEvaluation(BaseModel):
    """``evaluation.json``.

    Attributes:
        schema_version: of this schema.
        model: its name.
        completer: what the answers depend on: the backend, the weights, the endpoint.
        conditions: the main one first, then the controls.
        skipped: the controls that could not be run, and why.
        faults: a line that explains each fault.
        versions: of Python and the packages.
        git_commit: of the project's own checkout.
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: int = SCHEMA_VERSION
    model: str
    completer: dict[str, Any]
    conditions: list[Condition]
    skipped: dict[str, str]
    faults: dict[str, str]
    versions: dict[str, str | None]
    git_commit: str | None

    @property
    def main(self) -> Condition:
        """The condition that is not a control."""
        return self.conditions[0]

    def columns(self) -> dict[str, Rate]:
        """The greedy rates under the names that a report's columns have; those of ID prompts if they were asked."""
        asked = (self.main, *(each for each in self.conditions if each.name == ID_PROMPTS))
        parts = [columns_of(condition.settings.kind, condition.greedy.report) for condition in asked]
        return {name: rate for part in parts for name, rate in part.items()}

    def write(self, folder: Path) -> Path:
        """Write the file, which appears whole or not at all, and return its path."""
        write_text(folder / FILE, self.model_dump_json(indent=2) + "\n")
        return folder / FILE

    @classmethod
    def read(cls, folder: Path) -> TextEvaluation:
        """Read a folder's file.

        Raises:
            RuleExtrapError: it is not there, torn, or of another version.
        """
        path = folder / FILE
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise RuleExtrapError(f"{path} cannot be read ({reason}): remove it and evaluate again") from None


def columns_of(kind: Kind, report: Report) -> dict[str, Rate]:
    """The rates of prompts of one kind under the names that a report's columns have."""
    first, second = list(report.rules.values())[:2]
    found = {f"{kind}_r1": first.word.all, f"{kind}_finished": report.finished}
    if kind == "ood":
        return found | {"ood_headline": report.headline, "ood_r2_completion": second.completion.all}
    return found | {"id_r2": second.word.all}


def read_evaluations(store: str | Path) -> list[TextEvaluation]:
    """All evaluations in a folder, and in its folders.

    Args:
        store: a folder that an evaluation was written to, or one of several such folders.

    Raises:
        RuleExtrapError: a file that is torn, or of another version.
    """
    paths = sorted([*Path(store).glob(FILE), *Path(store).glob(f"*/{FILE}")])
    return [TextEvaluation.read(path.parent) for path in paths]
