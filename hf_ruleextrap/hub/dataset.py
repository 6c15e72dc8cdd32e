"""Write a language, or the suite of generated problems, as a dataset repository: Parquet files and a card."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hf_ruleextrap import __version__
from hf_ruleextrap.data import Splits, build_splits
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.files import write_text
from hf_ruleextrap.formal import Language, PromptSet, WordBatch
from hf_ruleextrap.formal.generated import GeneratedLanguage, suite
from hf_ruleextrap.languages import get_language

from .cards import CITATION, INSTALL, ORGANIZATION, metric_names, render, task_id
from .parquet import SHARD_WORDS, ConfigContents, file_name, is_table, text_column, write_shards, write_table

MAX_LENGTH = 256
"""The largest number of symbols in a word, as in the paper."""

SUITE_REPOSITORY = "random-conjunctions"
"""The name of the repository of the suite of generated problems."""

_SUITE_FILE = f"data/{file_name('test')}"
_TRAIN, _HELD_OUT = 15_000, 1_500
_HOW = {
    True: "The language has at most one word of each length, so each split holds all words.",
    False: "Validation and test are drawn from the language's own distribution. Their words are not in train, except "
    "words that are drawn often (the words that are not in train have a total probability of at most 0.1) and words "
    "that complete an ID prompt of the `prompts` configuration.",
}
_USES = {
    "train": "for training",
    "validation": "for choosing a checkpoint",
    "test": "for measuring",
    "id": "prompts that some suffix completes",
    "ood": "prompts that no suffix completes",
}


def write_dataset(
    language: str | Language,
    folder: str | Path,
    *,
    organization: str = ORGANIZATION,
    max_length: int = MAX_LENGTH,
    train_size: int = _TRAIN,
    held_out_size: int = _HELD_OUT,
    seed: int = 0,
    shard_words: int = SHARD_WORDS,
) -> list[Path]:
    """Write a dataset repository, which `datasets` opens without changes: ``load_dataset("ruleextrap/anbn")``.

    Args:
        language: The name of a language, or a Language.
        folder: The folder for the repository; files of the same name are replaced.
        organization: The owner of the repository in the card.
        max_length: The largest number of symbols in a word.
        train_size: The number of training words; a language with fewer words gives all its words.
        held_out_size: The number of words in validation, and in test.
        seed: The random seed for drawing words and prompts. The same arguments give the same bytes.
        shard_words: The number of training words in a file. A larger split is written file by file with a progress bar,
            and an interrupted call is resumed by the same call.

    Returns:
        The files, sorted.

    Raises:
        RuleExtrapError: If the language is unknown, ``max_length`` is too small, or ``train_size`` is below 1.
    """
    if train_size < 1:
        raise RuleExtrapError(f"train_size is {train_size}: give 1 or more")
    language, folder = get_language(language), Path(folder)
    large = train_size > shard_words and not language.one_word_per_length
    # For a large draw, only the held-out words are drawn here.
    splits = build_splits(
        language,
        max_length=max_length,
        train_size=1 if large else train_size,
        held_out_size=held_out_size,
        seed=seed,
    )
    authors = _authors_splits(language, max_length, seed) if "paper" in language.tags else None
    tables = {"default": _words(language, splits)}
    if authors is not None:
        tables["paper"] = _words(language, authors)
    prompts = language.prompts(rng=np.random.default_rng(seed))
    tables["prompts"] = {kind: prompt_columns(prompts.of_kind(kind)) for kind in ("id", "ood")}
    write_train = partial(
        write_shards,
        language,
        folder / "default",
        size=train_size,
        max_length=max_length,
        seed=seed,
        held_out=splits.held_out,
        columns=word_columns,
        shard_words=shard_words,
    )
    configs = [
        _write_config(folder / name, columns, write_train if large and name == "default" else None)
        for name, columns in tables.items()
    ]
    card = render(
        "dataset.md",
        language=language,
        repository=f"{organization}/{language.name}",
        size_category=_size_category(sum(split.num_examples for config in configs for split in config.splits)),
        configs=configs,
        uses=_USES,
        max_length=max_length,
        held_out=_HOW[language.one_word_per_length],
        entropy=language.entropy(max_length),
        columns=language.parameters,
        paper_overlap=None if authors is None else overlap(authors),
        paper_note="" if authors is None else _paper_note(language),
        install=INSTALL,
        prompt_length=language.prompt_length,
        docstring=_prose(language),
        version=__version__,
        seed=seed,
        citation=CITATION,
    )
    write_text(folder / "README.md", card)
    write_text(folder / "eval.yaml", _benchmark(language))
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _authors_splits(language: Language, max_length: int, seed: int) -> Splits:
    """Return the splits of the authors' code: each holds every word, or they are three independent draws."""
    paper = type(language)(paper=True)
    size = paper.paper_train_size
    return build_splits(paper, max_length=max_length, train_size=size, held_out_size=size, seed=seed, disjoint=False)


