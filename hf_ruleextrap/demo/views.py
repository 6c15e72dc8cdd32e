"""The content of the demo's views as plain data, without a browser."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np

from hf_ruleextrap import formal
from hf_ruleextrap.completers import LocalModel
from hf_ruleextrap.completers.http import checked_url
from hf_ruleextrap.errors import RuleExtrapError, one_line
from hf_ruleextrap.evaluation import Evaluation
from hf_ruleextrap.evaluation.references import ALWAYS_STOP, CEILING, UNIFORM, heading, reference_report
from hf_ruleextrap.formal import Language, PromptSet, Report, WordBatch
from hf_ruleextrap.formal.machine import Machine, NonEmpty
from hf_ruleextrap.formal.optimal import shortest_completions
from hf_ruleextrap.formal.words import BoolArray
from hf_ruleextrap.languages import is_file, not_run, recorded_language
from hf_ruleextrap.tokenization import encode

MOST_SYMBOLS = 40
"""The largest number of symbols in a prompt of the demo."""

RATIONAL = "rational-modular"
"""The rational learner that stands beside the models."""

MOST_ASKED = 256
"""The largest number of prompts for a server."""

_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")

END = "end"
"""The name of the end of a word among the next symbols."""

_LONGEST_REPAIR = 48
# The largest number of symbols in a completion.
_MOST_NEW = 24

Status = Literal["kept", "open", "broken"]


@dataclass(frozen=True)
class RuleState:
    """The state of a rule after a prefix.

    Attributes:
        prefix: The prefix.
        status: ``kept`` if the prefix keeps the rule as a whole word; ``open`` if only a longer word can keep the rule;
            ``broken`` if no word that begins with the prefix keeps the rule.
        why: The reason, as a sentence.
    """

    prefix: str
    status: Status
    why: str


@dataclass(frozen=True)
class RuleTrace:
    """The states of one rule along a prompt.

    Attributes:
        label: ``R1``, ``R2`` and so on, or ``all`` for all rules together.
        summary: The rule as a sentence.
        states: The states after 0, 1, … symbols.
    """

    label: str
    summary: str
    states: tuple[RuleState, ...]


def language_of(name: str) -> Language:
    """Return a language by its name; a name that a visitor sends never runs code.

    Raises:
        RuleExtrapError: If the name is unknown.
    """
    language = recorded_language(name)
    if language is None and is_file(name):
        raise RuleExtrapError(not_run(one_line(name)))
    if language is None:
        raise RuleExtrapError(f"the language {name!r:.60} is unknown: choose one from the list")
    return language


def read_prompt(language: Language, text: str) -> PromptSet:
    """Return the prompt that a visitor typed; spaces between symbols are ignored.

    Raises:
        RuleExtrapError: If the prompt is too long, or contains a character outside the alphabet.
    """
    prompt = "".join(text.split())
    if len(prompt) > MOST_SYMBOLS:
        raise RuleExtrapError(f"the prompt has {len(prompt)} symbols: type at most {MOST_SYMBOLS}")
    for place, character in enumerate(prompt, start=1):
        if character not in language.alphabet:
            allowed = " ".join(language.alphabet)
            raise RuleExtrapError(
                f"character {place} is {character!r}, which is not a symbol of {language.name}: use {allowed}"
            )
    return language.label([prompt])


def trace_rules(language: Language, text: str) -> list[RuleTrace]:
    """Return the state of each rule, and of all rules together, at each symbol of a prompt.

    Raises:
        RuleExtrapError: If the prompt is too long, or contains a character outside the alphabet.

    >>> from hf_ruleextrap.languages import get_language
    >>> traces = trace_rules(get_language("anbn"), "ba")
    >>> [(trace.label, [state.status for state in trace.states]) for trace in traces]
    [('R1', ['kept', 'open', 'kept']), ('R2', ['kept', 'kept', 'broken']), ('all', ['open', 'broken', 'broken'])]
    >>> traces[1].states[-1].why
    'Symbol 2, a, breaks the rule: no continuation repairs it.'
    """
    prompt = read_prompt(language, text).texts[0]
    prefixes = [prompt[:length] for length in range(len(prompt) + 1)]
    traces = [
        RuleTrace(
            f"R{number}",
            rule.summary,
            _states(rule, language, prefixes, rule.holds(prefixes), rule.viable(prefixes), "the rule"),
        )
        for number, rule in enumerate(language.rules, start=1)
    ]
    together = _states(
        NonEmpty(language),
        language,
        prefixes,
        language.contains(prefixes),
        language.viable(prefixes),
        "all rules at once",
    )
    return [*traces, RuleTrace("all", "all rules together: the words of the language", together)]


def _states(
    machine: Machine, language: Language, prefixes: list[str], kept: BoolArray, viable: BoolArray, what: str
) -> tuple[RuleState, ...]:
    repairs, repaired = shortest_completions(
        machine, WordBatch.from_strings(prefixes), language.alphabet, _LONGEST_REPAIR
    )
    states = []
    for length, prefix in enumerate(prefixes):
        status: Status = "kept" if kept[length] else "open" if viable[length] else "broken"
        if status == "kept":
            why = f"{prefix or 'The empty prompt'} keeps {what} as it stands."
        elif status == "open" and repaired[length]:
            why = f"Not yet kept: {prefix}[{repairs[length]}] keeps {what}."
        elif status == "open":
            why = f"Not yet kept: only a continuation of more than {_LONGEST_REPAIR} symbols keeps {what}."
        else:
            # Once broken, a rule stays broken, so the first broken prefix names the symbol.
            place = int(np.flatnonzero(~viable)[0])
            breaker = f"Symbol {place}, {prefix[place - 1]}," if place else "The empty prefix"
            why = f"{breaker} breaks {what}: no continuation repairs it."
        states.append(RuleState(prefix, status, why))
    return tuple(states)


@dataclass(frozen=True)
class Answer:
    """A completion of one prompt with its verdicts.

    Attributes:
        completion: The symbols of the completion.
        finished: Whether the completion ended by itself.
        rules: For each rule, whether the whole word keeps the rule.
        success: Whether the completion succeeds: after an OOD prompt, every open rule holds; after an ID prompt, the
            whole is a word of the language. None if the prompt leaves no rule open.
        steps: The probabilities of the next symbols and of the end before each symbol of the completion.
    """

    completion: str
    finished: bool
    rules: tuple[bool, ...]
    success: bool | None
    steps: tuple[dict[str, float], ...]


def answer_prompt(completer: LocalModel, text: str, *, samples: int | None = None, seed: int = 0) -> list[Answer]:
    """Return the greedy completion of a prompt, or sampled completions, with verdicts and probabilities.

    Args:
        completer: The model.
        text: The prompt.
        samples: The number of sampled completions; None for the greedy completion alone.
        seed: The random seed of the samples.

    Raises:
        RuleExtrapError: If the prompt is too long, or contains a character outside the alphabet.
    """
    language = completer.language
    prompt = read_prompt(language, text)
    completions = completer.complete(prompt, max_new_symbols=_MOST_NEW, samples=samples, seed=seed)
    verdicts = formal.score(language, prompt, completions.words, completions.finished, samples=samples or 1)
    return [
        Answer(
            word,
            bool(completions.finished[row]),
            tuple(map(bool, verdicts.word[row])),
            bool(verdicts.success[row]) if prompt.judged[0] else None,
            next_symbols(completer, prompt.texts[0], word),
        )
        for row, word in enumerate(completions.words)
    ]


def next_symbols(completer: LocalModel, prompt: str, completion: str) -> tuple[dict[str, float], ...]:
    """Return the model's probabilities of each symbol and of the end, before each symbol of the completion and after.

    Args:
        completer: The model.
        prompt: The prompt.
        completion: C symbols.

    Returns:
        C + 1 mappings from symbols, and `END`, to probabilities. Tokens that are no symbols have the rest. The mappings
        end before the first token of the completion that is no symbol.
    """
    import torch

    # A token that is no symbol has no id to read again.
    completion = "".join(takewhile(completer.language.alphabet.__contains__, completion))
    tokens = encode(WordBatch.from_strings([prompt + completion]), completer.language, completer.ids)
    tokens = np.column_stack([np.full(1, completer.bos_id), tokens])
    with torch.inference_mode():
        logits = completer.model(input_ids=torch.from_numpy(tokens).to(completer.model.device)).logits[0]
    shares = logits[len(prompt) :].float().softmax(-1).cpu().numpy()
    columns = dict(zip([*completer.language.alphabet, END], [*completer.ids, completer.eos_id], strict=True))
    return tuple({symbol: float(row[column]) for symbol, column in columns.items()} for row in shares)


@dataclass(frozen=True)
class Reference:
    """The rate of success of a reference on one prompt; None if the rate is unknown, with the reason."""

    name: str
    rate: float | None
    reason: str = ""


@lru_cache(1 << 10)
def references_of(name: str, text: str, *, rational: bool = False) -> tuple[Reference, ...]:
    """Return how often the references succeed on one prompt.

    Args:
        name: The name of the language.
        text: The prompt.
        rational: Whether to add the rational learner, which takes up to a minute for some languages.

    Raises:
        RuleExtrapError: If the prompt is too long, or contains a character outside the alphabet.
    """
    language = language_of(name)
    prompt = read_prompt(language, text)
    references = []
    for reference in (UNIFORM, ALWAYS_STOP, *([RATIONAL] if rational else []), CEILING):
        try:
            report = reference_report(language, prompt, reference, max_new_symbols=_MOST_NEW)
        except RuleExtrapError as error:
            references.append(Reference(heading(reference), None, str(error)))
            continue
        rate = report.headline.rate if prompt.ood[0] else report.grammatical.rate
        references.append(Reference(heading(reference), rate, "" if rate is not None else "no rule is open"))
    return tuple(references)


def draw_prompt(name: str) -> str:
    """Return one of the language's OOD prompts at random."""
    return random.choice(language_of(name).prompts("ood").texts)


