"""Rows for evaluations of language models by the text protocol, beside the rows of trained models."""

from __future__ import annotations

from collections.abc import Sequence

from hf_ruleextrap.evaluation import Evaluation
from hf_ruleextrap.evaluation.protocol import ProtocolSettings
from hf_ruleextrap.evaluation.references import GREEDY, heading, is_ngram

from .record import columns_of, rates_of
from .rows import Row


def text_rows(evaluations: Sequence[Evaluation]) -> list[Row]:
    """Return a row for the greedy main condition of each evaluation over all prompts, and rows for its references.

    Args:
        evaluations: the evaluations that `hf_ruleextrap.evaluation.read_evaluations` returns.
    """
    return [row for evaluation in evaluations for row in _rows_of(evaluation)]


def _rows_of(evaluation: Evaluation) -> list[Row]:
    main, language, model = evaluation.main, evaluation.language, evaluation.model
    source, variant = "symbol by symbol", ""
    if isinstance(main.settings, ProtocolSettings):
        source = f"text protocol {evaluation.protocol}"
        form = "chat" if main.settings.chat else "text"
        variant = f"{form}, {main.settings.alphabet}, K = {main.settings.shots}, protocol {evaluation.protocol}"
    rows = [Row.over(language, model, source, "corrected", [rates_of(evaluation)], variant)]
    for name, report in main.references.items():
        # The rates are those of greedy completions, so only greedy n-grams are comparable.
        if not is_ngram(name) or name.endswith(GREEDY):
            columns = [columns_of(main.kind, report)]
            rows.append(Row.over(language, "", f"{heading(name)}, prompts of {model}", "corrected", columns))
    return rows
