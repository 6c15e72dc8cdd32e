"""Replay a file of recorded answers, for example from an earlier run or from a model that runs elsewhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.formal.words import FloatArray
from hf_ruleextrap.inputs import parse_json_lines, read_text

from .base import Abilities, Answer, BackendConfig, Request


class Replay:
    """A text completer that returns recorded answers. A request without an answer has the fault ``not-recorded``.

    A line of the file is ``{"prompt": "…", "sample": 0, "text": "…", "ended": true}``. The prompt is the whole rendered
    text, or the list of turns. Each run of the text protocol writes a file in this form, ``answers.jsonl``.
    """

    abilities = Abilities(plain=True, chat=True, sampling=True, log_probabilities=False)

    def __init__(self, backend: BackendConfig) -> None:
        """Read the file.

        Raises:
            RuleExtrapError: If the file cannot be read. The message names the line.
        """
        text = read_text(backend.model, "file of recorded answers")
        self.recorded: dict[str, Answer] = {}
        for number, row in parse_json_lines(text, backend.model):
            try:
                key = _key(row["prompt"], row.get("sample", 0))
                answer = Answer(
                    text=str(row["text"]),
                    ended=_flag(row, "ended", True),
                    fault=str(row.get("fault", "")),
                    thought=_flag(row, "thought", False),
                    reasoning_tokens=int(row.get("reasoning_tokens", 0)),
                    refused=dict(row.get("refused", {})),
                )
            except (ValueError, TypeError, KeyError, AttributeError):
                raise RuleExtrapError(
                    f'{backend.model}, line {number}: give {{"prompt": …, "sample": 0, "text": "…", "ended": true}}'
                ) from None
            self.recorded[key] = answer
        self.identity: dict[str, Any] = {
            "backend": "replay",
            "model": backend.model,
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
        }

    def answers(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """Answer requests; see `TextCompleter.answers`."""
        absent = Answer("", False, "not-recorded", "the file has no answer for this prompt and sample")
        for place, request in enumerate(requests):
            yield place, self.recorded.get(_key(as_json(request.prompt), request.sample), absent)

    def encode(self, text: str) -> None:
        """Return None, because the tokenizer is not available."""
        del text

    def log_probabilities(self, pairs: Sequence[tuple[str, str]]) -> FloatArray:
        """Return NaN, because the file holds no log-probabilities; see `abilities`."""
        return np.full(len(pairs), np.nan)


def as_json(prompt: Any) -> Any:
    """Return a prompt in the form of a file or a request: the text, or the list of messages."""
    if isinstance(prompt, str):
        return prompt
    return [{"role": turn.role, "content": turn.content} for turn in prompt]


def _flag(row: dict[str, Any], name: str, default: bool) -> bool:
    """Return a boolean of a line. Other types are refused, because the text "false" would count as true."""
    value = row.get(name, default)
    if not isinstance(value, bool):
        raise TypeError(name)
    return value


def _key(prompt: Any, sample: int) -> str:
    return json.dumps([prompt, sample], sort_keys=True)
