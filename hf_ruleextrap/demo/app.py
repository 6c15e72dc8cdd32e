"""The Gradio page of the demo. The content of the views is in `views`, `study` and `pages`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import cache, wraps
from pathlib import Path
from threading import Thread
from typing import Any

# Gradio reads the switch when it is imported.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation.evaluate import parse_completions
from hf_ruleextrap.languages import get_language, list_languages
from hf_ruleextrap.report.record import Run

from . import pages, study, views
from .checkpoints import Checkpoint, find_checkpoints, load_checkpoint

_LANGUAGE = "anbn"
_MOST_BUTTONS = 8
_SAMPLES = 10
_EXAMPLE = "prompt,completion,finished\nbaa,b,true\naab,,true\nabb,,true\n"
# A change while an answer is on its way is answered afterwards. Without this trigger mode, or without the queue, the
# answer to the last change would be lost.
_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "trigger_mode": "always_last"}
_FONT = ["system-ui", "sans-serif"]


def build_demo(
    checkpoints: Sequence[Checkpoint],
    studies: dict[str, Path],
    languages: Sequence[str] = (),
    *,
    servers: bool = False,
) -> gr.Blocks:
    """Return the page.

    Args:
        checkpoints: The checkpoints of the view of models.
        studies: The Parquet files of the studies by name.
        languages: Languages in files, ``FILE.py:CLASS``, that `get_language` has loaded.
        servers: Whether the page may send requests to servers on this machine.
    """
    names = [*languages, *list_languages()]
    with gr.Blocks(title="Rule extrapolation", analytics_enabled=False) as demo:
        gr.Markdown(
            "# Rule extrapolation\nA formal language is the intersection of rules. A prompt breaks one of them: "
            "does the completion keep the other?"
        )
        with gr.Tab("Rules", id="rules"):
            _rules_view(demo, names)
        with gr.Tab("Models", id="models"):
            _models_view(demo, checkpoints)
        with gr.Tab("Study", id="study"):
            _study_view(demo, studies)
        with gr.Tab("Any model", id="any"):
            _any_model_view(names, servers=servers)
    return demo


def launch(
    runs: Sequence[str | Path] = (),
    *,
    languages: Sequence[str] = (),
    results: str | Path = study.COMMITTED,
    servers: bool = False,
    port: int | None = None,
    **settings: Any,
) -> str:
    """Start the server of the page and wait for its end.

    Args:
        runs: Run folders, folders of runs, or the folder of a Space.
        languages: Languages in files, ``FILE.py:CLASS``, that `get_language` has loaded.
        results: The folder of the studies.
        servers: Whether the page may send requests to servers on this machine, which no Space should do.
        port: The port; by default the first free one from 7860.
        **settings: Further arguments of ``gradio.Blocks.launch``.

    Returns:
        The address of the page, which is of use with ``prevent_thread_lock=True``.

    Raises:
        RuleExtrapError: If a folder holds no finished run, or the port is in use.
    """
    checkpoints = find_checkpoints(runs)
    demo = build_demo(checkpoints, study.find_studies(results), languages, servers=servers)
    # The first visitor does not wait for the models and their libraries.
    Thread(target=_load_all, args=(checkpoints,), daemon=True).start()
    try:
        looks: dict[str, Any] = {"css": pages.CSS, "js": pages.KEYS, "theme": theme(), "footer_links": ["api"]}
        _, address, _ = demo.launch(server_port=port, **looks, **settings)
    except OSError as error:
        raise RuleExtrapError(f"the server cannot start: {error}".splitlines()[0]) from None
    return str(address)


def _load_all(checkpoints: Sequence[Checkpoint]) -> None:
    for checkpoint in checkpoints:
        # A checkpoint that cannot be loaded is reported beside the field when a visitor asks for it.
        with suppress(RuleExtrapError):
            load_checkpoint(checkpoint)


def theme() -> gr.themes.Base:
    """Return the theme, whose fonts are those of the reader's machine, and whose fields are visible on white."""
    soft = gr.themes.Soft(primary_hue="blue", font=_FONT, font_mono=["ui-monospace", "monospace"])
    edges = {"input_border_width": "1px", "input_border_color": "*neutral_300", "checkbox_border_color": "*neutral_400"}
    return soft.set(**edges, input_border_color_dark="*neutral_600", checkbox_border_color_dark="*neutral_500")


