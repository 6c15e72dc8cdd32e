"""The demo: its views as plain data, the API, the page in a browser, and the folder of its Space."""

from __future__ import annotations

import json
import runpy
import shutil
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from language_models import serving
from tiny import TINY

from hf_ruleextrap import Recipe, get_language, run_recipe, score
from hf_ruleextrap.cli import main
from hf_ruleextrap.demo import study, views
from hf_ruleextrap.demo.checkpoints import Checkpoint, find_checkpoints, load_checkpoint, standard_checkpoints
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.report.record import Run

CHROMIUM = Path("/usr/bin/chromium")

# Clicks a button, and returns the milliseconds until the page shows the answer to the longer prompt.
CLICK = """button => new Promise(resolve => {
  const shown = element => element.offsetParent !== null;
  const all = selector => [...document.querySelectorAll(selector)].filter(shown);
  const prompt = all('.re-prompt textarea, .re-prompt input')[0].value + button;
  const answered = () => {
    const words = all('.re-word i').map(element => element.textContent);
    const symbols = all('[data-rule=R1] .re-chips b').map(element => element.textContent);
    return words.length ? words.every(word => word === prompt) : symbols.slice(1).join('') === prompt;
  };
  const start = performance.now();
  const observer = new MutationObserver(() => answered() && observer.disconnect() | resolve(performance.now() - start));
  observer.observe(document.body, {subtree: true, childList: true, characterData: true});
  all('button').find(element => element.textContent.trim() === button).click();
})"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = Recipe(**TINY, output_dir=str(tmp_path_factory.mktemp("runs") / "tiny"))
    run_recipe(recipe)
    return Path(recipe.run_dir)


def copy_of(run: Path, folder: Path, *, learned: bool = True, **keys: Any) -> Path:
    """Return a copy of a run with another outcome and other recipe keys."""
    shutil.copytree(run, folder)
    results = json.loads((folder / "results.json").read_text())
    results["training"]["learned"] = learned
    results["recipe"] |= keys
    (folder / "results.json").write_text(json.dumps(results))
    return folder


@pytest.fixture(scope="module")
def space(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the Space, moved to another place."""
    folder = tmp_path_factory.mktemp("space")
    copy_of(run, folder / "runs" / "learned")
    assert main(["publish", "demo", "--to", str(folder), "--runs", str(folder / "runs")]) == 0
    return Path(shutil.move(folder / "ruleextrap" / "demo", folder / "elsewhere"))


@pytest.fixture(scope="module")
def address(space: Path) -> Iterator[str]:
    gradio = pytest.importorskip("gradio", reason="the page needs the extra demo")
    names = runpy.run_path(str(space / "app.py"))
    settings = {"server_name": "127.0.0.1", "prevent_thread_lock": True, "quiet": True, "servers": True}
    yield names["launch"]([names["FOLDER"]], results=names["FOLDER"] / "results", **settings)
    gradio.close_all(verbose=False)


@pytest.mark.parametrize("name", ["anbn", "dyck", "parity", "s3"])
def test_the_trace_of_a_prompt_shows_the_states_of_its_rules(name: str) -> None:
    language = get_language(name)
    text = language.prompts("ood", length=6).texts[-1]
    *traces, together = views.trace_rules(language, text)
    for rule, trace in zip(language.rules, traces, strict=True):
        for state in trace.states:
            holds, viable = rule.holds([state.prefix])[0], rule.viable([state.prefix])[0]
            assert state.status == ("kept" if holds else "open" if viable else "broken")
            if "[" in state.why:
                assert rule.holds([state.why.split(": ")[1].split(" keeps")[0].replace("[", "").replace("]", "")])[0]
    assert together.states[-1].status == "broken"


