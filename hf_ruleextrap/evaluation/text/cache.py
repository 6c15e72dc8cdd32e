"""Answers on disk by what was asked, so that nothing is asked twice."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hf_ruleextrap.completers.base import Answer, Request, TextCompleter

ANSWERS_VERSION = 2
"""Changes when a completer would give another answer to the same request. Version 1 took a response that had broken off
for an answer, and let a checkpoint's own generation settings and added tokens bend the answers."""


class AnswerCache:
    """A folder with a file for each answer, named by the hash of all that it depends on.

    That is the completer's identity (model, weights, endpoint), the prompt as it was rendered, every parameter, and the
    number of the sample. A file appears whole or not at all. Faults are not kept: they are asked again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def key(self, completer: TextCompleter, request: Request) -> str:
        """The hash of what an answer depends on."""
        asked = {
            "version": ANSWERS_VERSION,
            "completer": completer.identity,
            "chat": request.chat,
            "request": asdict(request),
        }
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

    def get(self, key: str) -> Answer | None:
        """The answer, if there is one."""
        try:
            return Answer(**json.loads(self._path(key).read_text(encoding="utf-8"))["answer"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, key: str, request: Request, answer: Answer) -> None:
        """Keep an answer, with what was asked, to be read."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"request": asdict(request), "answer": asdict(answer)})
        # Another process may be writing the same answer.
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(text)
        Path(draft).replace(path)

    def answers(self, completer: TextCompleter, requests: Sequence[Request]) -> Iterator[tuple[int, Answer, bool]]:
        """The place of each request, its answer, and whether that was known; what is not known is asked for."""
        asked: list[int] = []
        keys = [self.key(completer, request) for request in requests]
        for place, key in enumerate(keys):
            known = self.get(key)
            if known is None:
                asked.append(place)
            else:
                yield place, known, True
        for number, answer in completer.answers([requests[place] for place in asked]):
            place = asked[number]
            if not answer.fault:
                self.put(keys[place], requests[place], answer)
            yield place, answer, False

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"


def as_record(request: Request, answer: Answer) -> dict[str, Any]:
    """A request and its answer as a line of ``answers.jsonl``, which `completers.replay` reads."""
    prompt = request.prompt if isinstance(request.prompt, str) else [asdict(turn) for turn in request.prompt]
    record = {"prompt": prompt, "sample": request.sample, "text": answer.text, "ended": answer.ended}
    record |= {"fault": answer.fault} if answer.fault else {}
    return record | ({"thought": True} if answer.thought else {})
