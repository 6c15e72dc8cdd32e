"""The demo's views as HTML. Every text of a visitor is escaped."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from hf_ruleextrap.evaluation import Evaluation
from hf_ruleextrap.evaluation.references import ALWAYS_STOP, CEILING, UNIFORM, heading
from hf_ruleextrap.formal import Language, Rate, Report

from .study import Point
from .views import END, Answer, Reference, RuleTrace

_MARKS = {"kept": "✓", "open": "○", "broken": "✗"}

# Gradio rewrites the rules, and loses a shorthand with a variable of which a later line changes a part.
CSS = """
.gradio-container :focus-visible { outline: 2px solid #3b82f6 !important; outline-offset: 1px; }
.re-rule { margin: 0 0 1.25rem; }
.re-rule h3, .re-model h3 { margin: 0 0 .4rem; font-size: 1rem; font-weight: 600; color: var(--body-text-color); }
.re-chips { display: flex; flex-wrap: wrap; gap: .35rem; padding: 0; margin: 0 0 .4rem; list-style: none; }
.re-chips li { margin: 0; padding: .25rem .4rem; min-width: 3.6rem; text-align: center; border-radius: .4rem;
  border: 1px solid var(--re-line); background: var(--re-fill); color: var(--body-text-color); font-size: .8rem; }
.re-chips b { display: block; font: 600 1.15rem/1.3 ui-monospace, monospace; color: inherit; }
.re-kept { --re-line: #1a8f4a; --re-fill: rgba(26, 143, 74, .16); }
.re-open { --re-line: #b58500; --re-fill: rgba(224, 168, 0, .16); }
.re-broken { --re-line: #cf3a3a; --re-fill: rgba(207, 58, 58, .16); }
.re-why { margin: 0; color: var(--body-text-color); }
.re-rule summary { cursor: pointer; color: var(--body-text-color-subdued); font-size: .85rem; }
.re-error:not(:has(p)) { display: none; }
.re-error p { margin: 0; padding: .4rem .6rem; border-left: 3px solid #cf3a3a; background: rgba(207, 58, 58, .12);
  color: var(--body-text-color); }
.re-model { margin: 0 0 1rem; padding: .8rem; border: 1px solid var(--border-color-primary); border-radius: .5rem; }
.re-grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 23rem), 1fr)); gap: 1rem; }
.re-word { font: 1.05rem/1.5 ui-monospace, monospace; overflow-wrap: anywhere; }
.re-word i { font-style: normal; opacity: .6; }
.re-bars { display: flex; gap: 1px; overflow-x: auto; padding: .2rem 0; }
.re-bar { flex: 1 0 .55rem; max-width: 1.5rem; text-align: center; font: .75rem ui-monospace, monospace;
  color: var(--body-text-color); }
.re-stack { display: flex; flex-direction: column; height: 5rem; border-radius: 3px; overflow: hidden; }
.re-legend { display: flex; flex-wrap: wrap; gap: .2rem .9rem; font-size: .85rem; }
.re-legend span::before { content: ""; display: inline-block; width: .8rem; height: .8rem; margin-right: .3rem;
  border-radius: 2px; background: var(--re-colour); vertical-align: -1px; }
.re-table { overflow-x: auto; }
.re-table caption { text-align: left; white-space: nowrap; }
.re-table table { border-collapse: collapse; border: 0 !important; font-size: .9rem; color: var(--body-text-color); }
.re-table tr { border: 0 !important; }
.re-table td, .re-table th { padding: .25rem .6rem; text-align: left; border-style: solid !important;
  border-color: var(--border-color-primary) !important; border-width: 0 0 1px !important; }
.re-chart { margin: 0 0 1.5rem; color: var(--body-text-color); }
.re-chart figcaption, .re-chart p { margin: 0 0 .8rem; font-size: .9rem; }
.re-plot { position: relative; height: 16rem; margin: 0 1rem 1.6rem 2.2rem;
  border-style: solid; border-color: var(--body-text-color-subdued); border-width: 0 0 1px 1px; }
.re-plot svg { position: absolute; width: 100%; height: 100%; overflow: visible; }
.re-plot polyline { fill: none; stroke: var(--re-colour); stroke-width: 2px; vector-effect: non-scaling-stroke; }
.re-plot i { position: absolute; width: 10px; height: 10px; margin: 0 0 -5px -5px; border-radius: 50%;
  background: var(--re-colour); border: 2px solid var(--re-colour); opacity: .8; }
