"""Which run goes where: a repository for a language and an architecture, a branch for each further seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.files import safe_name
from hf_ruleextrap.train.results import Results

if TYPE_CHECKING:
    from hf_ruleextrap.train.recipe import Recipe


@dataclass(frozen=True)
class Release:
    """Where a run is published.

    Attributes:
        run: the run folder.
        name: of the repository, ``LANGUAGE-ARCHITECTURE``.
        branch: of the repository; None is main.
    """

    run: Path
    name: str
    branch: str | None

    @classmethod
    def of(cls, run: str | Path) -> Release:
        """Of one run: seed 0 on main, any other on ``seed-N``.

        Raises:
            RuleExtrapError: the folder holds no finished run.
        """
        recipe = read_run(run).recipe
        return cls(Path(run), repository_name(recipe), f"seed-{recipe.seed}" if recipe.seed else None)

    @property
    def folder(self) -> str:
        """Of the name where main is; on disk, which has no branches, a branch is a folder beside it."""
        return self.name if self.branch is None else f"{self.name}-{self.branch}"


def find_releases(folder: str | Path) -> tuple[list[Release], list[str]]:
    """All finished runs in a folder: of each repository the lowest seed on main, any other on ``seed-N``.

    Returns:
        The releases, those on main first in each repository; and a line for each run that is left out, saying why.
    """
    found: dict[str, dict[int, Path]] = {}
    skipped = []
    # Either says that there is, or will be, a run.
    notes = [*Path(folder).glob("*/recipe.yaml"), *Path(folder).glob("*/results.json")]
    for run in sorted({note.parent for note in notes}):
        try:
            recipe = read_run(run).recipe
        except RuleExtrapError as error:
            skipped.append(str(error))
            continue
        name, seed = repository_name(recipe), recipe.seed
        other = found.setdefault(name, {}).setdefault(seed, run)
        if other != run:
            command = f"hf-ruleextrap publish checkpoint {run}"
            skipped.append(f"{run}: {other} is {name} seed {seed}, too; `{command}` publishes this one in its place")
    made = [
        Release(seeds[seed], name, None if seed == min(seeds) else f"seed-{seed}")
        for name, seeds in sorted(found.items())
        for seed in sorted(seeds)
    ]
    return made, skipped


def read_run(run: str | Path) -> Results:
    """The results of a finished run.

    Raises:
        RuleExtrapError: the folder holds none.
    """
    run = Path(run)
    if (run / "results.json").is_symlink() or not (run / "results.json").is_file():
        raise RuleExtrapError(f"{str(run)!r} holds no finished run: give a run folder with results.json")
    try:
        return Results.read(run)
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise RuleExtrapError(f"{run / 'results.json'} is no result of this version: {reason}") from None


def repository_name(recipe: Recipe) -> str:
    """``LANGUAGE-ARCHITECTURE`` of a recipe."""
    return safe_name(f"{recipe.language_name}-{recipe.architecture}")
