"""One evaluation for every completer: complete, score, and put chance beside each rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hf_ruleextrap import formal
from hf_ruleextrap.completers.base import Completer, Completions
from hf_ruleextrap.costs import MOST_SECONDS, check_cost
from hf_ruleextrap.errors import check_integer, unknown
from hf_ruleextrap.formal import Kind, Language, PromptSet, Report, WordBatch
from hf_ruleextrap.formal.words import FOREIGN_CODE, BoolArray, Words
from hf_ruleextrap.languages import get_language

REFERENCES = ("uniform", "always-stop", "unigram", "bigram", "trigram", "oracle", "ceiling")
"""What a model is compared with, by name: completers, and the ceiling of each rate by itself."""

_NGRAMS = {"unigram": 1, "bigram": 2, "trigram": 3}
_ORACLE_LIMIT = 10_000
_SHOWN = 6

_SECONDS_A_SYMBOL = 0.006
"""Time for one symbol of the completions of ID and OOD prompts by a small model."""


def score(
    language: str | Language,
    prompts: PromptSet | Words,
    completions: Words,
    finished: Sequence[bool] | BoolArray | None = None,
    *,
    samples: int = 1,
) -> Report:
    """Score completions: count how often prompt and completion keep the rules, with rates and 95 % intervals.

    Args:
        language: a name or a Language.
        prompts: N prompts, as strings, arrays of symbol indices, or a set of `Language.prompts`.
        completions: what was added to each, without BOS and EOS; one with anything but symbols in it is unparsable.
        finished: whether each ended by itself; by default all did.
        samples: completions of each prompt, next to each other; the intervals take them as a cluster.

    Raises:
        RuleExtrapError: unknown language, foreign symbol in a prompt, numbers of rows differ, no rows.

    >>> report = score("anbn", prompts=["baa"], completions=["b"], finished=[True])
    >>> report.headline.rate, report.to_dict()["rules"]["as_equal_bs"]["word"]["all"]["hits"]
    (1.0, 1)
    """
    return formal.aggregate(formal.score(get_language(language), prompts, completions, finished, samples=samples))


def chance(
    language: str | Language,
    *,
    kind: Kind | None = "ood",
    length: int | None = None,
    completer: str = "uniform",
    max_new_symbols: int | None = None,
    train_words: Words | None = None,
) -> Report:
    """Compute the rates of a completer that has learned nothing, on a language's prompts: exactly where possible.

    Args:
        language: a name or a Language.
        kind: of the prompts; None for both.
        length: symbols in a prompt; by default the language's.
        completer: one of `REFERENCES`: ``uniform`` over the symbols and the end, ``always-stop``, ``unigram``,
            ``bigram`` or ``trigram`` of the training words, ``oracle``, which keeps as much as can be kept at once by
            one completion a prompt, or ``ceiling``, which is no completer: each rate is the highest that completions
            within the limit can reach, by itself (`formal.ceiling`).
        max_new_symbols: the length limit; None for no limit.
        train_words: what an n-gram is fitted on; by default 10,000 words of at most 64 symbols, drawn with seed 0.

    Raises:
        RuleExtrapError: unknown language or completer, or no such prompt exists.

    >>> round(chance("anbn", kind="ood", length=8).headline.rate, 4)
    0.1537
    >>> chance("anbn", kind="ood", length=8, completer="oracle").headline.hits
    247
    >>> chance("ban", completer="ceiling").rules["starts_with_b"].completion.all.rate
    1.0
    """
    language = get_language(language)
    if completer not in REFERENCES:
        raise unknown("completer", completer, REFERENCES)
    prompts = language.prompts(kind, length=length)
    if train_words is None and completer in _NGRAMS:
        train_words = language.sample(10_000, max_length=64, rng=np.random.default_rng(0))
    words = None if train_words is None else WordBatch.of(train_words, language.alphabet)
    return _reference(language, prompts, completer, max_new_symbols, words, seed=0)


def reference_reports(
    language: Language,
    prompts: PromptSet,
    max_new_symbols: int | None,
    *,
    train_words: WordBatch | None,
    seed: int,
) -> dict[str, Report]:
    """The report of each reference on the prompts, by name; without training words there are no n-grams."""
    names = [name for name in REFERENCES if train_words is not None or name not in _NGRAMS]
    return {name: _reference(language, prompts, name, max_new_symbols, train_words, seed=seed) for name in names}


def _reference(
    language: Language, prompts: PromptSet, name: str, limit: int | None, words: WordBatch | None, *, seed: int
) -> Report:
    most = _ORACLE_LIMIT if limit is None else limit
    if name == "ceiling":
        return formal.ceiling(language, prompts, max_new_symbols=most)
    if name == "oracle":
        completions = formal.oracle(language, prompts, max_new_symbols=most)
        return formal.aggregate(formal.score(language, prompts, *completions)).as_exact()
    if name in _NGRAMS:
        assert words is not None
        source = formal.ngram(language, words, _NGRAMS[name])
    else:
        source = {"uniform": formal.uniform, "always-stop": formal.always_stop}[name](language)
    return formal.chance(language, prompts, source, max_new_symbols=limit, seed=seed)


@dataclass(frozen=True)
class Sample:
    """One completion, to be read.

    Attributes:
        prompt, completion: their symbols; a token that is no symbol is a question mark.
        finished: it ended by itself.
        rules: for each rule, in order, whether it is kept as the rates count it: the rule holds for the whole word, and
            the completion finished and holds symbols alone.
    """

    prompt: str
    completion: str
    finished: bool
    rules: tuple[bool, ...]

    def __str__(self) -> str:
        """The prompt, a bar, the completion, and its end if there was one."""
        end = " <eos>" if self.finished else " …"
        return f"{' '.join(self.prompt)} │ {' '.join(self.completion)}{end}".replace("│  ", "│ ")


@dataclass(frozen=True)
class KindEvaluation:
    """The prompts of one kind.

    Attributes:
        report: what the completer did.
        references: what others do on the same prompts, by name: ``uniform`` (chance), ``always-stop``, n-grams where
            the training words are known, ``oracle``, and ``ceiling``, the highest value of each rate by itself.
        samples: a few completions.
    """

    report: Report
    references: dict[str, Report]
    samples: list[Sample]

    @property
    def chance(self) -> Report:
        """What uniformly random symbols and an end achieve."""
        return self.references["uniform"]


@dataclass(frozen=True)
class Evaluation:
    """The rates of one completer on the ID and OOD prompts of a language, as an `Evaluator` returns them.

    Attributes:
        language: its name.
        prompt_length: symbols in each prompt.
        max_new_symbols: the length limit of a completion.
        kinds: ``id`` and ``ood``.

    >>> from hf_ruleextrap import Evaluator, get_language
    >>> from hf_ruleextrap.completers import Oracle
    >>> language = get_language("anbn")
    >>> evaluation = Evaluator(language, max_new_symbols=16)(Oracle(language))
    >>> evaluation.language, evaluation.prompt_length, round(evaluation.kinds["ood"].report.headline.rate, 2)
    ('anbn', 8, 0.98)
    """

    language: str
    prompt_length: int
    max_new_symbols: int
    kinds: dict[Kind, KindEvaluation]

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and numbers."""
        return asdict(self)

    def rates(self) -> dict[str, float]:
        """The numbers worth following during training, by short names; undefined ones are left out."""
        found: dict[str, float | None] = {}
        for kind, of_kind in self.kinds.items():
            report = of_kind.report
            for i, rule in enumerate(report.rules.values(), start=1):
                found[f"{kind}_r{i}"] = rule.word.all.rate
                found[f"{kind}_r{i}_finished"] = rule.word.finished.rate
                found[f"{kind}_r{i}_completion"] = rule.completion.all.rate
            found[f"{kind}_finished"] = report.finished.rate
            found[f"{kind}_headline"] = report.headline.rate
            found |= {f"paper/{kind}_{column}": rate for column, rate in report.paper_columns().items()}
        return {name: rate for name, rate in found.items() if rate is not None}


