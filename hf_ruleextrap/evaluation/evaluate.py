"""Evaluate any completer on a language: complete the prompts, score the completions, and compute the references."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from hf_ruleextrap import formal
from hf_ruleextrap.completers.base import Completer, Completions
from hf_ruleextrap.costs import MOST_SECONDS, check_cost
from hf_ruleextrap.disk_cache import cached, digest, language_key
from hf_ruleextrap.errors import RuleExtrapError, check_integer, unknown
from hf_ruleextrap.formal import Clusters, Kind, Language, PromptSet, Report, WordBatch
from hf_ruleextrap.formal.scoring import finished_flags
from hf_ruleextrap.formal.words import BoolArray, Words
from hf_ruleextrap.inputs import parse_json_lines
from hf_ruleextrap.languages import get_language
from hf_ruleextrap.versions import git_commit, package_versions

from .rational_references import RATIONAL, LearnerRates, is_rational, learner_rates
from .references import REFERENCES, is_ngram, judge, reference_report, success, success_of_references
from .results import Condition, Evaluation, Outcome, SymbolSettings, samples_of, statuses_of

_Stored: TypeAlias = tuple[list[float], list[float], bool]
"""The JSON form of `Clusters`: its hits, its rows, and whether it is exact."""

_EXAMPLE = '{"prompt": "…", "completion": "…", "finished": true}'

_SECONDS_A_SYMBOL = 0.006
"""The time in which a small model adds one symbol to all ID and OOD prompts, in seconds."""


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
        language: The name of a language, or a Language.
        prompts: The N prompts, as strings, as arrays of symbol indices, or as a set that `Language.prompts` returns.
        completions: The N completions, without BOS and EOS. A completion that holds anything but symbols is unparsable.
        finished: (N,) bool: whether each completion ended by itself; by default all did.
        samples: The number of completions of each prompt, in adjacent rows. The intervals take the completions of one
            prompt as one cluster.

    Raises:
        RuleExtrapError: If the language is unknown, a prompt holds a foreign symbol, the numbers of rows differ, or
            there are no rows.

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
    """Compute the rates of a reference on a language's prompts, exactly where an exact computation is possible.

    Args:
        language: The name of a language, or a Language.
        kind: The kind of the prompts; None for both kinds.
        length: The number of symbols in a prompt; by default the language's.
        completer: The name of a reference, one of `REFERENCES` or a rational learner (docs/rational.md).

            - ``uniform`` draws each symbol, or the end, with equal probability.
            - ``always-stop`` adds nothing.
            - ``1-gram``, ``2-gram`` and ``3-gram`` are fitted on the training words.
            - ``oracle`` gives each prompt one completion that keeps as many rules as one completion can.
            - ``ceiling`` is no completer: each rate is the highest that completions within the limit can reach, taken
              alone (`formal.ceiling`).
            - ``rational-uniform``, ``rational-simple`` and ``rational-modular`` (also ``rational``) are rational
              learners. With ``, greedy`` at its end, the name stands for the greedy completions of the learner.
        max_new_symbols: The length limit of a completion; None for no limit.
        train_words: The words on which an n-gram is fitted, by default 10,000 words of at most 64 symbols drawn with
            seed 0; or the words that a rational learner has seen, by default 128 words of at most 16 symbols drawn with
            seed 0.

    Raises:
        RuleExtrapError: If the language or the completer is unknown, or the language has no prompts of this kind and
            length.

    >>> round(chance("anbn", kind="ood", length=8).headline.rate, 4)
    0.1537
    >>> chance("anbn", kind="ood", length=8, completer="oracle").headline.hits
    247
    >>> chance("ban", completer="ceiling").rules["starts_with_b"].completion.all.rate
    1.0
    """
    language = get_language(language)
    if completer not in REFERENCES and not is_rational(completer):
        raise unknown("completer", completer, (*REFERENCES, *RATIONAL))
    prompts = language.prompts(kind, length=length)
    if train_words is None and is_ngram(completer):
        train_words = language.sample(10_000, max_length=64, rng=np.random.default_rng(0))
    words = None if train_words is None else WordBatch.of(train_words, language.alphabet)
    return reference_report(language, prompts, completer, max_new_symbols=max_new_symbols, train_words=words)


def parse_completions(text: str, name: str, *, is_csv: bool = False) -> list[dict[str, Any]]:
    """Return the rows of a text of completions. A row without ``finished`` counts as finished.

    Args:
        text: Lines of JSON, or a CSV text whose first line has the headings ``prompt``, ``completion`` and
            ``finished``.
        name: The name of the text in messages.
        is_csv: Whether the text is CSV.

    Returns:
        The rows with ``prompt``, ``completion`` and ``finished``, a boolean.

    Raises:
        RuleExtrapError: If a line cannot be read. The message names the line.
    """
    text = text.removeprefix("\ufeff")
    rows = []
    for number, row in _parse_csv(text) if is_csv else parse_json_lines(text, name, _EXAMPLE):
        if not {"prompt", "completion"} <= row.keys():
            raise RuleExtrapError(f"{name}, line {number}, lacks a prompt or a completion: write {_EXAMPLE}")
        try:
            finished = bool(finished_flags([row.get("finished", True)])[0])
        except RuleExtrapError:
            value = f"{row['finished']!r:.40}"
            raise RuleExtrapError(
                f"{name}, line {number}: finished is {value}: write true or false (or 1 or 0)"
            ) from None
        rows.append({**row, "finished": finished})
    return rows


def _parse_csv(text: str) -> list[tuple[int, dict[str, Any]]]:
    """Return the rows of a CSV text with a line of headings, with the number of each row's last line."""
    table = csv.DictReader(io.StringIO(text, newline=""))
    return [(table.line_num, row) for row in table]


