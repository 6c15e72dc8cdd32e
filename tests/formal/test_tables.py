"""Look-up tables agree with the rules, for words of every language."""

from __future__ import annotations

import numpy as np
import pytest

from hf_ruleextrap.formal import Language, WordBatch, score, tables, words
from hf_ruleextrap.formal.tables import FlatWords, Tables
from hf_ruleextrap.languages import get_language, list_languages

FOREIGN = "x"


@pytest.fixture
def tables_for_few_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the tables read any number of words."""
    monkeypatch.setattr(words, "FEWEST_SYMBOLS", 0)


def random_words(language: Language, n: int, longest: int, rng: np.random.Generator) -> WordBatch:
    """Return words: half are uniform strings, and half are words of the language with one replaced symbol."""
    codes = np.frombuffer("".join(language.alphabet).encode(), np.uint8)
    lengths = rng.integers(0, longest, size=n // 2, endpoint=True)
    uniform = WordBatch.from_codes(rng.choice(codes, size=(n // 2, longest)), lengths)
    near = language.sample(n - n // 2, max_length=longest, rng=rng)
    changed = near.codes.copy()
    changed[np.arange(len(near)), rng.integers(near.lengths)] = rng.choice(codes, size=len(near))
    return words.concatenate([uniform, WordBatch(changed, near.lengths)])


LANGUAGES = [get_language(name) for name in list_languages()]
AS_IN_THE_PAPER = [type(language)(paper=True) for language in LANGUAGES if language.paper_rules]


@pytest.mark.parametrize("language", [*LANGUAGES, *AS_IN_THE_PAPER], ids=repr)
def test_tables_agree_with_the_rules(language: Language) -> None:
    batch = random_words(language, 100_000, 24, np.random.default_rng(1))
    machines = [*language.rules, language, *(rule.for_completion for rule in language.rules)]
    machine_tables = Tables(machines, language.alphabet, 24)
    states, foreign = machine_tables.read(FlatWords.of(batch))
    verdict = machine_tables.verdict(states)
    assert not foreign.any()
    for i, machine in enumerate(machines):
        state = machine.read(batch, to_the_end=True)
        known = ~verdict.unknown[:, i]
        assert known.mean() > 0.8
        assert (verdict.accepts[known, i] == machine.accepts(state)[known]).all()
        assert (verdict.alive[known, i] == machine.alive(state)[known]).all()


@pytest.mark.parametrize("name", ["anbn", "dyck", "bban"])
@pytest.mark.parametrize("paper", [False, True])
@pytest.mark.parametrize("most_states", [4, 1 << 15])
@pytest.mark.usefixtures("tables_for_few_words")
def test_scores_and_labels_do_not_depend_on_the_tables(
    name: str, paper: bool, most_states: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If tables have only four states, most words leave the tables, and the rules read these words."""
    monkeypatch.setattr(tables, "MOST_TABLE_STATES", most_states)
    language, plain = get_language(name, paper=paper), get_language(name, paper=paper)
    rng = np.random.default_rng(2)
    prompts, batch = random_words(language, 600, 8, rng), random_words(language, 600, 20, rng)
    completions = [text.replace(language.alphabet[0], FOREIGN, row % 3 == 0) for row, text in enumerate(batch)]
    by_table = [language.label(prompts), score(language, prompts, completions), score(language, prompts, batch)]
    with monkeypatch.context() as patch:
        patch.setattr(words, "FEWEST_SYMBOLS", 1 << 60)
        by_rule = [plain.label(prompts), score(plain, prompts, completions), score(plain, prompts, batch)]
    for first, second in zip(by_table, by_rule, strict=True):
        for field in ("ood", "open") if hasattr(first, "ood") else ("empty", "parsed", "word", "completion"):
            assert (getattr(first, field) == getattr(second, field)).all(), field


@pytest.mark.parametrize("dtype", [np.int8, np.int64])
def test_a_compiled_loop_reads_indices(dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = np.array([[0, 1, -1, -1], [-1, 1, 0, 1], [1, 1, 1, 0]], dtype)
    expected = list(WordBatch.from_ids(ids, "ab"))
    monkeypatch.setattr(words, "FEWEST_SYMBOLS", 0)
    assert list(WordBatch.from_ids(ids, "ab")) == expected == ["ab", "", "bbba"]
    ids[1, 2] = 2
    with pytest.raises(ValueError, match="row 1 holds the symbol index 2"):
        WordBatch.from_ids(ids, "ab")
