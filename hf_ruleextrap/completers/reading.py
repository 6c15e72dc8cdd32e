"""Interpret a server's response, and separate the reasoning of a model from its answer."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

from .base import Answer

MEANINGS: Mapping[str, str] = {
    "ended": """
        stop stop_sequence stop_token stop_string stopped eos eos_token eosfound stopstringfound end end_turn
        end_of_turn complete completed finished
    """,
    "cut": """
        length max_tokens max_length max_new_tokens max_output_tokens maxpredictedtokensreached
        contextlengthreached limit model_length token_limit model_context_window_exceeded error_limit
    """,
    "content-filter": """
        content_filter content_filtered safety recitation blocklist prohibited_content spii image_safety
        language refusal error_toxic guardrail_intervened sensitive
    """,
    "tool-call": "tool_calls tool_call tool_use function_call malformed_function_call unexpected_tool_call",
    "broken-off": """
        error abort aborted cancel cancelled canceled user_cancel failed failure timeout time_limit not_finished
        incomplete insufficient_system_resource insufficient_system_resources network_error load unload
        pause_turn
    """,
}
"""The known values of ``finish_reason`` in lower case, separated by spaces, for each meaning."""

REASONS: Mapping[str, str] = {reason: meaning for meaning, reasons in MEANINGS.items() for reason in reasons.split()}
"""The meaning of each known value of ``finish_reason``, in lower case.

``ended`` and ``cut`` are answers; the other meanings are faults. Sources: the documentation of OpenAI, vLLM, SGLang,
TGI, llama.cpp, Ollama, LM Studio, OpenRouter, Anthropic, Google, Mistral, Cohere, DeepSeek, watsonx.
"""

_DETAILS = {
    "content-filter": "the server withheld the answer",
    "tool-call": "the model called a tool and did not answer",
    "broken-off": "the server broke the answer off",
}
_TEXT_PARTS = ("text", "output_text", "refusal")
_THOUGHT_PARTS = ("thinking", "redacted_thinking", "reasoning", "reasoning_content")
_LOGPROBS = ("tokens", "token_logprobs")
# The fields of a part that hold no reasoning.
_NOT_THOUGHT = ("type", "id", "format", "index", "signature", "data")
_REASONING_FIELDS = ("reasoning_content", "reasoning", "reasoning_details", "thinking")


@dataclass
class Failure(Exception):
    """The failure of a request that has no usable response.

    Attributes:
        fault: The fault in one word: ``http-500``, ``timeout``, ``no-connection``, ``bad-json``, ``no-choice``.
        detail: An explanation for people. The server may have written the explanation, so it can contain any text.
        retry_after: The number of seconds that the server wants the client to wait before the next request.
        response: The whole response, if the detail is only a part of the response.
    """

    fault: str
    detail: str
    retry_after: float | None = None
    response: str = ""


def read_response(body: bytes, *, chat: bool) -> Answer:
    """Read the first choice of a response. The parts of a response may have any type.

    Args:
        body: The response to a request for one choice.
        chat: Whether the response is a message of a conversation.

    Returns:
        The answer. It has a fault if the request must not be sent again.

    Raises:
        Failure: If the response is broken, or if the server reports an error.
    """
    response, text_of_body = _json(body), body.decode("utf-8", "replace")
    choices = response.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        error = _error_in(response)
        if error:
            raise Failure("server-error", error, response=text_of_body)
        if "choices" not in response:
            raise Failure("bad-json", text_of_body)
        raise Failure("no-choice", f"the response has no choice in it: {text_of_body}")
    message = choice.get("message") if chat else choice
    message = message if isinstance(message, dict) else {}
    error = _error_in(response) or _error_in(choice) or _error_in(message)
    if error:
        raise Failure("server-error", error, response=text_of_body)
    reason = choice.get("finish_reason")
    meaning = _meaning(reason)
    if meaning == "broken-off":
        raise Failure(meaning, f"{_DETAILS[meaning]}: finish_reason {reason!r}")
    if meaning in _DETAILS:
        return Answer("", False, meaning, f"{_DETAILS[meaning]}: finish_reason {reason!r}")
    text, thoughts = _text_of(message.get("content" if chat else "text"))
    # Some servers return a refusal in a separate field. A refusal is an answer without symbols.
    if text is None and isinstance(message.get("refusal"), str):
        text = message["refusal"]
    reasoning_tokens = _reasoning_tokens(response, message, thoughts)
    if text is None and meaning != "cut":
        if reasoning_tokens:
            return Answer("", False, "only-reasoning", "the server returned reasoning without an answer")
        raise Failure("no-choice", f"the choice has no text in it: {text_of_body}")
    if meaning not in ("ended", "cut"):
        return Answer("", False, meaning, f"the meaning of finish_reason {reason!r} is unknown; the text is {text!r}")
    used_up = (reasoning_tokens > 0 or (chat and text is None)) and not (text or "").strip()
    ended = meaning == "ended"
    return Answer(text or "", ended, thought=used_up and not ended, reasoning_tokens=reasoning_tokens)


def read_log_probability(body: bytes, *, before: str, after: str) -> float:
    """Read the log-probability of a text after another text from a response that repeats both as the prompt.

    Special tokens before the prompt, and new tokens after the prompt, are not read.

    Args:
        body: The response to a request with ``echo`` and ``logprobs`` for the two texts.
        before: The first text.
        after: The second text.

    Returns:
        The sum of the log-probabilities of the tokens of the second text, in nats.

    Raises:
        Failure: If the response is broken, or if it holds no log-probabilities of the tokens of the second text.
    """
    response = _json(body)
    choices = response.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    error = _error_in(response) or (_error_in(choice) if isinstance(choice, dict) else "")
    if error:
        raise Failure("server-error", error, response=body.decode("utf-8", "replace"))
    logprobs = choice.get("logprobs") if isinstance(choice, dict) else None
    tokens, values = (logprobs.get(name) if isinstance(logprobs, dict) else None for name in _LOGPROBS)
    if not (isinstance(tokens, list) and isinstance(values, list) and len(tokens) == len(values)):
        raise Failure("no-log-probabilities", "the response has no token_logprobs")
    place = "".join(map(str, tokens)).find(before + after)
    if place < 0:
        raise Failure("no-log-probabilities", "the tokens in the response do not spell the prompt")
    # The places at which a token begins, in the text of all tokens.
    begins = list(accumulate((len(str(token)) for token in tokens), initial=0))
    border, end = place + len(before), place + len(before) + len(after)
    if border not in begins or end not in begins:
        raise Failure(
            "no-log-probabilities", f"a token holds the end of {before[-10:]!r} and the beginning of {after[:10]!r}"
        )
    of_second = [value for value, begin in zip(values, begins, strict=False) if border <= begin < end]
    # A server's rounding may make the logarithm of 1 larger than 0.
    if not all(type(value) in (int, float) and value < 1e-3 for value in of_second):
        raise Failure("no-log-probabilities", f"the log-probabilities in the response are {of_second}")
    return math.fsum(of_second)


def _json(body: bytes) -> dict[str, Any]:
    try:
        response = json.loads(body)
    except (ValueError, RecursionError):
        response = None
    if not isinstance(response, dict):
        raise Failure("bad-json", body.decode("utf-8", "replace"))
    return response


def _meaning(reason: object) -> str:
    """Return the meaning of a reason. An unknown reason is a fault whose name contains the reason."""
    if reason is None or reason == "":
        return "reason-missing"
    if not isinstance(reason, str):
        return "reason-not-text"
    name = re.sub(r"[^a-z0-9]+", "_", reason.lower()).strip("_")
    return REASONS.get(name) or f"reason-{name[:40] or 'not-text'}"


def _error_in(part: Mapping[str, Any]) -> str:
    """Return the server's message about an error, or an empty text if the server reports no error."""
    error = part.get("error")
    if part.get("object") == "error":
        error = error or part.get("message") or "error"
    if isinstance(error, dict):
        error = {name: value for name, value in error.items() if value}
        error = error.get("message") or (json.dumps(error) if error else "")
    return str(error) if error else ""