def test_probabilities_are_those_of_the_model_and_verdicts_those_of_score(run: Path) -> None:
    completer = load_checkpoint(find_checkpoints([run])[0])
    answers = [*views.answer_prompt(completer, "b a a"), *views.answer_prompt(completer, "baa", samples=3, seed=1)]
    for answer in answers:
        report = score("anbn", ["baa"], [answer.completion], [answer.finished])
        assert report.headline.hits == answer.success
        assert all(sum(step.values()) <= 1 + 1e-5 for step in answer.steps)
    greedy = answers[0]
    for symbol, step in zip(greedy.completion, greedy.steps, strict=False):
        assert max(step, key=lambda name: step[name]) == symbol


def test_invalid_input_is_refused_in_one_line() -> None:
    with pytest.raises(RuleExtrapError, match="character 2 is 'x'"):
        views.trace_rules(get_language("anbn"), "axb")
    with pytest.raises(RuleExtrapError, match="at most 40"):
        views.trace_rules(get_language("anbn"), "a" * 41)
    with pytest.raises(RuleExtrapError, match="unknown"):
        views.language_of("nolanguage")
    with pytest.raises(RuleExtrapError, match="its code has not run"):
        views.language_of("evil.py:Language")


def first_study() -> list[Run]:
    return study.read_runs(next(iter(study.find_studies().values())))


def test_the_study_view_shows_the_numbers_of_its_file() -> None:
    runs = first_study()
    pair = runs[0].recipe.language, runs[0].recipe.architecture
    view = study.view_study(runs, *pair)
    chosen = [run for run in runs if (run.recipe.language, run.recipe.architecture) == pair]
    assert [row[5] for row in view.table] == [f"{run.rates['ood_headline'].rate:.2f}" for run in chosen]
    learned = [run for run in chosen if run.learned and run.recipe.objective == "likelihood"]
    mean = np.mean([run.rates["ood_headline"].rate for run in learned])
    assert f"{len(learned)} of " in view.sentence
    assert f"{mean:.2f}" in view.sentence
    assert study.view_study(runs).masses == []


def test_runs_that_trained_on_ood_prompts_are_left_out_of_the_mean() -> None:
    of_lstm = [run for run in first_study() if run.recipe.language == "anbn" and run.recipe.architecture == "lstm"]
    recipes = [run.recipe.model_dump_json(exclude={"seed", "output_dir", "objective"}) for run in of_lstm]
    usual = Counter(recipes).most_common(1)[0][0]
    runs = [run for run, recipe in zip(of_lstm, recipes, strict=True) if recipe == usual]
    on_prompts = [run for run in runs if run.recipe.objective != "likelihood"]
    assert on_prompts
    on_words = [run for run in runs if run not in on_prompts]
    assert study.view_study(runs).sentence == study.view_study(on_words).sentence
    hollow = [point for point in study.view_study(runs).points if not point.standard]
    assert len(hollow) == len(on_prompts)
    assert all("objective" in point.note for point in hollow)


def test_the_standard_run_stands_for_its_language_and_architecture(run: Path, tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        # Alphabetically, the runs on OOD prompts and the run with another rate come first.
        copy_of(run, tmp_path / f"a{seed}", seed=seed, objective="adversarial")
        copy_of(run, tmp_path / f"z{seed}", seed=seed, learned=seed > 0)
    copy_of(run, tmp_path / "b", learning_rate=0.1)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "results.json").write_text("{}")
    (chosen,) = standard_checkpoints([tmp_path])
    assert (Path(chosen.folder).name, chosen.seed) == ("z1", 1)


def test_one_checkpoint_loads_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    loading: list[int] = [0, 0]

    def load(*_: object) -> object:
        loading[0] += 1
        loading[1] = max(loading)
        time.sleep(0.02)
        loading[0] -= 1
        return object()

    monkeypatch.setattr("hf_ruleextrap.completers.LocalModel.from_pretrained", load)
    checkpoints = [Checkpoint(f"{n}", f"no folder {n}", "anbn", "lstm", n, True) for n in (1, 2)]
    with ThreadPoolExecutor(4) as visitors:
        models = list(visitors.map(load_checkpoint, 2 * checkpoints))
    assert models[:2] == models[2:]
    assert loading == [0, 1]


