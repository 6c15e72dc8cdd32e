"""The demo: its views as plain data, the API, the page in a browser, and the folder of its Space."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import TINY

from hf_ruleextrap import Recipe, get_language, run_recipe, score
from hf_ruleextrap.cli import main
from hf_ruleextrap.demo import study, views
from hf_ruleextrap.demo.checkpoints import find_checkpoints, load_checkpoint
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.report.record import Run

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = Recipe(**TINY, output_dir=str(tmp_path_factory.mktemp("runs") / "tiny"))
    run_recipe(recipe)
    return Path(recipe.run_dir)


@pytest.fixture(scope="module")
def address(run: Path) -> Iterator[str]:
    pytest.importorskip("gradio", reason="the page needs the extra demo")
    from hf_ruleextrap.demo import app, pages

    demo = app.build_demo(find_checkpoints([run]), study.find_studies())
    _, url, _ = demo.launch(
        prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", css=pages.CSS, theme=app.theme()
    )
    yield url
    demo.close()


@pytest.mark.parametrize("name", ["anbn", "dyck", "parity", "s3"])
def test_the_states_are_those_of_the_rules(name: str) -> None:
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


def test_wrong_input_is_one_line() -> None:
    with pytest.raises(RuleExtrapError, match="character 2 is 'x'"):
        views.trace_rules(get_language("anbn"), "axb")
    with pytest.raises(RuleExtrapError, match="at most 40"):
        views.trace_rules(get_language("anbn"), "a" * 41)
    with pytest.raises(RuleExtrapError, match="unknown"):
        views.language_of("evil.py:Language")


def first_study() -> list[Run]:
    return study.read_runs(next(iter(study.find_studies().values())))


def test_the_study_is_that_of_its_file() -> None:
    runs = first_study()
    pair = runs[0].recipe.language, runs[0].recipe.architecture
    view = study.view_study(runs, *pair)
    rates = [run.rates["ood_headline"].rate for run in runs if (run.recipe.language, run.recipe.architecture) == pair]
    assert [row[4] for row in view.table] == [f"{rate:.2f}" for rate in rates]
    assert f"{np.mean(rates):.2f}" in view.sentence
    assert study.view_study(runs).masses == []


def test_the_api_gives_the_numbers_of_score(address: str) -> None:
    from gradio_client import Client

    client = Client(address, verbose=False)
    lines = "prompt,completion,finished\nbaa,b,true\naab,,true\n"
    assert client.predict("anbn", lines, api_name="/score") == score("anbn", ["baa", "aab"], ["b", ""]).to_dict()
    rules = client.predict("anbn", "ba", api_name="/rules")
    assert [state["status"] for state in rules[1]["states"]] == ["kept", "kept", "broken"]
    with pytest.raises(Exception, match="not a symbol"):
        client.predict("anbn", "bx", api_name="/rules")


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_every_view_works_in_a_browser(address: str, run: Path, width: int, scheme: Any) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="the browser is driven by Playwright")
    if not CHROMIUM.exists():
        pytest.skip("there is no /usr/bin/chromium")
    switches = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=switches)
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.set_default_timeout(15_000)
        foreign: list[str] = []
        page.on("request", lambda request: foreign.append(request.url) if "://" in request.url else None)
        page.goto(address)
        page.locator("[data-rule=R2] .re-chips .re-broken").first.wait_for()
        # A click on a symbol extends the prompt; a foreign character is a line beside the field.
        page.get_by_role("button", name="b", exact=True).first.click()
        page.locator("[data-rule=R1] .re-chips li").nth(4).wait_for()
        page.get_by_label("Prompt").first.fill("bx")
        page.get_by_role("alert").filter(has_text="not a symbol").wait_for()

        page.get_by_role("tab", name="Models", exact=True).click()
        answer = views.answer_prompt(load_checkpoint(find_checkpoints([run])[0]), "baa")[0]
        assert page.locator("[data-model] .re-rate").inner_text() == f"{int(bool(answer.success))} of 1 succeed"

        page.get_by_role("tab", name="Study", exact=True).click()
        page.get_by_text(study.view_study(first_study()).sentence).wait_for()

        page.get_by_role("tab", name="Any model", exact=True).click()
        page.get_by_role("button", name="Score", exact=True).click()
        cells = page.locator(".re-report tr").nth(1)
        cells.wait_for()
        rate = score("anbn", ["baa", "aab", "abb"], ["b", "", ""]).headline
        assert f"{rate.hits} of {rate.n}" in cells.inner_text()
        assert f"{rate.rate:.3f}" in cells.inner_text()

        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert [url for url in foreign if not url.startswith((address, "data:", "blob:"))] == []
        browser.close()


def test_the_space_needs_models_that_learned(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["publish", "demo", "--to", str(tmp_path), "--runs", str(run)]) == 2
    assert "no model of these runs learned" in capsys.readouterr().err
    assert main(["publish", "demo", "--to", str(tmp_path)]) == 2
    assert "give --runs" in capsys.readouterr().err


def test_the_space_is_complete(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hf_ruleextrap.demo import checkpoints

    monkeypatch.setattr(checkpoints, "one_of_each", list)
    monkeypatch.setattr("hf_ruleextrap.hub.demo.one_of_each", list)
    assert main(["publish", "demo", "--to", str(tmp_path), "--runs", str(run)]) == 0
    space = tmp_path / "ruleextrap" / "demo"
    (checkpoint,) = find_checkpoints([space])
    original = load_checkpoint(find_checkpoints([run])[0])
    assert views.answer_prompt(load_checkpoint(checkpoint), "baa") == views.answer_prompt(original, "baa")
    assert {path.name for path in space.iterdir()} >= {"app.py", "README.md", "requirements.txt", "results"}
    compile((space / "app.py").read_text(), "app.py", "exec")