class Evaluator:
    """Evaluates completers on one language. The prompts and the references are computed once, for all completers.

    Args:
        language: The language.
        prompt_length: The number of symbols in a prompt; by default the language's.
        most_prompts: The largest number of prompts of each kind, drawn at random; by default all prompts.
        max_new_symbols: The length limit of a completion.
        train_words: The words on which n-grams are fitted; without these words, the references hold no n-grams.
        seed: The random seed for drawing prompts, and for references that must be sampled.
        rational: Whether the OOD condition also holds the rates of the rational learners of the training words. The
            rates depend on no model and take up to a minute for some languages, so training leaves the rates out.

    Raises:
        RuleExtrapError: If the language has no prompts of this length, or the limit is negative.

    >>> from hf_ruleextrap import Evaluator, LocalModel, build_model, get_language
    >>> language = get_language("anbn")
    >>> evaluator = Evaluator(language, prompt_length=4, max_new_symbols=8)
    >>> evaluation = evaluator(LocalModel(build_model("lstm", language=language, seed=0), language))
    >>> [(condition.name, condition.greedy.report.n) for condition in evaluation.conditions]
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
        rational: bool = False,
    ) -> None:
        check_integer("max_new_symbols", max_new_symbols)
        check_cost(
            f"completions of up to {max_new_symbols:,} symbols",
            f"give at most {int(MOST_SECONDS / _SECONDS_A_SYMBOL):,}",
            seconds=max_new_symbols * _SECONDS_A_SYMBOL,
        )
        self.language = language
        prompts = language.prompts(length=prompt_length, limit=most_prompts, rng=np.random.default_rng(seed))
        self.all_prompts = prompts
        self.prompts: Mapping[Kind, PromptSet] = {kind: prompts.of_kind(kind) for kind in ("id", "ood")}
        self.settings = SymbolSettings(
            prompt_length=int(prompts.words.lengths[0]), max_new_symbols=max_new_symbols, seed=seed
        )
        self.references, self._success = self._compute_references(train_words)
        self.rational: list[LearnerRates] = []
        self._notes: list[str] = []
        if rational and train_words is not None:
            try:
                self.rational = learner_rates(
                    language, train_words, self.prompts["ood"], max_new_symbols=max_new_symbols
                )
            except RuleExtrapError as error:
                self._notes = [f"no rates of rational learners: {error}"]

    def _compute_references(
        self, train_words: WordBatch | None
    ) -> tuple[dict[Kind, dict[str, Report]], dict[Kind, dict[str, Clusters]]]:
        """Return the rates of the references and their successes after each prompt, by kind and name.

        Both are cached on disk: they depend on no model, and computing them takes as long as training a small model.
        """
        limit, seed = self.settings.max_new_symbols, self.settings.seed
        names = [name for name in REFERENCES if train_words is not None or not is_ngram(name)]
        key = {
            **language_key(self.language),
            "prompts": {kind: digest(prompts) for kind, prompts in self.prompts.items()},
            "train_words": None if train_words is None else digest(train_words),
            "max_new_symbols": limit,
            "seed": seed,
        }

        def report(prompts: PromptSet, name: str) -> Report:
            return reference_report(
                self.language, prompts, name, max_new_symbols=limit, train_words=train_words, seed=seed
            )

        def successes(prompts: PromptSet) -> dict[str, _Stored]:
            by_name = success_of_references(
                self.language, prompts, max_new_symbols=limit, train_words=train_words, seed=seed
            )
            return {name: (each.hits.tolist(), each.rows.tolist(), each.exact) for name, each in by_name.items()}

        reports: dict[Kind, dict[str, Report]] = cached(
            "references",
            key,
            dict[Kind, dict[str, Report]],
            lambda: {kind: {name: report(prompts, name) for name in names} for kind, prompts in self.prompts.items()},
        )
        stored: dict[Kind, dict[str, _Stored]] = cached(
            "reference-success",
            key,
            dict[Kind, dict[str, _Stored]],
            lambda: {kind: successes(prompts) for kind, prompts in self.prompts.items()},
        )
        return reports, {
            kind: {name: Clusters(np.array(hits), np.array(rows), exact) for name, (hits, rows, exact) in each.items()}
            for kind, each in stored.items()
        }

    def __call__(self, completer: Completer, model: str = "") -> Evaluation:
        """Complete all prompts and score them.

        Args:
            completer: The completer.
            model: The name of the completer in the results.
        """
        # The prompts of both kinds are completed together, because a step of a model takes long even for a few rows.
        completions = completer.complete(self.all_prompts, max_new_symbols=self.settings.max_new_symbols)
        return Evaluation(
            model=model,
            language=self.language.name,
            protocol="symbols",
            conditions=[self._condition(completions, kind) for kind in self.prompts],
            versions=package_versions(),
            git_commit=git_commit(),
        )

    def _condition(self, all_completions: Completions, kind: Kind) -> Condition:
        prompts, rows = self.prompts[kind], self.all_prompts.ood == (kind == "ood")
        completions = all_completions.take(rows)
        verdicts = formal.score(self.language, prompts, completions.words, completions.finished)
        return Condition(
            name=kind,
            kind=kind,
            settings=self.settings,
            greedy=Outcome(
                report=formal.aggregate(verdicts),
                statuses=statuses_of(verdicts),
                verdict=judge(success(verdicts), self._success[kind]),
            ),
            references=self.references[kind],
            rational=self.rational if kind == "ood" else [],
            samples=samples_of(verdicts, completions),
            notes=self._notes if kind == "ood" else [],
        )
