"""Write the suite of generated problems as a dataset repository with a row for each problem."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from hf_ruleextrap import __version__
from hf_ruleextrap.files import write_text
from hf_ruleextrap.formal.generated import GeneratedLanguage
from hf_ruleextrap.formal.problems import suite

from ._citation import CITATION
from .cards import ORGANIZATION, render
from .contents import ConfigContents
from .shards import write_table

REPOSITORY = "random-conjunctions"

_FILE = "data/test-00000-of-00001.parquet"


def write_suite(folder: str | Path, *, organization: str = ORGANIZATION) -> list[Path]:
    """Write the repository, which `datasets` opens as it stands: ``load_dataset("ruleextrap/random-conjunctions")``.

    Args:
        folder: the folder for the repository; files of the same name are replaced.
        organization: the owner of the repository in the card.

    Returns:
        The files, sorted. Every call writes the same bytes.
    """
    folder, languages = Path(folder), suite()
    (folder / _FILE).parent.mkdir(parents=True, exist_ok=True)
    rows = list(map(problem, languages))
    write_table({name: [row[name] for row in rows] for name in rows[0]}, folder / _FILE)
    levels = Counter(language.level for language in languages)
    first = {language.level: language for language in reversed(languages)}
    card = render(
        "suite.md",
        repository=f"{organization}/{REPOSITORY}",
        path=_FILE,
        contents=[ConfigContents.read("default", {"test": [folder / _FILE]})],
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
