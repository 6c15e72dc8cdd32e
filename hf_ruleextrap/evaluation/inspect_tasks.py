"""The protocol as a task of Inspect, which finds this module by its entry point."""

from __future__ import annotations

import json
import math
from typing import Any

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageUser,
    ContentReasoning,
    GenerateConfig,
    ModelOutput,
)
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer, stderr
from inspect_ai.solver import TaskState, generate

from hf_ruleextrap.completers.base import Answer, Turn
from hf_ruleextrap.evaluation.protocol import read_answer, rendered

from .lm_eval import RATES, answer_rates, recorded_settings, settings_of

# The reasons to stop that Inspect reports for an ended and for a cut answer. All other reasons are faults.
_ENDED, _CUT = ("stop",), ("max_tokens", "model_length")


@task
def ruleextrap(
    language: str,
    kind: str = "ood",
    limit: int | None = None,
    shots: int = 32,
    alphabet: str = "letters",
    context: str = "intact",
    rules_stated: bool = False,
    chat: bool = True,
    max_reasoning_tokens: int = 0,
    max_word_length: int = 0,
    max_new_symbols: int = 0,
    seed: int = 0,
) -> Task:
    """Return the task of a condition: ``inspect eval hf_ruleextrap/ruleextrap -T language=anbn``.

    Args:
        language: The name of a language, or ``file.py:Class``.
        kind: The kind of the prompts, ``ood`` or ``id``.
        limit: The largest number of prompts, a random subset; None for all prompts.
        shots: The number of context words before each prompt.
        alphabet: The texts that stand for the symbols, one of `protocol.ALPHABETS`.
        context: The lines before each prompt, one of `protocol.CONTEXTS`.
        rules_stated: Whether the rules are stated in words before the context.
        chat: Whether the context is a conversation. Otherwise the context and the prompt are the plain text of one
            message, for a provider that continues a message verbatim.
        max_reasoning_tokens: The number of tokens of reasoning that are allowed in addition to those of the answer.
        max_word_length: The largest number of symbols in a context word; 0 for the default of the protocol.
        max_new_symbols: The largest number of symbols in a completion; 0 for the default of the protocol.
        seed: The random seed for prompts and contexts.

    Raises:
        RuleExtrapError: If the language is unknown, or if the value of a parameter is not allowed.
    """
    parameters = {name: value for name, value in locals().items() if name != "language"}
    settings = settings_of(language, parameters)
    recorded = json.dumps(settings.to_dict())
    samples = [
        Sample(
            input=_messages(rendered(settings, prompt)),
            id=prompt or "the empty prompt",
            metadata={"prompt": prompt, "settings": recorded},
        )
        for prompt in settings.prompts().texts
    ]
    return Task(
        dataset=MemoryDataset(samples, name=f"{language}-{kind}"),
        solver=generate(),
        scorer=rules(),
        config=GenerateConfig(
            max_tokens=settings.max_new_tokens,
            temperature=0.0,
            top_p=1.0,
            stop_seqs=None if chat else ["\n"],
        ),
        version=settings.version,
        metadata={"protocol": f"v{settings.version}"},
    )


@scorer(metrics={name: [mean(), stderr()] for name in RATES})
def rules() -> Scorer:
    """Return the scorer, whose score holds 0 or 1 for each of `lm_eval.RATES`; NaN for a rate that is not defined."""

    async def score(state: TaskState, target: Target) -> Score:
        del target
        settings = recorded_settings(state.metadata["settings"])
        answer = answer_of(state.output)
        rates = answer_rates(settings, state.metadata["prompt"], answer)
        return Score(
            value={name: rates.get(name, math.nan) for name in RATES},
            answer=answer.text,
            explanation=read_answer(settings, answer)[2],
            metadata={"reasoning_tokens": answer.reasoning_tokens},
        )

    return score


def answer_of(output: ModelOutput) -> Answer:
    """Return the answer in an output of Inspect, without the reasoning."""
    if output.error or not output.choices:
        return Answer("", False, "server-error", output.error or "the output has no choice")
    reason, content = output.stop_reason, output.message.content
    if reason not in (*_ENDED, *_CUT):
        return Answer("", False, reason.replace("_", "-"), f"the reason to stop is {reason!r}")
    text = output.message.text
    thoughts = [part for part in content if isinstance(part, ContentReasoning)] if isinstance(content, list) else []
    words = sum(len(part.reasoning.split()) or 1 for part in thoughts)
    reasoning_tokens = (output.usage.reasoning_tokens if output.usage else None) or words
    ended = reason in _ENDED
    used_up = reasoning_tokens > 0 and not ended and not text.strip()
    return Answer(text, ended, thought=used_up, reasoning_tokens=reasoning_tokens)


def _messages(prompt: str | tuple[Turn, ...]) -> str | list[ChatMessage]:
    if isinstance(prompt, str):
        return prompt
    messages: dict[str, Any] = {"user": ChatMessageUser, "assistant": ChatMessageAssistant}
    return [messages[turn.role](content=turn.content) for turn in prompt]
