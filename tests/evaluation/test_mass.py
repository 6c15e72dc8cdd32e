from __future__ import annotations

import numpy as np
import pytest
import torch

from hf_ruleextrap import exact_mass, formal
from hf_ruleextrap.architectures import build_model
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation.figures import draw_words, new_figure
from hf_ruleextrap.evaluation.likelihood import token_rows
from hf_ruleextrap.evaluation.mass import open_rules_probability
from hf_ruleextrap.languages import get_language, list_languages

MODELS = {
    "lstm": {},
    "transformer": {},
    "gpt2": {"n_embd": 16, "n_layer": 1, "n_head": 2},
    "mamba": {"hidden_size": 8, "num_hidden_layers": 1, "state_size": 4},
}


def test_the_masses_of_a_small_chain_are_those_computed_by_hand() -> None:
    # After every prefix, a has the probability 1/2, and b and the end have 1/4 each.
    language = get_language("anbn")
    chain = formal.Source("chain", ("a", "b"), 0, np.array([[0.5, 0.25, 0.25]]))
    mass = exact_mass(chain, "anbn", max_length=2)
    assert mass.both == pytest.approx(1 / 2 * 1 / 4 * 1 / 4)  # ab
    assert mass.only_r1 == pytest.approx(1 / 4 * 1 / 2 * 1 / 4)  # ba
    assert mass.only_r2 == pytest.approx(1 / 4 * (1 / 2 + 1 / 4 + 1 / 4 + 1 / 16))  # a, b, aa, bb
    assert mass.neither == 0
    assert mass.longer == pytest.approx((3 / 4) ** 3)
    # The impossible symbols are b at the beginning, and a or b after ab.
    assert mass.impossible == pytest.approx(1 / 4 + 1 / 8 * 3 / 4)
    prompt = language.label(["ba"])
    # The completions that keep R1 are the empty one, ab and ba.
    probabilities = open_rules_probability(chain, "anbn", prompt, max_new_symbols=2)
    assert probabilities.tolist() == pytest.approx([1 / 4 + 2 * 1 / 8 * 1 / 4])


@pytest.mark.parametrize("name", list_languages(tag="paper"))
def test_the_masses_cover_all_words_and_add_up_to_one(name: str) -> None:
    language = get_language(name)
    length = 6 if len(language.alphabet) < 4 else 4
    k = len(language.alphabet)
    mass = exact_mass(formal.uniform(language), language, max_length=length)
    assert len(set(mass.words)) == len(mass.words) == sum(k**n for n in range(1, length + 1))
    assert sum(mass.cells.values()) + mass.longer + 1 / (k + 1) == pytest.approx(1)
    inside = np.exp(mass.log_probability[language.contains(mass.words)]).sum()
    assert mass.grammatical == pytest.approx(inside)


def test_the_510_words_of_the_paper_fall_into_its_four_cells() -> None:
    language = get_language("anbn")
    mass = exact_mass(formal.uniform(language), language, max_length=8)
    holds = [rule.holds(mass.words) for rule in language.rules]
    cells = [(a & b).sum() for a in (holds[0], ~holds[0]) for b in (holds[1], ~holds[1])]
    assert [int(cell) for cell in cells] == [4, 94, 40, 372]


@pytest.mark.parametrize("architecture", MODELS)
def test_a_model_s_masses_are_those_of_its_full_forward_pass(architecture: str) -> None:
    language = get_language("anbn")
    model = build_model(architecture, language=language, seed=0, **MODELS[architecture]).eval()
    mass = exact_mass(model, language, max_length=7)
    rows = torch.from_numpy(token_rows(mass.words, language))
    with torch.inference_mode():
        logs = model(input_ids=rows).logits.double().log_softmax(-1)
    targets = rows[:, 1:]
    each = logs[:, :-1].gather(-1, targets[..., None])[..., 0] * (targets != 0)
    np.testing.assert_allclose(mass.log_probability, each.sum(dim=1).numpy(), atol=1e-4)


def test_masses_do_not_depend_on_the_number_of_rows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_model("lstm", language="anbn", seed=0)
    whole = exact_mass(model, "anbn", max_length=6)
    monkeypatch.setattr("hf_ruleextrap.evaluation.mass.ROWS_AT_ONCE", 7)
    parts = exact_mass(model, "anbn", max_length=6)
    assert list(parts.words) == list(whole.words)
    np.testing.assert_allclose(parts.log_probability, whole.log_probability, atol=1e-5)


def test_the_probability_of_the_open_rules_is_chance_for_the_uniform_source() -> None:
    language = get_language("ban")
    chain = formal.uniform(language)
    prompts = language.prompts("ood", length=3)
    exact = open_rules_probability(chain, language, prompts, max_new_symbols=8)
    by_walk = formal.chance(language, prompts, chain, max_new_symbols=8)
    assert by_walk.headline.rate == pytest.approx(exact.mean())


@pytest.mark.parametrize("length", [0, 40])
def test_an_impossible_maximum_length_is_refused(length: int) -> None:
    with pytest.raises(RuleExtrapError, match="give"):
        exact_mass(formal.uniform(get_language("anbn")), "anbn", max_length=length)


def test_the_figure_of_all_words_has_axes_and_a_legend() -> None:
    language = get_language("anbn")
    mass = exact_mass(build_model("lstm", language=language, seed=0), language, max_length=4)
    figure = new_figure(10, 3.2, "")
    draw_words(figure, mass, language)
    assert [axes.get_xlabel() for axes in figure.axes] == ["symbols in the word"] * 4
    assert figure.axes[0].get_ylabel() == "probability"
    assert [text.get_text() for text in figure.legends[0].get_texts()][1] == "all words of this length"
    title = figure.axes[0].get_title(loc="left")
    best = max(["ab", "aabb"], key=lambda word: mass.log_probability[list(mass.words).index(word)])
    assert title.startswith("R1 and R2: 2 words")
    assert title.endswith(f"most probable: {best}")