def _text_of(content: object) -> tuple[str | None, list[object]]:
    """Return the text of a message's content, or None without text; and the parts of the content that are reasoning.

    The content is a string, or a list of parts.

    Raises:
        Failure: If a part has an unknown type.
    """
    if not isinstance(content, list):
        return (content if isinstance(content, str) else None), []
    texts: list[str] = []
    thoughts: list[object] = []
    for part in content:
        fields = {"type": "text", "text": part} if isinstance(part, str) else part if isinstance(part, dict) else {}
        kind = fields.get("type")
        if kind in _THOUGHT_PARTS:
            thoughts.append(part)
            continue
        text = fields.get("refusal" if kind == "refusal" else "text")
        if kind not in _TEXT_PARTS or not isinstance(text, str):
            raise Failure("no-choice", f"the answer has a part that is not text: {part}")
        texts.append(text)
    return ("".join(texts) if texts else None), thoughts


def _reasoning_tokens(response: Mapping[str, Any], message: Mapping[str, Any], thoughts: list[object]) -> int:
    """Return the number of tokens of reasoning as the server counts them, or else the number of words in the reasoning.

    Args:
        response: The whole response.
        message: The message of the first choice.
        thoughts: The parts of the message's content that are reasoning.
    """
    usage = response.get("usage")
    details = usage.get("completion_tokens_details") if isinstance(usage, dict) else None
    counts = [part.get("reasoning_tokens") for part in (usage, details) if isinstance(part, dict)]
    fields = [message[field] for field in _REASONING_FIELDS if message.get(field)]
    # A server may repeat the reasoning in another field.
    words = max((len(_words_in(part).split()) or 1 for part in [*fields, thoughts] if part), default=0)
    return max([count for count in counts if type(count) is int and count > 0], default=words)


