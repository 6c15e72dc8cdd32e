"""A text completer as a completer of a language: prompts are rendered, answers are parsed and stored on disk."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hf_ruleextrap.completers.base import Answer, Completions, Request, TextCompleter
from hf_ruleextrap.completers.reading import split_thoughts
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation.protocol import ProtocolSettings, read_answer, rendered
from hf_ruleextrap.files import write_text
from hf_ruleextrap.formal import PromptSet, WordBatch

ANSWERS_VERSION = 3
"""The version of stored answers, which changes when a completer would give another answer to the same request.

Version 1 stored responses that had broken off as answers, and a checkpoint's own generation settings and added tokens
could change the answers. Version 2 lost the mark with which a chat template begins the reasoning of a model.
"""

# The largest number of answers to wait for after an answer could not be stored. Their requests are already sent.
_MOST_IN_FLIGHT = 64


def requests_of(settings: ProtocolSettings, prompts: PromptSet, *, samples: int | None = None) -> list[Request]:
    """Return the requests for the greedy answers (None), or for a number of samples, which are adjacent."""
    numbers = (0,) if samples is None else range(1, samples + 1)
    requests: list[Request] = []
    for text in prompts.texts:
        prompt = rendered(settings, text)
        requests += [
            Request(
                prompt=prompt,
                max_new_tokens=settings.max_new_tokens,
                temperature=settings.temperature if number else 0.0,
                sample=number,
                seed=_seed(settings, text, number) if number else 0,
                stop=None if settings.chat else "\n",
            )
            for number in numbers
        ]
    return requests


def _seed(settings: ProtocolSettings, prompt: str, sample: int) -> int:
    digest = hashlib.sha256(f"{settings.seed}\n{settings.language}\n{prompt}\n{sample}".encode()).digest()
    # Servers accept seeds of 31 bits.
    return int.from_bytes(digest[:4], "big") >> 1


class Prompted:
    """A `Completer` that sends the requests of the protocol to a `TextCompleter`.

    Attributes:
        faults: A line that explains each fault that occurred.
        record: Every request with its answer.
        reasoning_tokens: The number of tokens of reasoning in the answers of the last call.
        refused: The parameters that the server refused in the last call, as in `Answer.refused`.
    """

    def __init__(
        self,
        settings: ProtocolSettings,
        completer: TextCompleter,
        cache: AnswerCache,
        *,
        on_answer: Callable[[], object] = lambda: None,
        encode: Callable[[str], Sequence[int] | None] | None = None,
    ) -> None:
        self.settings, self.completer, self.cache = settings, completer, cache
        self.encode = encode or completer.encode
        self.on_answer = on_answer
        self.faults: dict[str, str] = {}
        self.record: list[tuple[Request, Answer]] = []
        self.reasoning_tokens = 0
        self.refused: dict[str, str | None] = {}

    def complete(
        self, prompts: PromptSet, *, max_new_symbols: int, samples: int | None = None, seed: int = 0
    ) -> Completions:
        """Complete the prompts; see `Completer.complete`. The seed is that of the settings."""
        del seed
        settings = self.settings.with_changes(max_new_symbols=max_new_symbols)
        requests = requests_of(settings, prompts, samples=samples)
        answers: dict[int, Answer] = {}
        for place, answer in self.cache.answers(self.completer, requests):
            answers[place] = answer
            self.on_answer()
        # A completer of the user's own may leave a request out.
        no_answer = Answer("", False, "no-answer", "the completer gave no answer")
        in_order = [answers.get(place, no_answer) for place in range(len(requests))]
        self.record += zip(requests, in_order, strict=True)
        self.faults |= {answer.fault: answer.detail for answer in in_order if answer.fault}
        self.reasoning_tokens = sum(map(self._reasoning_tokens, in_order)) if settings.chat else 0
        self.refused = {name: new for answer in in_order for name, new in answer.refused.items()}
        read = [read_answer(settings, answer) for answer in in_order]
        return Completions(
            WordBatch.from_strings([symbols for symbols, _, _ in read]),
            np.array([finished for _, finished, _ in read], np.bool_),
            tuple(status for _, _, status in read),
        )

    def _reasoning_tokens(self, answer: Answer) -> int:
        """Return the number of tokens of reasoning; without the tokenizer, a word in the text counts as a token."""
        thoughts = split_thoughts(answer.text).thoughts
        if answer.reasoning_tokens or not thoughts:
            return answer.reasoning_tokens
        try:
            ids = self.encode(thoughts)
        except RuleExtrapError:
            # A tokenizer may change a text that is no prompt.
            ids = None
        return len(thoughts.split()) if ids is None else len(ids)


class AnswerCache:
    """A folder with a file for each answer, whose name is the hash of everything on which the answer depends.

    An answer depends on the completer's identity (model, weights, endpoint), the rendered prompt, every parameter, and
    the number of the sample. A file appears whole or not at all. Faults are not stored, so that the request is sent
    again.

    An answer that cannot be stored, for example because the disk is full, goes to a file in the folder for temporary
    files. The next run moves the answer into the folder of answers.

    Attributes:
        folder: The folder of answers.
        put_aside: The file of the answers that could not be stored.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        name = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:16]
        self.put_aside = Path(tempfile.gettempdir()) / f"hf-ruleextrap-answers-{name}.jsonl"

    def key(self, completer: TextCompleter, request: Request) -> str:
        """Return the hash of everything on which an answer depends."""
        content = {
            "version": ANSWERS_VERSION,
            "completer": completer.identity,
            "chat": request.chat,
            "request": asdict(request),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def get(self, key: str) -> Answer | None:
        """Return the stored answer, or None."""
        try:
            return Answer(**json.loads(self._path(key).read_text(encoding="utf-8"))["answer"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, key: str, request: Request, answer: Answer) -> None:
        """Store an answer with its request.

        Raises:
            RuleExtrapError: If the answer cannot be stored. The message names the file that holds the answer instead.
        """
        text = json.dumps({"request": asdict(request), "answer": asdict(answer)})
        try:
            write_text(self._path(key), text)
        except RuleExtrapError as error:
            raise RuleExtrapError(f"{error}; {self._keep_elsewhere(key, text)}") from None

    def take_back(self) -> None:
        """Store the answers that an earlier run could not store in the folder.

        Raises:
            RuleExtrapError: If an answer still cannot be stored. The file with the answers stays.
        """
        try:
            # Any user may put files into that folder, so a link or a file of another user is not read.
            descriptor = os.open(self.put_aside, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        except OSError:
            return
        with open(descriptor, encoding="ascii", errors="replace") as file:  # noqa: PTH123  # a descriptor
            if hasattr(os, "getuid") and os.fstat(descriptor).st_uid != os.getuid():
                return
            for line in file:
                key, _, text = line.rstrip("\n").partition(" ")
                # A line that is not whole is skipped, and its request is sent again.
                if re.fullmatch("[0-9a-f]{64}", key) and text.endswith("}}"):
                    write_text(self._path(key), text)
        self.put_aside.unlink()

    def _keep_elsewhere(self, key: str, text: str) -> str:
        """Append an answer to the file in the folder for temporary files, and return a sentence about it."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        try:
            descriptor = os.open(self.put_aside, flags, 0o600)
            with open(descriptor, "a", encoding="ascii") as file:  # noqa: PTH123  # a descriptor
                file.write(f"{key} {text}\n")
        except OSError as error:
            return f"the answer that had arrived is lost, since {self.put_aside} cannot be written, either ({error})"
        return f"the answer that had arrived is kept in {self.put_aside}"

    def answers(self, completer: TextCompleter, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """Yield the index of each request and its answer: the stored answers first, then the answers that arrive."""
        unanswered: list[int] = []
        keys = [self.key(completer, request) for request in requests]
        for place, key in enumerate(keys):
            stored = self.get(key)
            if stored is None:
                unanswered.append(place)
            else:
                yield place, stored
        requested = _Requests(requests[place] for place in unanswered)
        failures: list[RuleExtrapError] = []
        for number, answer in completer.answers(requested):
            place = unanswered[number]
            if not answer.fault:
                try:
                    self.put(keys[place], requests[place], answer)
                except RuleExtrapError as error:
                    failures.append(error)
                    requested.stopped = True
            if len(failures) == _MOST_IN_FLIGHT:
                break
            yield place, answer
        if failures:
            raise failures[0]

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"


class _Requests(list[Request]):
    """A list of requests whose iteration ends when ``stopped`` is set. The requests before that are answered."""

    stopped = False

    def __iter__(self) -> Iterator[Request]:
        for place in range(len(self)):
            if self.stopped:
                return
            yield self[place]


def as_record(request: Request, answer: Answer) -> dict[str, Any]:
    """Return a request and its answer as a line of ``answers.jsonl``, which `completers.replay` reads."""
    prompt = request.prompt if isinstance(request.prompt, str) else [asdict(turn) for turn in request.prompt]
    record = {"prompt": prompt, "sample": request.sample, "text": answer.text, "ended": answer.ended}
    names = ("fault", "thought", "reasoning_tokens", "refused")
    return record | {name: getattr(answer, name) for name in names if getattr(answer, name)}
