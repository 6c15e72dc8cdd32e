"""Evaluations of language models by the text protocol, as rows beside those of trained models."""

from __future__ import annotations

from collections.abc import Sequence

from hf_ruleextrap.evaluation.llm import TextEvaluation

from .rows import Row


def text_rows(evaluations: Sequence[TextEvaluation]) -> list[Row]:
    """A row for each evaluation: its main condition, greedy, over all prompts.

    Args:
        evaluations: of `hf_ruleextrap.evaluation.llm.read_evaluations`.
    """
    return [
        Row.over(each.main.settings.language, each.model, _source(each), "corrected", [each.columns()], _variant(each))
        for each in evaluations
    ]


def _source(evaluation: TextEvaluation) -> str:
    return f"text protocol v{evaluation.main.settings.version}"


def _variant(evaluation: TextEvaluation) -> str:
    settings = evaluation.main.settings
    form = "chat" if settings.chat else "text"
    return f"{form}, {settings.alphabet}, K = {settings.shots}, protocol v{settings.version}"