def _write_config(
    folder: Path, tables: dict[str, dict[str, Any]], write_train: Callable[[], list[Path]] | None
) -> ConfigContents:
    """Write the files of a configuration.

    Args:
        folder: The folder of the configuration, which has its name.
        tables: The columns of each split.
        write_train: A function that writes the split ``train`` and returns its files; None to write its columns.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, list[Path]] = {}
    for split, columns in tables.items():
        if split == "train" and write_train is not None:
            files[split] = write_train()
        else:
            files[split] = [folder / file_name(split)]
            write_table(columns, *files[split])
    _remove_files_of_other_draws(folder, chain.from_iterable(files.values()))
    return ConfigContents.read(folder.name, files)


def _benchmark(language: Language) -> str:
    """Return the text of ``eval.yaml``, which makes the dataset a benchmark: a task for each rate of a model's card."""
    tasks = [
        {"id": task_id(kind, name), "config": "prompts", "split": kind}
        for kind in ("id", "ood")
        for name in metric_names(kind, [rule.name for rule in language.rules])
    ]
    benchmark = {
        "name": f"Rule extrapolation: {language.name}",
        "description": f"Does a completion keep a rule of the language ({language.summary})? Each task is the share "
        "of the prompts in its split after which the whole word keeps the rule of its name.",
        "evaluation_framework": "hf-ruleextrap",
        "tasks": tasks,
    }
    return yaml.safe_dump(benchmark, sort_keys=False, allow_unicode=True)


def _paper_note(language: Language) -> str:
    """Return what the language's docstring says about the authors' code."""
    note = next(part for part in _prose(language).split("\n\n") if "`paper`" in part)
    if "`paper` changes nothing" in note:
        return "The words are drawn as in `default`."
    return f"In the authors' code, {' '.join(note.removeprefix('`paper`: ').split())}"


def _remove_files_of_other_draws(folder: Path, written: Iterable[Path]) -> None:
    """Remove the files of earlier draws of this function, and no other file in the folder."""
    for other in {*folder.glob("*.parquet"), *folder.glob("*.part")}.difference(written):
        if is_table(other):
            other.unlink()


def overlap(splits: Splits) -> float:
    """Return the share of drawn validation words that are also in train."""
    known = set(splits.train)
    return float(np.mean([word in known for word in splits.validation]))


def word_columns(language: Language, words: WordBatch) -> dict[str, Any]:
    """Return ``text``, ``length`` and the language's own parameters, each with N rows."""
    parameters = language.parameter_values(words)
    return {"text": text_column(words), "length": words.lengths.astype(np.int32)} | {
        name: values.astype(np.int32) for name, values in parameters.items()
    }


def prompt_columns(prompts: PromptSet) -> dict[str, Any]:
    """Return ``prompt``, ``length``, ``kind``, ``broken``, ``open`` and a flag for each open rule, each with N rows."""
    rows = list(prompts)
    return {
        "prompt": [row.text for row in rows],
        "length": prompts.words.lengths.astype(np.int32),
        "kind": [row.kind for row in rows],
        "broken": [list(row.broken) for row in rows],
        "open": [list(row.open) for row in rows],
    } | {f"{name}_open": prompts.open[:, i] for i, name in enumerate(prompts.rules)}


def _words(language: Language, splits: Splits) -> dict[str, dict[str, Any]]:
    return {name: word_columns(language, getattr(splits, name)) for name in ("train", "validation", "test")}


def _size_category(rows: int) -> str:
    marks = ["1K", "10K", "100K", "1M", "10M", "100M", "1B"]
    first = next((i for i in range(len(marks)) if rows < 10 ** (i + 3)), len(marks))
    if first == 0:
        return "n<1K"
    return f"{marks[first - 1]}<n<{marks[first]}" if first < len(marks) else "n>1B"


def _prose(language: Language) -> str:
    """Return the language's docstring without its examples."""
    text = inspect.cleandoc(type(language).__doc__ or "").split(">>>")[0].strip()
    # Double backquotes mark code in reStructuredText, and single ones in Markdown.
    return text.replace("``", "`")


def write_suite(folder: str | Path, *, organization: str = ORGANIZATION) -> list[Path]:
    """Write the repository of the suite, which `datasets` opens: ``load_dataset("ruleextrap/random-conjunctions")``.

    Args:
        folder: The folder for the repository; files of the same name are replaced.
        organization: The owner of the repository in the card.

    Returns:
        The files, sorted. Every call writes the same bytes.
    """
    folder, languages = Path(folder), suite()
    (folder / _SUITE_FILE).parent.mkdir(parents=True, exist_ok=True)
    rows = list(map(problem, languages))
    write_table({name: [row[name] for row in rows] for name in rows[0]}, folder / _SUITE_FILE)
    levels = Counter(language.level for language in languages)
    first = {language.level: language for language in reversed(languages)}
    card = render(
        "suite.md",
        repository=f"{organization}/{SUITE_REPOSITORY}",
        configs=[ConfigContents.read("default", {"test": [folder / _SUITE_FILE]})],
        size=len(languages),
        levels=levels,
        prompts=sum(len(row[kind]) for row in rows for kind in ("id_prompts", "ood_prompts")),
        examples=[first[level] for level in levels],
        version=__version__,
        citation=CITATION,
    )
    write_text(folder / "README.md", card)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def problem(language: GeneratedLanguage) -> dict[str, Any]:
    """Return a problem as a row."""
    first, second = language.rules
    prompts = language.prompts()
    proof = language.proof
    return {
        "name": language.name,
        "seed": language.seed,
        "level": language.level,
        "alphabet": list(language.alphabet),
        "r1": first.summary,
        "r2": second.summary,
        "r1_name": first.name,
        "r2_name": second.name,
        "prompt_length": language.prompt_length,
        "id_prompts": prompts.of_kind("id").texts,
        "ood_prompts": prompts.of_kind("ood").texts,
        "strings_up_to": proof.longest,
        "keep_both": proof.both,
        "keep_only_r1": proof.only_r1,
        "keep_only_r2": proof.only_r2,
        "chance": proof.chance,
        "ceiling": proof.ceiling,
    }