.re-plot i.re-hollow { background: none; }
.re-plot span { position: absolute; font-size: .75rem; }
.re-plot .re-x { top: calc(100% + .2rem); transform: translateX(-50%); }
.re-plot .re-y { right: calc(100% + .3rem); transform: translateY(50%); }
@media (max-width: 480px) {
  .tab-container button { padding: 0 .4rem !important; }
  .re-table table { font-size: .8rem; min-width: 100%; }
  .re-table caption { white-space: normal; }
  .re-table td, .re-table th { padding: .2rem .25rem; }
}
.re-badge { display: inline-block; margin: .15rem .3rem .15rem 0; padding: .1rem .45rem; border-radius: .8rem;
  font-size: .8rem; border: 1px solid var(--re-line); background: var(--re-fill); color: var(--body-text-color); }
"""

# Gradio's tabs answer Tab and Enter alone.
KEYS = """() => document.addEventListener("keydown", event => {
  const tab = event.target.closest("[role=tab]");
  if (!tab) return;
  const tabs = [...tab.closest("[role=tablist]").querySelectorAll("[role=tab]")];
  const place = tabs.indexOf(tab), last = tabs.length - 1;
  const next = {ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: last}[event.key];
  if (next === undefined) return;
  event.preventDefault();
  const other = tabs[next < 0 ? last : next > last ? 0 : next];
  other.click();
  other.focus();
})"""
"""A script that opens the other views with the arrow keys, Home and End while a tab has the focus."""

# Okabe and Ito's colours, which people with colour blindness can tell apart; the end is grey.
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#882255")
_END_COLOUR = "#9a9a9a"


def error_html(message: str) -> str:
    """Return a message beside a field; an empty text for no message."""
    return f'<p role="alert">{escape(message)}</p>' if message else ""


def kind_html(text: str) -> str:
    """Return the sentences about the kind of a prompt."""
    return f"<p>{escape(text)}</p>"


def rules_html(traces: Sequence[RuleTrace]) -> str:
    """Return the states of each rule along a prompt."""
    return "".join(map(_rule_html, traces))


def _rule_html(trace: RuleTrace) -> str:
    label = "" if trace.label == "all" else f"{trace.label}: "
    chips = "".join(
        f'<li class="re-{state.status}" title="{escape(state.why)}"><b>{escape(state.prefix[-1:]) or "∅"}</b>'
        f"{_MARKS[state.status]} {state.status}</li>"
        for state in trace.states
    )
    reasons = "".join(
        f"<li><code>{escape(state.prefix) or '∅'}</code> {state.status}: {escape(state.why)}</li>"
        for state in trace.states
    )
    return (
        f'<section class="re-rule" data-rule="{trace.label}"><h3>{label}{escape(trace.summary)}</h3>'
        f'<ul class="re-chips">{chips}</ul><p class="re-why">{escape(trace.states[-1].why)}</p>'
        f"<details><summary>The reason at every symbol</summary><ul>{reasons}</ul></details></section>"
    )


def model_html(name: str, language: Language, prompt: str, answers: Sequence[Answer]) -> str:
    """Return the completions of one model: the first with its probabilities, and the verdicts of each."""
    colours = dict(zip(language.alphabet, _COLOURS * 9, strict=False)) | {END: _END_COLOUR}
    first = answers[0]
    legend = "".join(f'<span style="--re-colour:{colours[each]}">{escape(each)}</span>' for each in colours)
    chosen = [*first.completion, END if first.finished else "…"]
    bars = "".join(_bar_html(step, symbol, colours) for step, symbol in zip(first.steps, chosen, strict=False))
    words = "".join(_answer_html(prompt, answer) for answer in answers)
    succeeded = [answer.success for answer in answers if answer.success is not None]
    rate = f"{sum(succeeded)} of {len(succeeded)} succeed" if succeeded else "no rule is open"
    return (
        f'<section class="re-model" data-model="{escape(name)}"><h3>{escape(name)}: '
        f'<span class="re-rate">{rate}</span></h3>{words}'
        f'<div class="re-bars" tabindex="0" aria-label="probabilities of the next symbol">{bars}</div>'
        f'<div class="re-legend">{legend}</div></section>'
    )


def _bar_html(step: dict[str, float], symbol: str, colours: dict[str, str]) -> str:
    parts = "".join(
        f'<div style="flex:{share:.4f} 0 0;background:{colours[each]}" title="{escape(each)} {share:.3f}"></div>'
        for each, share in step.items()
    )
    label = "■" if symbol == END else symbol
    return f'<div class="re-bar"><div class="re-stack">{parts}</div>{escape(label)}</div>'


def _answer_html(prompt: str, answer: Answer) -> str:
    badges = "".join(
        f'<span class="re-badge re-{"kept" if holds else "broken"}">R{number} {"kept" if holds else "broken"}</span>'
        for number, holds in enumerate(answer.rules, start=1)
    )
    end = "" if answer.finished else "…"
    return (
        f'<div class="re-word"><i>{escape(prompt)}</i>{escape(answer.completion)}{end}</div>'
        f"<div>{badges}{'' if answer.finished else 'not finished'}</div>"
    )


def references_html(references: Iterable[Reference]) -> str:
    """Return the rates of the references on a prompt as a table."""
    rows = "".join(
        f"<tr><th>{escape(each.name)}</th>"
        f"<td>{'' if each.rate is None else f'{each.rate:.3f}'}{escape(each.reason)}</td></tr>"
        for each in references
    )
    return (
        '<div class="re-table"><table><caption>The probability that the completion succeeds</caption>'
        f"{rows}</table></div>"
    )


def report_html(report: Report, references: Mapping[str, Report] | None = None, verdict: str = "") -> str:
    """Return the rates of some completions with their intervals as a table.

    Args:
        report: The rates.
        references: The rates of references on the same prompts, by name.
        verdict: A sentence above the table.
    """
    rates: dict[str, Rate] = {"every open rule holds (OOD)": report.headline}
    rates |= {f"the same rate: {name}": reference.headline for name, reference in (references or {}).items()}
    rates |= {"a word of the language": report.grammatical, "finished": report.finished}
    rates["unparsable"] = report.unparsable
    for number, rule in enumerate(report.rules.values(), start=1):
        rates[f"R{number}: {rule.summary}"] = rule.word.all
        rates[f"R{number} on the completion alone"] = rule.completion.all
    rows = "".join(f"<tr><th>{escape(name)}</th>{_rate_cells(rate)}</tr>" for name, rate in rates.items())
    sentence = f"<p>{escape(verdict)}</p>" if verdict else ""
    return (
        f'{sentence}<div class="re-table"><table><thead><tr><th></th><th>rate</th><th>95 % interval</th><th>count</th>'
        f"</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def evaluation_html(evaluation: Evaluation) -> str:
    """Return the rates of a language model beside the references, and the verdict."""
    condition = evaluation.main
    references = {heading(name): condition.references[name] for name in (UNIFORM, ALWAYS_STOP, CEILING)}
    verdict = condition.greedy.verdict
    return report_html(condition.greedy.report, references, "" if verdict is None else verdict.text)


def _rate_cells(rate: Rate) -> str:
    if rate.rate is None:
        return "<td></td><td></td><td>no such completion</td>"
    return f"<td>{rate.rate:.3f}</td><td>{rate.low:.3f} to {rate.high:.3f}</td><td>{rate.hits} of {rate.n}</td>"


def chart_html(title: str, points: Sequence[Point], across: str, up: str, *, joined: bool = False) -> str:
    """Return a chart of points whose y lies between 0 and 1, or the lines that join the points of each series.

    Args:
        title: The title.
        points: The points.
        across: The title of the horizontal axis.
        up: The title of the vertical axis.
        joined: Whether lines join the points.
    """
    if not points:
        return ""
    names = list(dict.fromkeys(point.series for point in sorted(points, key=lambda point: point.series)))
    colours = dict(zip(names, _COLOURS * len(names), strict=False))
    ticks = _ticks(max(point.x for point in points))

    def left(point: Point) -> float:
        return 100 * point.x / ticks[-1]

    marks = "".join(
        f'<i class="{"" if point.standard else "re-hollow"}" title="{escape(point.note)}" '
        f'style="--re-colour:{colours[point.series]};left:{left(point):.2f}%;bottom:{100 * point.y:.2f}%"></i>'
        for point in points
    )
    if joined:
        lines = {name: [point for point in points if point.series == name] for name in names}
        paths = "".join(
            f'<polyline style="--re-colour:{colours[name]}" points="'
            f'{" ".join(f"{left(point):.2f},{100 - 100 * point.y:.2f}" for point in line)}"/>'
            for name, line in lines.items()
        )
        marks = f'<svg viewBox="0 0 100 100" preserveAspectRatio="none">{paths}</svg>'
    labels = "".join(f'<span class="re-x" style="left:{100 * tick / ticks[-1]:.2f}%">{tick:g}</span>' for tick in ticks)
    labels += "".join(f'<span class="re-y" style="bottom:{20 * fifth}%">{fifth / 5:g}</span>' for fifth in range(6))
    legend = "".join(f'<span style="--re-colour:{colours[name]}">{escape(name)}</span>' for name in names)
    hollow = "" if all(point.standard for point in points) else "<p>A hollow point is a run with other settings.</p>"
    return (
        f'<figure class="re-chart"><figcaption><b>{escape(title)}</b><br>up: {escape(up)}</figcaption>'
        f'<div class="re-plot" role="img" aria-label="{escape(title)}">{marks}{labels}</div>'
        f'<p>across: {escape(across)}</p><div class="re-legend">{legend}</div>{hollow}</figure>'
    )


def _ticks(largest: float) -> list[float]:
    """Return round numbers from 0 to the first that is not below the largest value."""
    if largest <= 0:
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(largest / 4))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power * 7 >= largest)
    return [step * number for number in range(math.ceil(largest / step) + 1)]