def _caught(view: Callable[..., Sequence[Any]], empty: Sequence[Any]) -> Callable[..., tuple[Any, ...]]:
    """Return a function that also returns the line beside the field, and empty results with a message."""

    def guarded(*values: Any) -> tuple[Any, ...]:
        try:
            return (pages.error_html(""), *view(*values))
        except RuleExtrapError as error:
            return (pages.error_html(str(error)), *empty)

    return guarded


def _raising(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of the API, which reports a mistake as an error of Gradio."""

    @wraps(call)
    def guarded(*values: Any) -> Any:
        try:
            return call(*values)
        except RuleExtrapError as error:
            raise gr.Error(str(error)) from None

    return guarded


def _prompt_field(language: gr.Dropdown, start: str) -> tuple[gr.Textbox, Any]:
    """Add the field of a prompt, with a button for each symbol; return the field and the event of another language."""
    prompt = gr.Textbox(start, label="Prompt", max_lines=1, elem_classes="re-prompt")
    with gr.Row():
        symbols = _buttons_of(get_language(_LANGUAGE).alphabet)
        buttons = [gr.Button(**symbol, size="sm", min_width=48) for symbol in symbols]
        undo = gr.Button("⌫ Undo", size="sm", min_width=80)
        clear = gr.Button("Clear", size="sm", min_width=80)
        draw = gr.Button("Random OOD prompt", size="sm", min_width=160)
    # The browser edits the prompt itself, so that only the answer needs the server.
    for button in buttons:
        button.click(None, [prompt, button], prompt, js="(text, symbol) => text + symbol", api_visibility="private")
    undo.click(None, prompt, prompt, js="text => text.slice(0, -1)", api_visibility="private")
    clear.click(None, None, prompt, js="() => ''", api_visibility="private")

    def alphabet_of(name: str) -> list[Any]:
        return [gr.update(**button) for button in _buttons_of(views.language_of(name).alphabet)]

    # Leaving the field with the keyboard is an `input`, although the language stays the same.
    language.change(alphabet_of, language, buttons, **_QUIET)
    other_language = language.change(views.draw_prompt, language, prompt, **_QUIET)
    draw.click(views.draw_prompt, language, prompt, **_QUIET)
    return prompt, other_language


def _buttons_of(alphabet: Sequence[str]) -> list[dict[str, Any]]:
    """Return the text and the visibility of each button; the buttons that the alphabet does not need are hidden."""
    return [{"value": "".join(alphabet[i : i + 1]), "visible": i < len(alphabet)} for i in range(_MOST_BUTTONS)]


def _rules_view(demo: gr.Blocks, languages: Sequence[str]) -> None:
    language = gr.Dropdown(list(languages), value=_LANGUAGE, label="Language")
    prompt, other_language = _prompt_field(language, "baa")
    error = gr.HTML(elem_classes="re-error")
    kind = gr.HTML(elem_classes="re-kind")
    traces = gr.HTML(elem_classes="re-rules")

    def show(name: str, text: str) -> tuple[str, str]:
        known = views.language_of(name)
        html = pages.rules_html(views.trace_rules(known, text))
        return pages.kind_html(views.kind_of(known, text)), html

    guarded = _caught(show, ["", ""])
    inputs, outputs = [language, prompt], [error, kind, traces]
    gr.on([demo.load, prompt.change], guarded, inputs, outputs, **_QUIET)
    other_language.then(guarded, inputs, outputs, **_QUIET)

    def rules(language: str, prompt: str) -> list[dict[str, Any]]:
        return [asdict(trace) for trace in views.trace_rules(views.language_of(language), prompt)]

    gr.api(_raising(rules), api_name="rules")


def _models_view(demo: gr.Blocks, checkpoints: Sequence[Checkpoint]) -> None:
    if not checkpoints:
        gr.Markdown(
            "This demo was started without checkpoints. `hf-ruleextrap train quickstart` trains a model in half a "
            "minute, and `hf-ruleextrap demo` in the same folder shows it here. `hf-ruleextrap sweep demo --out runs` "
            "trains one model for each language of the paper and each architecture that learns it."
        )
        return
    of_language: dict[str, list[Checkpoint]] = {}
    for checkpoint in checkpoints:
        of_language.setdefault(checkpoint.language, []).append(checkpoint)
    first = _LANGUAGE if _LANGUAGE in of_language else next(iter(of_language))
    language = gr.Dropdown(list(of_language), value=first, label="Language")
    # Three of the five models of the study keep R1 after this prompt.
    prompt, other_language = _prompt_field(language, "aaaaabab" if first == _LANGUAGE else views.draw_prompt(first))
    error = gr.HTML(elem_classes="re-error")
    with gr.Row():
        way = gr.Radio(["greedy", "sampled"], value="greedy", label="Completions", min_width=200)
        seed = gr.Number(0, precision=0, minimum=0, label="Seed of the samples", min_width=120)
        rational = gr.Checkbox(label="Ask the rational learner (up to a minute for some languages)", min_width=200)
    kind = gr.HTML(elem_classes="re-kind")
    models = gr.HTML(elem_classes="re-models")
    references = gr.HTML(elem_classes="re-references")

    def ask(name: str, text: str, way: str, seed: float | None) -> dict[str, list[views.Answer]]:
        samples = _SAMPLES if way == "sampled" else None
        return {
            each.name: views.answer_prompt(load_checkpoint(each), text, samples=samples, seed=int(seed or 0))
            for each in of_language.get(name, ())
        }

    def show(name: str, text: str, way: str, seed: float | None, rational: bool) -> tuple[str, str, str]:
        known = views.language_of(name)
        (label,) = views.read_prompt(known, text)
        cards = (
            pages.model_html(each, known, label.text, answers) for each, answers in ask(name, text, way, seed).items()
        )
        table = pages.references_html(views.references_of(name, label.text, rational=rational))
        return pages.kind_html(views.kind_of(known, text)), f'<div class="re-grid">{"".join(cards)}</div>', table

    guarded = _caught(show, ["", "", ""])
    inputs, outputs = [language, prompt, way, seed, rational], [error, kind, models, references]
    changes = [demo.load, prompt.change, way.change, seed.change, rational.change]
    gr.on(changes, guarded, inputs, outputs, **_QUIET)
    other_language.then(guarded, inputs, outputs, **_QUIET)

    def models_api(language: str, prompt: str, way: str, seed: int) -> dict[str, Any]:
        answers = ask(language, prompt, way, seed)
        return {name: [asdict(answer) for answer in of_model] for name, of_model in answers.items()}

    gr.api(_raising(models_api), api_name="models")


def _study_view(demo: gr.Blocks, studies: dict[str, Path]) -> None:
    if not studies:
        gr.Markdown("The studies are not installed with the package: start the demo in a clone of the repository.")
        return

    @cache
    def runs_of(name: str) -> list[Run]:
        if name not in studies:
            raise RuleExtrapError(f"the study {name!r:.60} is unknown: choose one of {', '.join(studies)}")
        return study.read_runs(studies[name])

    first = next(iter(studies))
    languages, architectures = study.choices_of(runs_of(first))
    with gr.Row():
        name = gr.Dropdown(list(studies), value=first, label="Study", min_width=120)
        language = gr.Dropdown(languages, value=study.ALL, label="Language", min_width=120)
        architecture = gr.Dropdown(architectures, value=study.ALL, label="Architecture", min_width=120)
    error = gr.HTML(elem_classes="re-error")
    sentence = gr.Markdown(elem_classes="re-sentence")
    scatter = gr.HTML(elem_classes="re-scatter")
    lines = gr.HTML(elem_classes="re-lines")
    table = gr.Dataframe(headers=list(study.COLUMNS), interactive=False, label="Runs", elem_classes="re-runs")

    def show(name: str, language: str, architecture: str) -> tuple[str, str, str, list[list[Any]]]:
        view = study.view_study(runs_of(name), language, architecture)
        return (
            view.sentence,
            pages.chart_html("Loss against rate", view.points, study.TEST_LOSS, study.RATE),
            pages.chart_html(
                "Training: which rules do short words keep?", view.masses, study.STEP, study.PROBABILITY, joined=True
            ),
            view.table,
        )

    def choose(name: str) -> tuple[Any, Any]:
        languages, architectures = study.choices_of(runs_of(name))
        return gr.update(choices=languages, value=study.ALL), gr.update(choices=architectures, value=study.ALL)

    outputs = [error, sentence, scatter, lines, table]
    guarded = _caught(show, ["", "", "", []])
    inputs = [name, language, architecture]
    other_study = name.input(choose, name, [language, architecture], **_QUIET)
    other_study.then(guarded, inputs, outputs, **_QUIET)
    gr.on([demo.load, language.input, architecture.input], guarded, inputs, outputs, **_QUIET)

    def study_api(study_name: str, language: str, architecture: str) -> dict[str, Any]:
        return asdict(study.view_study(runs_of(study_name), language, architecture))

    gr.api(_raising(study_api), api_name="study")


def _any_model_view(languages: Sequence[str], *, servers: bool) -> None:
    gr.Markdown(
        "Paste answers of a model of yours: JSON lines with `prompt`, `completion` and `finished`, or a CSV text with "
        "these headings. The numbers are those of `hf-ruleextrap score`."
    )
    language = gr.Dropdown(list(languages), value=_LANGUAGE, label="Language")
    answers = gr.Textbox(_EXAMPLE, label="Answers", lines=8, max_lines=20, elem_classes="re-answers")
    error = gr.HTML(elem_classes="re-error")
    button = gr.Button("Score", variant="primary")
    table = gr.HTML(elem_classes="re-report")

    def report_of(name: str, text: str) -> Any:
        first = text.lstrip()
        rows = parse_completions(first, "the answers", is_csv=not first.startswith("{"))
        return views.score_answers(name, rows)

    button.click(
        _caught(lambda name, text: [pages.report_html(report_of(name, text))], [""]),
        [language, answers],
        [error, table],
        **_QUIET,
    )

    def score(language: str, answers: str) -> dict[str, Any]:
        return dict(report_of(language, answers).to_dict())

    gr.api(_raising(score), api_name="score")
    if servers:
        with gr.Accordion("Ask a model behind a server on this machine", open=False):
            _server_fields(language)


def _server_fields(language: gr.Dropdown) -> None:
    gr.Markdown(
        "An OpenAI-compatible server, such as vLLM, Ollama or `transformers serve`. The model reads words of the "
        "language and continues OOD prompts, as in `hf-ruleextrap evaluate`. Each prompt is one request."
    )
    with gr.Row():
        address = gr.Textbox("http://127.0.0.1:8000/v1", label="Address of the server", max_lines=1, min_width=200)
        model = gr.Textbox(label="Name of the model", max_lines=1, min_width=200)
        prompts = gr.Number(16, precision=0, minimum=1, maximum=views.MOST_ASKED, label="Prompts", min_width=100)
    chat = gr.Checkbox(label="Ask in a conversation (chat models)")
    error = gr.HTML(elem_classes="re-error")
    button = gr.Button("Ask the server", variant="primary")
    table = gr.HTML(elem_classes="re-evaluation")

    def ask(name: str, address: str, model: str, prompts: float | None, chat: bool) -> list[str]:
        evaluation = views.ask_server(name, address, model, prompts=int(prompts or 1), chat=chat)
        return [pages.evaluation_html(evaluation)]

    button.click(
        _caught(ask, [""]), [language, address, model, prompts, chat], [error, table], api_visibility="private"
    )
