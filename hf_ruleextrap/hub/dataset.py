"""A language as a dataset repository: Parquet and a card."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from hf_ruleextrap import __version__
from hf_ruleextrap.data import Splits, build_splits
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.files import write_text
from hf_ruleextrap.formal import Language, PromptSet, WordBatch
from hf_ruleextrap.languages import get_language

from ._citation import CITATION
from .cards import ORGANIZATION, render
from .contents import ConfigContents
from .shards import SHARD_WORDS, is_table, text_column, write_shards, write_table

MAX_LENGTH = 256
"""Most symbols in a word, as in the paper."""

_TRAIN, _HELD_OUT = 15_000, 1_500
_HOW = {
    True: "It has one word of each length at most, so each split holds all of them.",
    False: "Validation and test are drawn from the language's own distribution. Their words are left out of train, "
    "except words that are drawn often (all words left out have a probability of at most 0.1 together) and words that "
    "an ID prompt of the `prompts` configuration asks for.",
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
    """Write a dataset repository, which `datasets` opens as it stands: ``load_dataset("ruleextrap/anbn")``.

    Args:
        language: a name or a Language.
        folder: where it goes; files of the same name are replaced.
        organization: whose repository the card names.
        max_length: most symbols in a word.
        train_size: words to train on; a language with few words gives at most all of them.
        held_out_size: words in validation, and in test.
        seed: of the draws. The same arguments give the same bytes.
        shard_words: more train words than these go to several files, one at a time and with a progress bar; a call
            that was cut off goes on where it was.

    Returns:
        The files, sorted.

    Raises:
        RuleExtrapError: unknown language, ``max_length`` too small, or nothing to train on.
    """
    if train_size < 1:
        raise RuleExtrapError(f"train_size is {train_size}: give 1 or more")
    language = get_language(language)
    paper = type(language)(paper=True)
    large = train_size > shard_words and not language.one_word_per_length
    default = build_splits(
        language,
        max_length=max_length,
        # Of a large draw's words, only those held out are made here.
        train_size=1 if large else train_size,
        held_out_size=held_out_size,
        seed=seed,
    )
    authors = build_splits(
        paper,
        max_length=max_length,
        train_size=paper.paper_train_size,
        held_out_size=paper.paper_train_size,
        seed=seed,
        disjoint=False,
    )
    prompts = language.prompts(rng=np.random.default_rng(seed))
    tables: dict[str, dict[str, tuple[dict[str, Any], str]]] = {
        "default": _words(language, default),
        "paper": _words(paper, authors),
        "prompts": {
            kind: (prompt_columns(prompts.of_kind(kind)), text)  # type: ignore[arg-type]  # the two kinds
            for kind, text in (("id", "prompts that some suffix completes"), ("ood", "prompts that none does"))
        },
    }
    if "paper" not in language.tags:
        del tables["paper"]
    folder = Path(folder)
    configs: list[dict[str, Any]] = []
    contents: list[ConfigContents] = []
    for name, splits in tables.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        written: dict[str, list[Path]] = {}
        listed = []
        for split, (columns, what) in splits.items():
            path, rows = f"{name}/{split}-00000-of-00001.parquet", len(columns["length"])
            if large and (name, split) == ("default", "train"):
                shards = write_shards(
                    language,
                    folder / name,
                    size=train_size,
                    max_length=max_length,
                    seed=seed,
                    held_out=default.held_out,
                    columns=word_columns,
                    shard_words=shard_words,
                )
                written[split] = shards
                path, rows = f"{name}/train-*-of-{len(shards):05}.parquet", train_size
            else:
                write_table(columns, folder / path)
                written[split] = [folder / path]
            listed.append({"name": split, "path": path, "rows": rows, "what": what})
        _remove_files_of_other_draws(folder / name, chain.from_iterable(written.values()))
        contents.append(ConfigContents.read(name, written))
        configs.append({"name": name, "splits": listed})
    card = render(
        "dataset.md",
        language=language,
        repository=f"{organization}/{language.name}",
        size_category=_size_category(sum(split["rows"] for config in configs for split in config["splits"])),
        configs=configs,
        contents=contents,
        max_length=max_length,
        held_out=_HOW[language.one_word_per_length],
        entropy=language.entropy(max_length),
        columns=language.parameters,
        paper_overlap=overlap(authors) if "paper" in tables else None,
        prompt_length=language.prompt_length,
        docstring=_prose(language),
        version=__version__,
        seed=seed,
        citation=CITATION,
    )
    write_text(folder / "README.md", card)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _remove_files_of_other_draws(folder: Path, written: Iterable[Path]) -> None:
    """Remove what other draws of this function left, and nothing else that lies there."""
    for other in {*folder.glob("*.parquet"), *folder.glob("*.part")}.difference(written):
        if is_table(other):
            other.unlink()


def overlap(splits: Splits) -> float:
    """The share of validation words (as they were drawn) that also stand in train."""
    known = set(splits.train)
    return float(np.mean([word in known for word in splits.validation]))


def word_columns(language: Language, words: WordBatch) -> dict[str, Any]:
    """``text``, ``length``, and the language's own parameters, each with N rows."""
    own = language.parameter_values(words)
    return {"text": text_column(words), "length": words.lengths.astype(np.int32)} | {
        name: values.astype(np.int32) for name, values in own.items()
    }


def prompt_columns(prompts: PromptSet) -> dict[str, Any]:
    """``prompt``, ``length``, ``kind``, ``broken``, ``open``, and whether each rule is open; each with N rows."""
    rows = list(prompts)
    return {
        "prompt": [row.text for row in rows],
        "length": prompts.words.lengths.astype(np.int32),
        "kind": [row.kind for row in rows],
        "broken": [list(row.broken) for row in rows],
        "open": [list(row.open) for row in rows],
    } | {f"{name}_open": prompts.open[:, i] for i, name in enumerate(prompts.rules)}


def _words(language: Language, splits: Splits) -> dict[str, tuple[dict[str, Any], str]]:
    return {
        name: (
            word_columns(language, getattr(splits, name)),
            what,
        )
        for name, what in (("train", "to train on"), ("validation", "to choose by"), ("test", "to measure on"))
    }


def _size_category(rows: int) -> str:
    marks = ["1K", "10K", "100K", "1M", "10M", "100M", "1B"]
    first = next((i for i in range(len(marks)) if rows < 10 ** (i + 3)), len(marks))
    if first == 0:
        return "n<1K"
    return f"{marks[first - 1]}<n<{marks[first]}" if first < len(marks) else "n>1B"


def _prose(language: Language) -> str:
    """The language's docstring up to its examples."""
    text = inspect.cleandoc(type(language).__doc__ or "").split(">>>")[0].strip()
    # Double backquotes are reStructuredText's.
    return text.replace("``", "`")