def kind_of(language: Language, text: str) -> str:
    """Return sentences that state the rules, the kind of a prompt, and what counts as success."""
    rules = "; ".join(f"R{number}: {rule.summary}" for number, rule in enumerate(language.rules, start=1))
    return f"{language.name}: {language.summary}. {rules}. {_kind_of(language, text)}"


def _kind_of(language: Language, text: str) -> str:
    (prompt,) = read_prompt(language, text)
    if prompt.kind == "id":
        return "ID prompt: all rules are still open together. A completion succeeds if it gives a word of the language."
    number = {rule.name: f"R{i}" for i, rule in enumerate(language.rules, start=1)}
    broken, still_open = ([number[name] for name in names] for names in (prompt.broken, prompt.open))
    if not still_open:
        return "OOD prompt: every rule is broken, so there is nothing left to keep."
    if not broken:
        return "OOD prompt: each rule is open by itself, but no completion keeps all of them."
    return (
        f"OOD prompt: {' and '.join(broken)} broken, {' and '.join(still_open)} open. "
        f"A completion succeeds if it keeps {' and '.join(still_open)}."
    )


def score_answers(name: str, rows: Sequence[dict[str, Any]]) -> Report:
    """Return the report of pasted answers, as ``hf-ruleextrap score`` gives it.

    Args:
        name: The name of the language.
        rows: Rows with ``prompt``, ``completion`` and ``finished``.

    Raises:
        RuleExtrapError: If there are no rows, or a prompt contains a character outside the alphabet.
    """
    from hf_ruleextrap.evaluation import score

    if not rows:
        raise RuleExtrapError("there are no answers: paste at least one line")
    columns = ([row[key] for row in rows] for key in ("prompt", "completion", "finished"))
    return score(language_of(name), *columns)


