"""Evaluations of language models by the text protocol, as rows beside those of trained models."""

from __future__ import annotations

from collections.abc import Sequence

from hf_ruleextrap.evaluation.text import TextEvaluation
from hf_ruleextrap.evaluation.text.results import columns_of

from .rows import Row


def text_rows(evaluations: Sequence[TextEvaluation]) -> list[Row]:
    """For each evaluation its main condition, greedy, over all prompts; and what needs no model, on the same prompts.

    Args:
        evaluations: of `hf_ruleextrap.evaluation.text.read_evaluations`.
    """
    return [row for evaluation in evaluations for row in _rows_of(evaluation)]


def _rows_of(evaluation: TextEvaluation) -> list[Row]:
    settings = evaluation.main.settings
    language, source = settings.language, f"text protocol v{settings.version}"
    rows = [Row.over(language, evaluation.model, source, "corrected", [evaluation.columns()], _variant(evaluation))]
    for name, report in evaluation.main.references.items():
        # The rates are those of greedy completions, and so are the references beside them.
        if not name.endswith(", drawn"):
            columns = [columns_of(settings.kind, report)]
            rows.append(Row.over(language, "", f"{name}, prompts of {evaluation.model}", "corrected", columns))
    return rows


def _variant(evaluation: TextEvaluation) -> str:
    settings = evaluation.main.settings
    form = "chat" if settings.chat else "text"
    return f"{form}, {settings.alphabet}, K = {settings.shots}, protocol v{settings.version}"