def test_the_name_of_a_checkpoint_states_that_it_has_not_learned(run: Path) -> None:
    (checkpoint,) = find_checkpoints([run.parent])
    assert not checkpoint.learned
    assert checkpoint.name == "lstm, seed 0, has not learned the language"


def test_a_server_on_this_machine_gives_the_numbers_of_evaluate(tmp_path: Path) -> None:
    with serving() as server:
        evaluation = views.ask_server("anbn", server.url, "model", prompts=4)
        flags = ["--base-url", server.url, "--model", "model", "--limit=4", "--samples=0", f"--out={tmp_path}"]
        assert main(["evaluate", *flags, "--language", "anbn"]) == 0
    written = json.loads((tmp_path / "evaluation.json").read_text())
    assert evaluation.main.greedy.report.to_dict() == written["conditions"][0]["greedy"]["report"]
    with pytest.raises(RuleExtrapError, match="not on this machine"):
        views.ask_server("anbn", "https://example.org/v1", "model")
    with pytest.raises(RuleExtrapError, match="name of the model is missing"):
        views.ask_server("anbn", server.url, " ")
    with pytest.raises(RuleExtrapError, match="4 of 4 prompts unanswered"):
        views.ask_server("anbn", "http://127.0.0.1:9/v1", "model", prompts=4)


def test_the_api_gives_the_numbers_of_score(address: str) -> None:
    from gradio_client import Client

    client = Client(address, verbose=False)
    lines = "prompt,completion,finished\nbaa,b,true\naab,,true\n"
    assert client.predict("anbn", lines, api_name="/score") == score("anbn", ["baa", "aab"], ["b", ""]).to_dict()
    rules = client.predict("anbn", "ba", api_name="/rules")
    assert [state["status"] for state in rules[1]["states"]] == ["kept", "kept", "broken"]
    with pytest.raises(Exception, match="not a symbol"):
        client.predict("anbn", "bx", api_name="/rules")


def row_of_answer(page: Any, view: str) -> str:
    """Wait for the table of a view and return its first line of numbers; fail with the text of an alert instead."""
    line, alert = page.locator(f".re-{view} tr").nth(1), page.get_by_role("alert").locator("visible=true")
    line.or_(alert).first.wait_for()
    assert alert.all_inner_texts() == []
    return str(line.inner_text())


