"""Rows for evaluations of language models by the text protocol, beside the rows of trained models."""

from __future__ import annotations

from collections.abc import Sequence

from hf_ruleextrap.evaluation.text import TextEvaluation
from hf_ruleextrap.evaluation.text.results import columns_of

from .rows import Row


def text_rows(evaluations: Sequence[TextEvaluation]) -> list[Row]:
    """Return a row for the greedy main condition of each evaluation over all prompts, and rows for its references.

    Args:
        evaluations: the evaluations that `hf_ruleextrap.evaluation.text.read_evaluations` returns.
    """
    return [row for evaluation in evaluations for row in _rows_of(evaluation)]


def _rows_of(evaluation: TextEvaluation) -> list[Row]:
    settings = evaluation.main.settings
    language, source = settings.language, f"text protocol v{settings.version}"
    rows = [Row.over(language, evaluation.model, source, "corrected", [evaluation.columns()], _variant(evaluation))]
    for name, report in evaluation.main.references.items():
        # The rates are those of greedy completions, so only greedy references are comparable.
        if not name.endswith(", drawn"):
            columns = [columns_of(settings.kind, report)]
            rows.append(Row.over(language, "", f"{name}, prompts of {evaluation.model}", "corrected", columns))
    return rows


def _variant(evaluation: TextEvaluation) -> str:
    settings = evaluation.main.settings
    form = "chat" if settings.chat else "text"
    return f"{form}, {settings.alphabet}, K = {settings.shots}, protocol v{settings.version}"
