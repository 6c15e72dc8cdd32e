"""A text completer as a completer of a language: prompts are rendered, and answers are parsed."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from hf_ruleextrap.completers.base import Answer, Completions, Request, TextCompleter
from hf_ruleextrap.completers.reading import split_thoughts
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation.protocol import ProtocolSettings, read_answer, rendered
from hf_ruleextrap.formal import PromptSet, WordBatch

from .cache import AnswerCache


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
        asked: The number of answers for which a request was sent.
        known: The number of answers that were stored already.
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
        self.asked = self.known = 0
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
        for place, answer, stored in self.cache.answers(self.completer, requests):
            answers[place] = answer
            self.known, self.asked = self.known + stored, self.asked + (not stored)
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


def counted(statuses: tuple[str, ...] | None) -> dict[str, int]:
    """Return the number of answers of each status, the most frequent status first."""
    return dict(Counter(statuses or ()).most_common())
