"""The metric `rule_extrapolation`: whether completions of a prompt keep the rules of a formal language."""

from __future__ import annotations

# `evaluate` parses these lines: each line imports one module, and no comment follows a relative import.
from collections.abc import Sequence
from typing import Any

import datasets
import evaluate

from .rules import LANGUAGES, RuleExtrapError, aggregate, check_integer, finished_flags, rows_of, score, unknown

_DESCRIPTION = """\
Rule extrapolation: a formal language is the intersection of two rules (a^n b^n: as many a as b; every a before every
b). A prompt already breaks one rule; does the completion still keep the other rule? The metric computes the rate at
which each rule holds for prompt + completion and for the completion alone, over all prompts and among finished
completions, with 95 % intervals. The headline is the rate of completions that keep every open rule, over the
out-of-distribution prompts that leave a rule open.
"""

_INPUTS = """\
Args:
    predictions: list of str, the completions. A completion consists of symbols only, without the prompt, spaces and
        special tokens. A completion with any other character is unparsable and keeps no rule.
    references: list of str, the prompt of each completion.
    finished: list of bool (or 0 and 1, or the words true and false), whether each completion ended by itself within the
        length limit. By default, all completions did. `compute` and `add_batch` take lists; `add` takes one prediction,
        one reference and one value of finished. `evaluate.combine` has no default for finished.
    samples: int, the number of completions of each prompt; by default 1. The completions of a prompt are consecutive
        rows, and each row repeats the prompt. Only `compute` takes this argument.
Returns:
    A dictionary: n, headline, finished, empty, unparsable, grammatical, rules[NAME]["word" | "completion"]["all" |
    "finished"], each a rate {"rate", "low", "high", "hits", "n", "exact"}; groups, by kind, broken rules and length.
    A rate over no completions is None.
Example:
    >>> metric = evaluate.load("ruleextrap/rule_extrapolation", "anbn")
    >>> metric.compute(predictions=["b", ""], references=["baa", "aab"])["headline"]["rate"]
    1.0
"""

_CITATION = """\
@inproceedings{meszaros2024rule,
  title = {Rule Extrapolation in Language Models: A Study of Compositional Generalization on {OOD} Prompts},
  author = {M{\\'e}sz{\\'a}ros, Anna and Ujv{\\'a}ry, Szilvia and Brendel, Wieland and Reizinger, Patrik and
    Husz{\\'a}r, Ferenc},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2024},
}
"""


class RuleExtrapolation(evaluate.Metric):
    """The metric, with one configuration for each language."""

    def _info(self) -> evaluate.MetricInfo:
        if self.config_name not in LANGUAGES:
            hint = 'Pass the language as the second argument: evaluate.load(…, "anbn")'
            raise unknown("language", self.config_name, LANGUAGES, hint)
        text, flag = datasets.Value("string"), datasets.Value("bool")
        return evaluate.MetricInfo(
            module_type="metric",
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": text, "references": text, "finished": flag}),
            reference_urls=["https://arxiv.org/abs/2409.13728"],
        )

    def compute(
        self,
        *,
        predictions: Sequence[str] | None = None,
        references: Sequence[str] | None = None,
        finished: Sequence[object] | None = None,
        **options: Any,
    ) -> dict[str, Any] | None:
        """Score the rows that were added and the rows of the arguments; see ``inputs_description``."""
        columns: dict[str, Any] = {}
        if predictions is not None and references is not None:
            columns = _columns(predictions, references, finished)
        elif predictions is not None or references is not None or finished is not None:
            raise RuleExtrapError("give predictions (completions) and references (their prompts) together")
        elif self.writer is None and self.process_id == 0:
            raise RuleExtrapError("nothing to score: give predictions (completions) and references (their prompts)")
        return super().compute(**columns, **options)

    def add_batch(
        self,
        *,
        predictions: Sequence[str] | None = None,
        references: Sequence[str] | None = None,
        finished: Sequence[object] | None = None,
        **options: Any,
    ) -> None:
        """Add completions, their prompts, and whether each completion finished."""
        if predictions is None or references is None:
            raise RuleExtrapError("give predictions (completions) and references (their prompts) together")
        super().add_batch(**_columns(predictions, references, finished), **options)

    def add(
        self, *, prediction: str | None = None, reference: str | None = None, finished: object = True, **options: Any
    ) -> None:
        """Add one completion, its prompt, and whether the completion finished."""
        self.add_batch(predictions=[prediction], references=[reference], finished=[finished], **options)  # type: ignore[list-item]  # checked there

    def _compute(
        self, predictions: list[str], references: list[str], finished: Sequence[bool], samples: int = 1
    ) -> dict[str, Any]:
        samples = check_integer("samples", samples, least=1)
        prompts = references[::samples]
        if [prompt for prompt in prompts for _ in range(samples)] != references:
            raise RuleExtrapError(f"samples is {samples}: repeat each prompt {samples} times, in consecutive rows")
        language = LANGUAGES[self.config_name]
        return aggregate(score(language, prompts, predictions, finished, samples=samples)).to_dict()


def _columns(
    predictions: Sequence[str], references: Sequence[str], finished: Sequence[object] | None
) -> dict[str, list[Any]]:
    """Return the columns for Arrow. A value that Arrow cannot store is an error that names its row."""
    texts = {"predictions": _texts("prediction", predictions), "references": _texts("reference", references)}
    n = len(texts["predictions"])
    flags = [True] * n if finished is None else finished_flags(finished).tolist()
    if not n == len(texts["references"]) == len(flags):
        raise RuleExtrapError(
            f"{n} predictions and {len(texts['references'])} references, {len(flags)} finished flags: "
            "give one reference and one flag for each prediction"
        )
    if n == 0:
        raise RuleExtrapError("nothing to score: give at least one prediction and its reference")
    return {**texts, "finished": flags}


def _texts(what: str, rows: Sequence[str]) -> list[str]:
    """Return the texts of a column, which Arrow can store."""
    texts = list(rows_of(rows, f"{what}s"))
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise RuleExtrapError(f"{what} {row} is {type(text).__name__}, not a string: give one string for each row")
    # Arrow cannot store half of a surrogate pair. The replacement character is not a symbol, either.
    return [t if t.isascii() else t.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for t in texts]
