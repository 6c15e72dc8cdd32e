"""Evaluate a text completer on the prompts of a language, in the main condition and in the controls."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hf_ruleextrap import formal
from hf_ruleextrap.completers import Completions, Request, TextCompleter, Turn
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation.protocol import (
    CONTEXTS,
    CONTROL_ALPHABETS,
    ProtocolSettings,
    check_single_tokens,
    context_words,
    merged_ends,
    rendered,
)
from hf_ruleextrap.evaluation.references import References, complete_and_score, judge, protocol_references, success
from hf_ruleextrap.evaluation.results import Condition, Evaluation, Outcome, samples_of
from hf_ruleextrap.files import write_text
from hf_ruleextrap.formal import Verdicts
from hf_ruleextrap.versions import git_commit, package_versions

from .prompted import AnswerCache, Prompted, as_record, requests_of

SHOTS = (4, 8, 16, 32, 64)
"""The numbers of context words, K, of the controls."""

ID_PROMPTS = "ID prompts"
"""The name of the control with ID prompts."""

# The number of prompts whose tokens are counted for the estimate of a condition.
_MEASURED = 4


def conditions_of(settings: ProtocolSettings, *, controls: bool) -> dict[str, ProtocolSettings]:
    """Return the conditions by name. Each control changes one parameter of the main condition."""
    conditions = {"main": settings}
    if not controls:
        return conditions
    alphabets = {f"alphabet {name}": settings.with_changes(alphabet=name) for name in CONTROL_ALPHABETS}
    contexts = {f"context {name}": settings.with_changes(context=name) for name in CONTEXTS}
    shots = {f"K = {k}": settings.with_changes(shots=k) for k in SHOTS}
    other: dict[str, ProtocolSettings] = {
        ID_PROMPTS: settings.with_changes(kind="id", prompt_lengths=settings.prompt_lengths),
        "rules stated": settings.with_changes(rules_stated=True),
        "rules stated, no words": settings.with_changes(rules_stated=True, shots=0),
    }
    for name, changed in {**alphabets, **contexts, **other, **shots}.items():
        if changed not in conditions.values():
            conditions[name] = changed
    return conditions


@dataclass(frozen=True)
class Estimate:
    """An estimate of the work of a run.

    Attributes:
        requests: The number of answers.
        stored: The number of answers that are already stored.
        prompt_tokens: The approximate number of tokens of all prompts. Without the tokenizer, a symbol and a line break
            count as one token each.
        new_tokens: The largest number of new tokens.
    """

    requests: int
    stored: int
    prompt_tokens: int
    new_tokens: int

    def __str__(self) -> str:
        stored = f", {self.stored:,} of them stored already" if self.stored else ""
        read, written = f"about {self.prompt_tokens:,} tokens to read", f"at most {self.new_tokens:,} to write"
        return f"{self.requests:,} requests{stored}: {read}, {written}"


class TextRun:
    """The evaluation of one model in all conditions.

    Attributes:
        conditions: The conditions by name, the main condition first.
        skipped: The controls that are not possible, each with the reason: the tokenizer does not allow the control, or
            the language has no prompts of the kind.
    """

    def __init__(
        self,
        completer: TextCompleter,
        model: str,
        settings: ProtocolSettings,
        *,
        controls: bool,
        out: Path,
        encode: Callable[[str], Sequence[int] | None] | None = None,
    ) -> None:
        """Check that the evaluation is possible, without sending a request.

        Args:
            completer: The text completer.
            model: The name of the model in the results.
            settings: The main condition.
            controls: Whether to evaluate the controls.
            out: The folder for answers and results.
            encode: The function that returns the token ids of a text, if the completer does not know them.

        Raises:
            RuleExtrapError: If the completer does not continue texts of this form, or if the main condition is not
                possible.
        """
        abilities = completer.abilities
        if not (abilities.chat if settings.chat else abilities.plain):
            advice = "leave out --chat" if settings.chat else "give --chat"
            kind = "conversations (its tokenizer has no chat template)" if settings.chat else "plain texts"
            raise RuleExtrapError(f"{model} cannot continue {kind}: {advice}")
        self.completer, self.model, self.out = completer, model, out
        settings = settings if abilities.sampling else settings.with_changes(samples=0)
        self._encode = encode or completer.encode
        self._cache = AnswerCache(out / "answers")
        self.conditions: dict[str, ProtocolSettings] = {}
        self.skipped: dict[str, str] = {}
        for name, condition in conditions_of(settings, controls=controls).items():
            problem = self._problem(condition)
            if problem and name == "main":
                raise RuleExtrapError(problem)
            if problem:
                self.skipped[name] = problem
            else:
                self.conditions[name] = condition
        self._prompts = {name: condition.prompts() for name, condition in self.conditions.items()}

    def estimate(self) -> Estimate:
        """Return the numbers of requests and tokens."""
        requests = stored = read = written = 0
        for name, condition in self.conditions.items():
            of_condition = self._requests(name)
            keys = [self._cache.key(self.completer, request) for request in of_condition]
            stored += sum(self._cache.get(key) is not None for key in keys)
            requests += len(of_condition)
            each = [self._tokens(request.prompt) for request in of_condition[:: max(1, len(of_condition) // _MEASURED)]]
            read += round(sum(each) / len(each) * len(of_condition))
            written += len(of_condition) * condition.max_new_tokens
        return Estimate(requests, stored, read, written)

    def shown(self, n: int = 3) -> list[str]:
        """Return the first prompts of the main condition with their contexts."""
        settings = self.conditions["main"]
        prompts = self._prompts["main"].take(slice(0, n))
        texts = []
        for request in requests_of(settings, prompts):
            if isinstance(request.prompt, str):
                texts.append(request.prompt)
            else:
                texts.append("\n".join(f"[{turn.role}] {turn.content}" for turn in request.prompt))
        return texts

    def __call__(self, on_answer: Callable[[], object] = lambda: None) -> Evaluation:
        """Send the requests, score the answers, and write ``evaluation.json`` and ``answers.jsonl``.

        Args:
            on_answer: The function that is called after each answer.
        """
        self._cache.take_back()
        conditions: list[Condition] = []
        faults: dict[str, str] = {}
        lines: dict[str, None] = {}
        for name in self.conditions:
            prompted = Prompted(
                self.conditions[name], self.completer, self._cache, on_answer=on_answer, encode=self._encode
            )
            conditions.append(self._condition(name, prompted))
            faults |= prompted.faults
            # Conditions may share requests.
            lines |= dict.fromkeys(json.dumps(as_record(*pair)) for pair in prompted.record)
        settings = self.conditions["main"]
        evaluation = Evaluation(
            model=self.model,
            completer=self.completer.identity,
            language=settings.language,
            protocol=f"v{settings.version}",
            conditions=conditions,
            skipped=self.skipped,
            faults=faults,
            versions=package_versions(),
            git_commit=git_commit(),
        )
        evaluation.write(self.out)
        write_text(self.out / "answers.jsonl", "".join(f"{line}\n" for line in lines))
        return evaluation

    def _condition(self, name: str, prompted: Prompted) -> Condition:
        settings, prompts = self.conditions[name], self._prompts[name]
        references = protocol_references(settings)
        complete = partial(
            complete_and_score, prompted, settings.the_language, prompts, settings.max_new_symbols, seed=settings.seed
        )
        greedy, verdicts = complete()
        outcome = _outcome(greedy, verdicts, references, prompted)
        drawn, notes = None, [*self._notes(settings), *_notes_on(outcome, settings)]
        if settings.samples:
            several, drawn_verdicts = complete(samples=settings.samples)
            drawn = _outcome(several, drawn_verdicts, references, prompted)
            repeated = [word for word in greedy.words for _ in range(settings.samples)]
            if not prompted.faults and list(several.words) == repeated:
                notes.append("every drawn answer is the greedy one: does the server sample?")
        return Condition(
            name=name,
            kind=settings.kind,
            settings=settings,
            greedy=outcome,
            drawn=drawn,
            references=references.reports,
            samples=samples_of(verdicts, greedy),
            notes=notes,
        )

    def _requests(self, name: str) -> list[Request]:
        settings, prompts = self.conditions[name], self._prompts[name]
        return requests_of(settings, prompts) + requests_of(settings, prompts, samples=settings.samples)

    def _tokens(self, prompt: str | tuple[Turn, ...]) -> int:
        text = prompt if isinstance(prompt, str) else "\n".join(turn.content for turn in prompt)
        ids = self._encode(text)
        return len(text.split()) + text.count("\n") if ids is None else len(ids)

    def _problem(self, settings: ProtocolSettings) -> str:
        """Return the reason why a condition is not possible, or an empty text."""
        try:
            if self._encode("a") is not None:
                check_single_tokens(list(settings.texts.values()), self._ids)
                # This raises an error if the tokenizer changes the text.
                for prompt in settings.prompts().texts[:1]:
                    self._tokens(rendered(settings, prompt))
            for prompt in settings.prompts().texts:
                context_words(settings, prompt)
        except RuleExtrapError as error:
            return str(error)
        return ""

    def _notes(self, settings: ProtocolSettings) -> list[str]:
        if self._encode("a") is None:
            return ["the tokenizer is not known, so it is not checked that each symbol is one token"]
        merged = merged_ends(list(settings.texts.values()), self._ids)
        merges = f"the tokenizer merges {' '.join(merged)} with the end of a line, which makes it harder to stop there"
        return [merges] if merged and not settings.chat else []

    def _ids(self, text: str) -> Sequence[int]:
        return self._encode(text) or ()


def _outcome(completions: Completions, verdicts: Verdicts, references: References, prompted: Prompted) -> Outcome:
    return Outcome(
        report=formal.aggregate(verdicts),
        statuses=dict(Counter(completions.statuses).most_common()),
        verdict=judge(success(verdicts), references.success),
        reasoning_tokens=prompted.reasoning_tokens,
        refused=prompted.refused,
    )


def _notes_on(greedy: Outcome, settings: ProtocolSettings) -> list[str]:
    """Return the notes about the greedy answers of a server, or of a model that reasons."""
    notes = []
    if greedy.refused:
        names = [f"{name} (sent as {new})" if new else name for name, new in greedy.refused.items()]
        notes.append(f"the server refused the parameters {', '.join(names)}")
    if not greedy.is_greedy:
        notes.append(
            "the answers in the column greedy are drawn at the server's own temperature, because the server refused "
            "the temperature 0"
        )
    if greedy.reasoning_tokens:
        notes.append(f"the model reasoned with {greedy.reasoning_tokens:,} tokens before its greedy answers")
    unfinished = greedy.statuses.get("unfinished: reasoning", 0)
    if unfinished:
        notes.append(
            f"the reasoning used up the limit of {settings.max_new_tokens:,} tokens in {unfinished} answers: "
            "give a larger --max-reasoning-tokens"
        )
    return notes