class Evaluator:
    """Evaluates completers on one language; the prompts and the references are made once, for all completers.

    Args:
        language: the language.
        prompt_length: symbols in a prompt; by default the language's.
        most_prompts: at most so many of each kind, drawn at random; by default all.
        max_new_symbols: the length limit of a completion.
        train_words: what n-gram references are fitted on; without them there are none.
        seed: for prompt sets that are drawn, and for references where they must be sampled.

    Raises:
        RuleExtrapError: no such prompt exists, or the limit is negative.

    >>> from hf_ruleextrap import Evaluator, LocalModel, build_model, get_language
    >>> language = get_language("anbn")
    >>> evaluator = Evaluator(language, prompt_length=4, max_new_symbols=8)
    >>> evaluation = evaluator(LocalModel(build_model("lstm", language=language, seed=0), language))
    >>> [(kind, each.report.n) for kind, each in evaluation.kinds.items()]
    [('id', 3), ('ood', 13)]
    """

    def __init__(
        self,
        language: Language,
        *,
        prompt_length: int | None = None,
        most_prompts: int | None = None,
        max_new_symbols: int,
        train_words: WordBatch | None = None,
        seed: int = 0,
    ) -> None:
        check_integer("max_new_symbols", max_new_symbols)
        check_cost(
            f"completions of up to {max_new_symbols:,} symbols",
            f"give at most {int(MOST_SECONDS / _SECONDS_A_SYMBOL):,}",
            seconds=max_new_symbols * _SECONDS_A_SYMBOL,
        )
        self.language = language
        self.max_new_symbols = max_new_symbols
        prompts = language.prompts(length=prompt_length, limit=most_prompts, rng=np.random.default_rng(seed))
        self.prompts: Mapping[Kind, PromptSet] = {kind: prompts.of_kind(kind) for kind in ("id", "ood")}
        self.references = {
            kind: reference_reports(language, of_kind, max_new_symbols, train_words=train_words, seed=seed)
            for kind, of_kind in self.prompts.items()
        }

    def __call__(self, completer: Completer) -> Evaluation:
        """Complete all prompts and score them."""
        kinds = {kind: self._of_kind(completer, kind) for kind in self.prompts}
        length = int(self.prompts["id"].words.lengths[0])
        return Evaluation(self.language.name, length, self.max_new_symbols, kinds)

    def _of_kind(self, completer: Completer, kind: Kind) -> KindEvaluation:
        prompts = self.prompts[kind]
        made = completer.complete(prompts, max_new_symbols=self.max_new_symbols)
        verdicts = formal.score(self.language, prompts, made.words, made.finished)
        return KindEvaluation(formal.aggregate(verdicts), self.references[kind], samples_of(verdicts, made))


def samples_of(verdicts: formal.Verdicts, made: Completions) -> list[Sample]:
    """A few of N completions, evenly spread.

    Args:
        verdicts: of `formal.score`, one completion a prompt.
        made: what was scored.
    """
    n, words, kept = len(verdicts.prompts), verdicts.prompts.words, verdicts.word & verdicts.counts[:, None]
    return [
        Sample(words[i], _readable(made.words[i]), bool(made.finished[i]), tuple(kept[i].tolist()))
        for i in np.unique(np.linspace(0, n - 1, min(_SHOWN, n)).astype(int))
    ]


def _readable(completion: str) -> str:
    """A token that is no symbol shows as a question mark."""
    return completion.replace(chr(FOREIGN_CODE), "?")
