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

from .protocol import ProtocolSettings, rendered
from .text.prompted import read_answer

if TYPE_CHECKING:
    from datasets import Dataset

TASKS = Path(__file__).with_name("lm_eval_tasks")
"""The folder for ``--include_path``."""

MOST_NEW_TOKENS = 65
"""``max_gen_toks`` of the tasks; enough for each language that the protocol can ask."""

# Who draws, and how a conversation is made, is the harness's own business.
_NOT_HERE = ("chat", "max_reasoning_tokens", "samples", "temperature")


def documents(
    *, language: str | None = None, ruleextrap: Mapping[str, Any] | None = None, **_: object
) -> dict[str, Dataset]:
    """The prompts of a condition, for ``custom_dataset``.

    Args:
        language: the task's own; None for the task that takes any.
        ruleextrap: parameters of `ProtocolSettings` by name, from ``--metadata '{"ruleextrap": {…}}'``.
        _: what else the harness says, of the model for one.

    Returns:
        One split, ``test``, with the columns ``text`` (the context and the prompt), ``prompt`` (its symbols) and
        ``settings`` (JSON).

    Raises:
        RuleExtrapError: an unknown parameter, no language or another one, or a condition that cannot be.
    """
    from datasets import Dataset

    settings = _settings(language, dict(ruleextrap or {}))
    if settings.max_new_tokens > MOST_NEW_TOKENS:
        raise RuleExtrapError(
            f"a completion of {settings.max_new_symbols} symbols is too long here: "
            f"give a max_new_symbols below {MOST_NEW_TOKENS}, or use hf-ruleextrap evaluate"
        )
    said = json.dumps(settings.to_dict())
    rows = [
        {"text": rendered(settings, prompt), "prompt": prompt, "settings": said} for prompt in settings.prompts().texts
    ]
    return {"test": Dataset.from_list(rows)}


def process_results(document: Mapping[str, str], results: Sequence[str]) -> dict[str, float]:
    """Score one answer.

    Args:
        document: a row of `documents`.
        results: the answer, without what ended it.

    Returns:
        0 or 1 for each: ``open_rules`` (every rule that the prompt leaves open holds: the headline; on OOD prompts that
        leave one), ``grammatical`` (on ID prompts: a word of the language), ``r1`` and ``r2`` (on prompt + answer),
        ``finished``, ``empty``, ``unparsable``.
    """
    settings = _read_settings(document["settings"])
    # The harness does not say whether an answer ended; one with more symbols than the limit did not.
    answer = Answer(_first_pieces(results[0], settings.max_new_tokens), ended=True)
    symbols, finished, _ = read_answer(settings, answer)
    prompts = settings.the_language.label([document["prompt"]])
    verdicts = formal.score(
        settings.the_language, prompts, WordBatch.from_strings([symbols]), np.array([finished], np.bool_)
    )
    report = formal.aggregate(verdicts, groups=False)
    first, second = list(report.rules.values())[:2]
    rates = {
        "open_rules": report.headline.rate,
        "grammatical": None if prompts.ood[0] else report.grammatical.rate,
        "r1": first.word.all.rate,
        "r2": second.word.all.rate,
        "finished": report.finished.rate,
        "empty": report.empty.rate,
        "unparsable": report.unparsable.rate,
    }
    return {name: rate for name, rate in rates.items() if rate is not None}


def _settings(language: str | None, given: dict[str, Any]) -> ProtocolSettings:
    known = [field.name for field in fields(ProtocolSettings) if field.name not in _NOT_HERE]
    for name in given:
        if name not in known:
            raise unknown("parameter in the metadata's ruleextrap", name, known)
    asked = given.pop("language", language)
    if asked is None:
        raise RuleExtrapError('no language: give --metadata \'{"ruleextrap": {"language": "tomita4"}}\'')
    if language not in (None, asked):
        raise RuleExtrapError(f"the task is about {language}, not {asked}: give the task ruleextrap_language")
    # The user names the language in the command, and so allows a class in a file to run.
    get_language(asked)
    return ProtocolSettings(asked, samples=0, **given)


@lru_cache(64)
def _read_settings(said: str) -> ProtocolSettings:
    found = json.loads(said)
    return ProtocolSettings(**{**found, "prompt_lengths": tuple(found["prompt_lengths"])})


def _first_pieces(text: str, most: int) -> str:
    """The first line up to the number of pieces that our own runner lets a model write."""
    # Each piece has a space before it.
    return " ".join(text.partition("\n")[0].split(" ")[: most + 1])