def ask_server(name: str, address: str, model: str, *, prompts: int = 16, chat: bool = False) -> Evaluation:
    """Return the evaluation of a language model behind a server on this machine, by the text protocol.

    Args:
        name: The name of the language.
        address: The base URL of an OpenAI-compatible server.
        model: The name of the model on the server.
        prompts: The number of OOD prompts, a random subset.
        chat: Whether to ask in a conversation.

    Raises:
        RuleExtrapError: If a value is not allowed, the server is not on this machine, or the server leaves a prompt
            unanswered.
    """
    from hf_ruleextrap.completers import BackendConfig, text_completer
    from hf_ruleextrap.evaluation.protocol import ProtocolSettings
    from hf_ruleextrap.evaluation.text import TextRun

    if not model.strip():
        raise RuleExtrapError("the name of the model is missing: give the name under which the server knows the model")
    if prompts > MOST_ASKED:
        raise RuleExtrapError(f"prompts is {prompts}: ask at most {MOST_ASKED}, or use `hf-ruleextrap evaluate`")
    # No visitor can make the page send requests to another machine.
    if urlsplit(checked_url(address.strip())).hostname not in _THIS_MACHINE:
        raise RuleExtrapError(
            "the server is not on this machine: give an address such as http://127.0.0.1:8000/v1, or use "
            "`hf-ruleextrap evaluate --base-url` for a server elsewhere"
        )
    language_of(name)
    settings = ProtocolSettings(name, limit=prompts, samples=0, chat=chat)
    completer = text_completer("openai", BackendConfig(model.strip(), base_url=address.strip(), timeout=60, retries=1))
    with TemporaryDirectory() as folder:
        evaluation = TextRun(completer, model.strip(), settings, controls=False, out=Path(folder))()
    if evaluation.main.unanswered:
        faults = "; ".join(f"{fault}: {line}" if line else fault for fault, line in evaluation.faults.items())
        raise RuleExtrapError(f"the server left {evaluation.main.unanswered} of {prompts} prompts unanswered: {faults}")
    return evaluation