def fill_until_kept(field: Any, text: str) -> None:
    """Fill a field of a part of the page that has just opened; Gradio may set the default value again after that."""
    for _ in range(20):
        field.fill(text)
        field.page.wait_for_timeout(300)
        if field.input_value() == text:
            return
    raise AssertionError(f"the field holds {field.input_value()!r}, not {text!r}")


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_every_view_works_in_a_browser(
    address: str, space: Path, width: int, scheme: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="the browser is driven by Playwright")
    if not CHROMIUM.exists():
        pytest.skip("there is no /usr/bin/chromium")
    switches = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_api.sync_playwright() as playwright, serving() as server:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=switches)
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.set_default_timeout(30_000)
        sync_api.expect.set_options(timeout=30_000)
        foreign: list[str] = []
        page.on("request", lambda request: foreign.append(request.url) if "://" in request.url else None)
        page.goto(address)
        # The last of several quick changes is answered, also while the page still loads.
        page.get_by_role("button", name="a", exact=True).first.click()
        page.get_by_role("button", name="b", exact=True).first.click()
        page.locator("[data-rule=R2] .re-chips li").nth(5).wait_for()
        # A click on a symbol extends the prompt; a foreign character is a line beside the field.
        waits = {"Rules": [page.evaluate(CLICK, symbol) for symbol in "bab"]}
        page.get_by_label("Prompt").first.fill("bx")
        page.get_by_role("alert").filter(has_text="not a symbol").wait_for()

        # The arrow keys open the other views, from the last view also the first.
        page.get_by_role("tab", name="Rules", exact=True).focus()
        moves = {"ArrowRight": "Models", "End": "Any model", "ArrowLeft": "Study", "Home": "Rules"}
        for key, name in [*moves.items(), ("ArrowLeft", "Any model"), ("ArrowRight", "Rules")]:
            page.keyboard.press(key)
            tab = page.get_by_role("tab", name=name, exact=True)
            sync_api.expect(tab).to_have_attribute("aria-selected", "true")
            sync_api.expect(tab).to_be_focused()

        # The keyboard alone reaches the next view, and the focus is visible.
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        page.keyboard.press("Enter")
        prompt = page.get_by_label("Prompt").locator("visible=true")
        fill_until_kept(prompt, "baa")
        page.locator(".re-word i").get_by_text("baa", exact=True).wait_for()
        (checkpoint,) = find_checkpoints([space])
        answer = views.answer_prompt(load_checkpoint(checkpoint), "baa")[0]
        assert page.locator("[data-model] .re-rate").inner_text() == f"{int(bool(answer.success))} of 1 succeed"
        for symbol in "ab":
            page.get_by_role("button", name=symbol, exact=True).locator("visible=true").click()
        page.locator(".re-word i").get_by_text("baaab", exact=True).wait_for()
        waits["Models"] = [page.evaluate(CLICK, symbol) for symbol in "bab"]

        page.get_by_role("tab", name="Study", exact=True).click()
        page.get_by_text(study.view_study(first_study()).sentence).wait_for()
        assert page.locator(".re-scatter .re-plot i").count() == len(study.view_study(first_study()).points)

        page.get_by_role("tab", name="Any model", exact=True).click()
        page.get_by_role("button", name="Score", exact=True).click()
        shown = row_of_answer(page, "report")
        # Gradio's own borders would be a black grid.
        line = "getComputedStyle(document.querySelector('.re-report tr')).borderTopWidth"
        assert page.evaluate(line) == "0px"
        rate = score("anbn", ["baa", "aab", "abb"], ["b", "", ""]).headline
        assert f"{rate.hits} of {rate.n}" in shown
        assert f"{rate.rate:.3f}" in shown

        page.get_by_role("button", name="Ask a model behind a server").click()
        fields = {"Address of the server": server.url, "Name of the model": "model", "Prompts": "4"}
        for label, text in fields.items():
            fill_until_kept(page.get_by_label(label, exact=True), text)
        for label, text in fields.items():
            sync_api.expect(page.get_by_label(label, exact=True)).to_have_value(text)
        page.get_by_role("button", name="Ask the server", exact=True).click()
        shown = row_of_answer(page, "evaluation")
        report = views.ask_server("anbn", server.url, "model", prompts=4).main.greedy.report
        assert f"{report.headline.hits} of {report.headline.n}" in shown

        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert [url for url in foreign if not url.startswith((address, "data:", "blob:"))] == []
        browser.close()
    medians = {view: round(statistics.median(times)) for view, times in waits.items()}
    with capsys.disabled():
        sys.stdout.write(f"\n{width} px: median milliseconds from a click to the answer: {medians}\n")
    # The limit is generous, because tests of other files may use the cores. docs/demo.md states measured times.
    assert max(medians.values()) < 3000


def test_the_space_needs_models_that_learned(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["publish", "demo", "--to", str(tmp_path), "--runs", str(run)]) == 2
    assert "no model of these runs learned" in capsys.readouterr().err
    assert main(["publish", "demo", "--to", str(tmp_path)]) == 2
    assert "'runs' holds no finished run" in capsys.readouterr().err


def test_the_space_is_complete(run: Path, space: Path) -> None:
    (checkpoint,) = find_checkpoints([space])
    assert checkpoint == Checkpoint("lstm, seed 0", f"{space}/checkpoints/anbn-lstm-seed0", "anbn", "lstm", 0, True)
    original = load_checkpoint(find_checkpoints([run])[0])
    assert views.answer_prompt(load_checkpoint(checkpoint), "baa") == views.answer_prompt(original, "baa")
    assert {path.name for path in space.iterdir()} >= {"app.py", "README.md", "requirements.txt", "results"}
