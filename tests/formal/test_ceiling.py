"""The ceiling of each rate bounds every completer, and some completions reach it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest

from hf_ruleextrap import formal, get_language, list_languages
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation import REFERENCES, chance
from hf_ruleextrap.formal import Language, Rate, Report
from hf_ruleextrap.formal.generated import suite

GENERATED = [language.name for language in suite()[::12]]
LIMIT = 24


def rates(report: Report, name: str = "") -> Iterator[tuple[str, Rate]]:
    """Yield every rate of a report and of its groups, with a name for its place in the report."""
    for row in ("headline", "finished", "empty", "unparsable", "grammatical"):
        yield f"{name}{row}", getattr(report, row)
    for rule, of_rule in report.rules.items():
        for on in ("word", "completion"):
            for among in ("all", "finished"):
                yield f"{name}{rule} {on} {among}", getattr(getattr(of_rule, on), among)
    for by, groups in report.groups.items():
        for value, group in groups.items():
            yield from rates(group, f"{name}{by} {value}: ")


@pytest.mark.parametrize("name", [*list_languages(), *GENERATED])
def test_no_reference_is_above_the_ceiling_of_any_row(name: str) -> None:
    language = get_language(name)
    words = language.sample(200, max_length=max(12, language.shortest), rng=np.random.default_rng(0))
    length = min(language.prompt_length, 4)
    best = dict(rates(chance(language, kind=None, length=length, completer="ceiling", max_new_symbols=LIMIT)))
    for completer in REFERENCES:
        report = chance(
            language, kind=None, length=length, completer=completer, max_new_symbols=LIMIT, train_words=words
        )
        for row, rate in rates(report):
            if rate.rate is not None:
                top = best[row].rate
                assert top is not None, (completer, row)
                assert 0 <= rate.rate <= top + 1e-12, (completer, row)


@pytest.mark.parametrize("name", ["anbn", "ban", "bban", "dyck", "abn", "anbm", "tomita5", "dyck1d3", "separated"])
@pytest.mark.parametrize("limit", [0, 2])
def test_each_row_is_the_best_of_all_completions(name: str, limit: int) -> None:
    """Brute force: score every completion within the limit after every prompt, and take the best value of each row."""
    language = get_language(name)
    prompts = language.prompts(length=4, limit=12, rng=np.random.default_rng(1))
    completions = ["".join(word) for n in range(limit + 1) for word in product(language.alphabet, repeat=n)]
    verdicts = formal.score(
        language, prompts, [text for _ in prompts for text in completions], samples=len(completions)
    )

    def best(holds: formal.words.BoolArray) -> formal.words.BoolArray:
        return holds.reshape(len(prompts), -1).any(axis=1)

    bounds = formal.ceiling(language, prompts, max_new_symbols=limit)
    assert bounds.grammatical.hits == best(verdicts.grammatical).sum()
    assert bounds.headline.hits == (best(verdicts.open_hold) & prompts.in_headline).sum()
    for i, rule in enumerate(language.rules):
        report = bounds.rules[rule.name]
        for split, holds in ((report.word, verdicts.word), (report.completion, verdicts.completion)):
            reached = best(holds[:, i])
            assert split.all.hits == reached.sum(), rule.name
            # Among finished completions, ending after one prompt that can count is enough.
            assert split.finished.rate == float(reached.any())


@pytest.mark.parametrize("name", ["ban", "abn", "anbm", "tomita5", "dyck1d3"])
def test_r2_on_the_completion_can_be_kept_after_every_prompt(name: str) -> None:
    report = chance(name, completer="ceiling", max_new_symbols=64)
    assert list(report.rules.values())[1].completion.all.rate == 1.0


def test_the_oracle_does_not_bound_the_rate_of_a_single_row() -> None:
    """The oracle keeps all rules that it can keep together, so another completer can have a higher rate in one row."""
    second = [
        list(chance("ban", completer=name, max_new_symbols=64).rules.values())[1] for name in ("oracle", "uniform")
    ]
    oracle, uniform = (rule.completion.all.rate for rule in second)
    assert oracle is not None
    assert uniform is not None
    assert oracle < uniform


@pytest.mark.parametrize("name", ["dyck", "anbn"])
def test_the_rates_of_a_deterministic_reference_are_exact(name: str) -> None:
    language: Language = get_language(name)
    for completer in ("always-stop", "oracle", "ceiling"):
        report = chance(language, kind=None, completer=completer, max_new_symbols=16)
        assert all(rate.exact for _, rate in rates(report)), completer


@pytest.mark.parametrize("name", ["ban", "anbn", "anbncn", "shuffle3", "dyck", "random-context-free-3"])
def test_chance_after_each_prompt_has_the_mean_of_the_report(name: str) -> None:
    language = get_language(name)
    source = formal.uniform(language)
    for kind in ("ood", "id"):
        prompts = language.prompts(kind, length=4)  # type: ignore[arg-type]
        of_prompts = formal.chance_by_prompt(language, prompts, source, max_new_symbols=12)
        report = formal.chance(language, prompts, source, max_new_symbols=12)
        rate = report.headline if kind == "ood" else report.grammatical
        assert of_prompts.exact == rate.exact
        assert of_prompts.rate == pytest.approx(rate.rate, abs=1e-12)


def test_chance_of_one_kind_of_prompt_equals_its_part_of_the_joint_report() -> None:
    language = get_language("anbn")
    of_id, of_ood = (
        formal.chance(language, language.prompts(kind), formal.uniform(language), max_new_symbols=None)
        for kind in ("id", "ood")
    )
    both = formal.chance(language, language.prompts(), formal.uniform(language), max_new_symbols=None)
    assert of_id.headline.n == 0
    assert of_ood.headline.rate == both.headline.rate
    assert both.groups["kind"]["id"].grammatical == of_id.grammatical


def test_chance_that_would_take_too_long_names_the_largest_limit() -> None:
    language = get_language("anbncndn")
    endless = formal.Source("endless", language.alphabet, 0, np.array([[0.25, 0.25, 0.25, 0.25, 0.0]]))
    with pytest.raises(RuleExtrapError, match="may go on for ever: give max_new_symbols"):
        formal.chance(language, language.prompts(limit=4), endless, max_new_symbols=None)
    message = r"endless through 50,000 new symbols .*: give max_new_symbols <= "
    with pytest.raises(RuleExtrapError, match=message) as caught:
        formal.chance(language, language.prompts(limit=4), endless, max_new_symbols=50_000)
    largest = int(str(caught.value).split("<= ")[1].split(", or")[0].replace(",", ""))
    assert 100 < largest < 5_000
