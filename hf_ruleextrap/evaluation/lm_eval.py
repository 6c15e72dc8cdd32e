"""The protocol as tasks of lm-evaluation-harness: the functions that the YAML files in ``lm_eval_tasks/`` name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_ruleextrap import formal
from hf_ruleextrap.completers.base import Answer
from hf_ruleextrap.errors import RuleExtrapError, unknown
from hf_ruleextrap.formal import WordBatch
from hf_ruleextrap.languages import get_language

from .protocol import ProtocolSettings, read_answer, rendered

if TYPE_CHECKING:
    from datasets import Dataset

TASKS = Path(__file__).with_name("lm_eval_tasks")
"""The folder for ``--include_path``."""

MOST_NEW_TOKENS = 65
"""``max_gen_toks`` of the tasks, which is enough for each language of the package."""

RATES = ("open_rules", "grammatical", "r1", "r2", "finished", "empty", "unparsable")
"""The rates of an answer by name.

``open_rules``, the headline: every rule that the prompt leaves open holds; defined for OOD prompts that leave a rule
open. ``grammatical``: the prompt with the answer is a word of the language; defined for ID prompts. ``r1`` and ``r2``:
the rule holds for the prompt with the answer.
"""

# The harness decides about sampling and about conversations.
_NOT_HERE = ("chat", "max_reasoning_tokens", "samples", "temperature")


def documents(
    *, language: str | None = None, ruleextrap: Mapping[str, Any] | None = None, **_: object
) -> dict[str, Dataset]:
    """Return the prompts of a condition, for ``custom_dataset``.

    Args:
        language: The language of the task; None for the task that takes any language.
        ruleextrap: Parameters of `ProtocolSettings` by name, from ``--metadata '{"ruleextrap": {…}}'``.
        _: Further arguments of the harness, for example about the model.

    Returns:
        One split, ``test``, with the columns ``text`` (the context and the prompt), ``prompt`` (the symbols of the
        prompt) and ``settings`` (JSON).

    Raises:
        RuleExtrapError: If a parameter is unknown, if there is no language or another one than the task's, or if a
            completion is too long for the harness.
    """
    from datasets import Dataset

    settings = _settings(language, dict(ruleextrap or {}))
    if settings.max_new_tokens > MOST_NEW_TOKENS:
        raise RuleExtrapError(
            f"a completion of {settings.max_new_symbols} symbols is too long here: "
            f"give a max_new_symbols below {MOST_NEW_TOKENS}, or use hf-ruleextrap evaluate"
        )
    recorded = json.dumps(settings.to_dict())
    rows = [
        {"text": rendered(settings, prompt), "prompt": prompt, "settings": recorded}
        for prompt in settings.prompts().texts
    ]
    return {"test": Dataset.from_list(rows)}


def process_results(document: Mapping[str, str], results: Sequence[str]) -> dict[str, float]:
    """Score one answer for the harness.

    Args:
        document: A row of `documents`.
        results: The answer, without the text that ended the answer.

    Returns:
        0 or 1 for each of `RATES` that is defined for the prompt.
    """
    settings = recorded_settings(document["settings"])
    # The harness does not say whether an answer ended; an answer with more symbols than the limit did not.
    answer = Answer(_first_pieces(results[0], settings.max_new_tokens), ended=True)
    return answer_rates(settings, document["prompt"], answer)


def answer_rates(settings: ProtocolSettings, prompt: str, answer: Answer) -> dict[str, float]:
    """Score one answer as our own runner does.

    Args:
        settings: The condition.
        prompt: The symbols of the prompt.
        answer: The answer to the prompt.

    Returns:
        0 or 1 for each of `RATES` that is defined for the prompt.
    """
    symbols, finished, _ = read_answer(settings, answer)
    prompts = settings.the_language.label([prompt])
    verdicts = formal.score(
        settings.the_language, prompts, WordBatch.from_strings([symbols]), np.array([finished], np.bool_)
    )
    report = formal.aggregate(verdicts, groups=False)
    first, second = list(report.rules.values())[:2]
    rates = (
        report.headline.rate,
        None if prompts.ood[0] else report.grammatical.rate,
        first.word.all.rate,
        second.word.all.rate,
        report.finished.rate,
        report.empty.rate,
        report.unparsable.rate,
    )
    return {name: rate for name, rate in zip(RATES, rates, strict=True) if rate is not None}


def settings_of(language: str, parameters: Mapping[str, Any]) -> ProtocolSettings:
    """Return the condition that a user of a harness describes.

    Args:
        language: The name of a language, or ``file.py:Class``, whose code may run because the user names the class.
        parameters: Parameters of `ProtocolSettings` by name.

    Raises:
        RuleExtrapError: If the language is unknown, or if the value of a parameter is not allowed.
    """
    get_language(language)
    return ProtocolSettings(language, samples=0, **parameters)


@lru_cache(64)
def recorded_settings(text: str) -> ProtocolSettings:
    """Return the condition that a row of a harness records as JSON."""
    settings = json.loads(text)
    return ProtocolSettings(**{**settings, "prompt_lengths": tuple(settings["prompt_lengths"])})


def _settings(language: str | None, parameters: dict[str, Any]) -> ProtocolSettings:
    known = [field.name for field in fields(ProtocolSettings) if field.name not in _NOT_HERE]
    for name in parameters:
        if name not in known:
            raise unknown("parameter in the metadata's ruleextrap", name, known)
    chosen = parameters.pop("language", language)
    if chosen is None:
        raise RuleExtrapError('no language: give --metadata \'{"ruleextrap": {"language": "tomita4"}}\'')
    if language not in (None, chosen):
        raise RuleExtrapError(f"the task is about {language}, not {chosen}: give the task ruleextrap_language")
    return settings_of(chosen, parameters)


def _first_pieces(text: str, most: int) -> str:
    """Return the first line, cut at the number of pieces that our own runner lets a model write."""
    # Each piece has a space before it.
    return " ".join(text.partition("\n")[0].split(" ")[: most + 1])