def _words_in(part: object) -> str:
    """Return the texts in a part of reasoning, which a server may nest."""
    if isinstance(part, dict):
        part = [value for name, value in part.items() if name not in _NOT_THOUGHT]
    return " ".join(map(_words_in, part)) if isinstance(part, list) else part if isinstance(part, str) else ""


# How servers refuse a parameter that they do not know, and a value that they do not accept.
_UNKNOWN = re.compile(
    r"unsupported(?! value)|not[ _](?:\w+[ _]){0,2}support|no support|unknown|unrecogni[sz]ed|unexpected|deprecated"
    r"|extra[ _](?:inputs|fields|forbidden)|not (?:permitted|allowed|accepted|available|recogni[sz]ed)"
    r"|cannot find field|max_completion_tokens.{0,3} instead",
    re.IGNORECASE,
)
_UNSUPPORTED_VALUE = re.compile("unsupported value", re.IGNORECASE)
_WRONG_VALUE = re.compile(
    r"unsupported value|invalid|must be|should be|only|greater|less|range|cannot (?:both )?be", re.IGNORECASE
)
_LIMITS = ("max_tokens", "max_completion_tokens")
# How a message may mention a parameter, the clearest form first. The name stands in the place of NAME.
_MENTIONS = (
    # A field of the response, which may itself be quoted in a text.
    r"\b(?:param|loc)\W{1,8}(?:body\W{1,8})?NAME\b",
    r"""(?<=['"`])NAME(?=['"`])""",
    r"(?i)\b(?:param|parameter|argument|field|property|name|supplied|support|model|invalid|unknown|unsupported|unexpected|"
    r"unrecognized|value of|value for)s?\W{1,3}NAME\b",
    r"(?i)\bNAME\W{1,4}(?:is|are|must|should|does|cannot|can't|may|parameter|field|not|unsupported|extra|unknown|"
    r"invalid|unexpected|only|value|out of)\b",
)


def refused_parameter(response: str, sent: Iterable[str]) -> str | None:
    """Return the parameter that a server refuses by name, or None.

    If the response mentions several parameters, the clearest mention counts, and then the mention that is closest to
    the refusal. A complaint about the value of a limit is no refusal: without the limit, the answer would be longer.

    Args:
        response: The response of a server that refuses a request.
        sent: The names of the parameters in the request.
    """
    # A server may quote the response of another server, with escaped line breaks and quotation marks.
    text = re.sub(r"\\+n", "\n", response).replace("\\", "")
    unknown, wrong_value = ([match.span() for match in form.finditer(text)] for form in (_UNKNOWN, _WRONG_VALUE))
    limit_unknown = [] if _UNSUPPORTED_VALUE.search(text) else unknown
    mentions = [
        (form, min(max(start - mention.end(), mention.start() - end, 0) for start, end in refusals), name)
        for name in sent
        if (refusals := limit_unknown if name in _LIMITS else unknown or wrong_value)
        for form, pattern in enumerate(_MENTIONS)
        for mention in re.finditer(pattern.replace("NAME", re.escape(name)), text)
    ]
    return min(mentions, default=(0, 0, None))[2]


_NAMES = "(?:seed:)?(?:think|thinking|thought|reasoning)"
# The marks of models whose server, or whose chat template, leaves the reasoning in the text.
_BEGIN = rf"<{_NAMES}>|\[THINK\]|◁think▷|<\|channel\|>analysis<\|message\|>"
_BEGINS = re.compile(rf"\s*(?:{_BEGIN})")
_LEFT_OPEN = re.compile(rf"(?:{_BEGIN})\s*\Z")
_END = rf"</{_NAMES}>|\[/THINK\]|◁/think▷|<\|channel\|>final<\|message\|>"
_ENDS = re.compile(_END)
_MARKS = re.compile(f"{_BEGIN}|{_END}")


class Split(NamedTuple):
    """A text in two parts.

    Attributes:
        thoughts: The reasoning, without its marks; empty without reasoning.
        answer: The text after the reasoning.
        open: Whether the text stops before the reasoning ends.
    """

    thoughts: str
    answer: str
    open: bool


def split_thoughts(text: str) -> Split:
    """Split a text after its last mark that ends a piece of reasoning.

    >>> split_thoughts("<think>There are two a.</think> b b")
    Split(thoughts='There are two a.', answer=' b b', open=False)
    >>> split_thoughts("<think>There are").open
    True
    """
    *_, end = [0, *(mark.end() for mark in _ENDS.finditer(text))]
    if _BEGINS.match(text, end):
        return Split(_MARKS.sub("", text), "", open=True)
    return Split(_MARKS.sub("", text[:end]), text[end:], open=False)


def opened_thought(prompt: str) -> str:
    """Return the mark at the end of a prompt that begins the model's reasoning, or an empty text."""
    mark = _LEFT_OPEN.search(prompt)
    return mark[0] if mark else ""
