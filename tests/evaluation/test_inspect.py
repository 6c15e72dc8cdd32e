"""The task for Inspect, and equal scores of Inspect, of lm-evaluation-harness and of our own runner."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hf_ruleextrap.completers import Answer, BackendConfig, text_completer
from hf_ruleextrap.completers.replay import as_json
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation import lm_eval
from hf_ruleextrap.evaluation.protocol import ProtocolSettings, rendered
from hf_ruleextrap.evaluation.results import Outcome
from hf_ruleextrap.evaluation.text import TextRun

pytest.importorskip("inspect_ai", reason="Inspect is not installed: pip install 'hf-ruleextrap[inspect]'")

from inspect_ai import Task, eval  # noqa: A004  # the name in Inspect
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    modelapi,
)

from hf_ruleextrap.evaluation import inspect_tasks

N = 200
ROOT = Path(__file__).parents[2]


@modelapi(name="recorded")
class Recorded(ModelAPI):
    """A model that answers from a record, as our own backend ``replay`` does."""

    def __init__(self, model_name: str, **_: Any) -> None:
        super().__init__(model_name)
        lines = Path(model_name).read_text(encoding="utf-8").splitlines()
        self.rows = {json.dumps(row["prompt"]): row for row in map(json.loads, lines)}

    async def generate(
        self,
        input: list[ChatMessage],  # noqa: A002  # the name in Inspect
        tools: Any,
        tool_choice: Any,
        config: GenerateConfig,
    ) -> ModelOutput:
        del tools, tool_choice
        assert config.temperature == 0
        prompt: Any = [{"role": message.role, "content": message.text} for message in input]
        row = self.rows[json.dumps(prompt if len(prompt) > 1 else prompt[0]["content"])]
        content: Any = row["text"]
        if "reasoning" in row:
            content = [ContentReasoning(reasoning=row["reasoning"]), ContentText(text=row["text"])]
        choice = ChatCompletionChoice(
            message=ChatMessageAssistant(content=content), stop_reason=row.get("stop_reason", "max_tokens")
        )
        return ModelOutput(model="recorded", choices=[choice], usage=ModelUsage(reasoning_tokens=None))


def record(settings: ProtocolSettings, path: Path) -> Counter[str]:
    """Write an answer of every kind for each prompt, and return the number of each kind."""
    rng = np.random.default_rng(0)
    prompts = settings.prompts().texts
    kinds: Counter[str] = Counter()
    lines = []
    for prompt in prompts:
        count = prompt.count("a") - prompt.count("b")
        kind = rng.choice(["balanced", "random", "stops", "prose", "cut", "double space", "fence", "thinks", "thought"])
        reasoning = None
        if kind == "balanced":
            text = " b" * count if count > 0 else " a" * -count
        elif kind == "random":
            text = "".join(rng.choice([" a", " b"], size=rng.integers(1, 9)))
        elif kind == "stops":
            text = ""
        elif kind == "cut":
            text = "".join(rng.choice([" a", " b"], size=settings.max_new_tokens))
        elif kind == "prose":
            text = " the answer is b"
        elif kind == "double space":
            text = " a  b"
        elif kind == "fence":
            text = "```\na b\n```" if settings.chat else " a b"
        elif settings.chat:
            text, reasoning = (" b" if kind == "thinks" else "", "two a, so")
        else:
            text = " b"
        text = text.strip(" ") if settings.chat else text
        ended = kind != "cut" and not (kind == "thought" and settings.chat)
        line: dict[str, Any] = {"prompt": as_json(rendered(settings, prompt)), "text": text}
        line |= {"ended": ended, "stop_reason": "stop" if ended else "max_tokens"}
        if reasoning:
            line |= {"reasoning": reasoning, "reasoning_tokens": 3, "thought": kind == "thought"}
        kinds[str(kind)] += 1
        lines.append(json.dumps(line))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return kinds


def own_rates(settings: ProtocolSettings, path: Path, out: Path) -> tuple[dict[str, float | None], Outcome]:
    """Return the rates of our own runner under the names in the harnesses, and the outcome."""
    completer = text_completer("replay", BackendConfig(str(path)))
    outcome = TextRun(completer, "m", settings, controls=False, out=out)().main.greedy
    report = outcome.report
    first, second = list(report.rules.values())[:2]
    rates = [report.headline, report.grammatical, first.word.all, second.word.all]
    rates += [report.finished, report.empty, report.unparsable]
    by_name = dict(zip(lm_eval.RATES, (rate.rate for rate in rates), strict=True))
    del by_name["grammatical" if settings.kind == "ood" else "open_rules"]
    return by_name, outcome


def inspected(task: Task | str, path: Path, logs: Path, **parameters: Any) -> Any:
    (log,) = eval(
        task, model=f"recorded/{path}", task_args=parameters, log_dir=str(logs), display="none", log_realtime=False
    )
    assert log.status == "success", log.error
    return log


def means(log: Any) -> dict[str, float]:
    """Return the mean of each rate over the samples in which the rate is defined."""
    return {score.name: score.metrics["mean"].value for score in log.results.scores if score.scored_samples}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("chat", [False, True])
def test_inspect_lm_eval_and_our_own_runner_agree_on_200_recorded_answers(chat: bool, tmp_path: Path) -> None:
    # The tasks of lm-eval use plain texts only.
    n = N // 4 if chat else N
    settings = ProtocolSettings("anbn", shots=2, limit=n, samples=0, chat=chat)
    path = tmp_path / "record.jsonl"
    kinds = record(settings, path)
    assert kinds.total() == n
    own, outcome = own_rates(settings, path, tmp_path / "own")
    log = inspected("hf_ruleextrap/ruleextrap", path, tmp_path / "logs", language="anbn", shots=2, limit=n, chat=chat)
    assert means(log) == pytest.approx(own, abs=1e-12)
    statuses = Counter(sample.scores["rules"].explanation for sample in log.samples)
    assert statuses == outcome.statuses
    assert {"ok", "empty", "unfinished", "unparsable"} <= set(statuses)
    counts = [sample.scores["rules"].metadata["reasoning_tokens"] for sample in log.samples]
    assert sum(counts) == outcome.reasoning_tokens
    assert (outcome.reasoning_tokens, statuses["unfinished: reasoning"]) == (
        (3 * (kinds["thinks"] + kinds["thought"]), kinds["thought"]) if chat else (0, 0)
    )
    if chat:
        return
    rows = lm_eval.documents(language="anbn", ruleextrap={"shots": 2, "limit": N})["test"]
    texts = {json.dumps(row["prompt"]): row["text"] for row in map(json.loads, path.read_text().splitlines())}
    scores = [lm_eval.process_results(row, [texts[json.dumps(row["text"])].partition("\n")[0]]) for row in rows]
    assert len(scores) == N
    for name, rate in own.items():
        assert np.mean([score[name] for score in scores if name in score]) == pytest.approx(rate), name


def test_id_prompts_have_the_rate_of_grammatical_words_and_no_headline(tmp_path: Path) -> None:
    settings = ProtocolSettings("dyck", kind="id", shots=2, limit=3, samples=0)
    path = tmp_path / "record.jsonl"
    answers = [" )", "", " ( ("]
    rows = zip(settings.prompts().texts, answers, strict=True)
    path.write_text("".join(json.dumps({"prompt": rendered(settings, p), "text": a}) + "\n" for p, a in rows))
    log = inspected(inspect_tasks.ruleextrap("dyck", kind="id", shots=2, limit=3, chat=False), path, tmp_path / "logs")
    assert "grammatical" in means(log)
    assert "open_rules" not in means(log)
    assert log.eval.task_version == settings.version


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        (ModelOutput.from_content("m", " b", stop_reason="stop"), Answer(" b", True)),
        (ModelOutput.from_content("m", " b", stop_reason="model_length"), Answer(" b", False)),
        (ModelOutput(model="m", error="overloaded"), Answer("", False, "server-error", "overloaded")),
        (ModelOutput(model="m"), Answer("", False, "server-error", "the output has no choice")),
        (
            ModelOutput.from_content("m", "", stop_reason="content_filter"),
            Answer("", False, "content-filter", "the reason to stop is 'content_filter'"),
        ),
    ],
)
def test_each_output_of_inspect_is_an_answer(output: ModelOutput, answer: Answer) -> None:
    assert inspect_tasks.answer_of(output) == answer


def test_an_undefined_rate_is_left_out() -> None:
    settings = ProtocolSettings("anbn", samples=0)
    rates = lm_eval.answer_rates(settings, settings.prompts().texts[0], Answer(" b", True))
    assert "grammatical" not in rates
    assert not any(math.isnan(rate) for rate in rates.values())


def test_invalid_task_parameters_are_refused_with_the_reason() -> None:
    for parameters, message in (
        ({"language": "abab"}, "unknown language 'abab'"),
        ({"language": "anbn", "alphabet": "runes"}, "unknown alphabet 'runes'"),
        ({"language": "anbn", "chat": False, "max_reasoning_tokens": 9}, "max_reasoning_tokens is for conversations"),
    ):
        with pytest.raises(RuleExtrapError, match=message):
            inspect_tasks.ruleextrap(**parameters)  # type: ignore[arg-type]


def test_the_entry_point_names_the_module_of_the_task() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no reader of TOML")
    points = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    assert points["inspect_ai"] == {"hf_ruleextrap": inspect_tasks.__name__}
