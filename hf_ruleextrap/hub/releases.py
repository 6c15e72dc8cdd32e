"""The repository and branch of each run: a repository for a language and an architecture, a branch for a seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.files import safe_name
from hf_ruleextrap.sweep.grid import standard_order
from hf_ruleextrap.train.folder import RunFolder
from hf_ruleextrap.train.results import Results

if TYPE_CHECKING:
    from hf_ruleextrap.train.recipe import Recipe


@dataclass(frozen=True)
class Release:
    """The repository and branch of a run.

    Attributes:
        run: the run folder.
        name: the name of the repository, ``LANGUAGE-ARCHITECTURE``.
        branch: the branch in the repository; None for main.
    """

    run: Path
    name: str
    branch: str | None

    @classmethod
    def of(cls, run: str | Path) -> Release:
        """Return the release of one run: seed 0 goes to main, and any other seed N to ``seed-N``.

        Raises:
            RuleExtrapError: the folder contains no finished run.
        """
        recipe = read_run(run).recipe
        return cls(Path(run), repository_name(recipe), f"seed-{recipe.seed}" if recipe.seed else None)

    @property
    def folder(self) -> str:
        """The name of the folder on disk, where a branch is a folder of its own."""
        return self.name if self.branch is None else f"{self.name}-{self.branch}"


def find_releases(folder: str | Path) -> tuple[list[Release], list[str]]:
    """Return the releases of all finished runs in a folder.

    The lowest seed of each repository goes to main, and any other seed N to ``seed-N``. Of several runs with the same
    language, architecture and seed, the standard run (`standard_order`) is the release.

    Returns:
        The releases, with main first in each repository, and a line with the reason for each run that is left out.
    """
    recipes: dict[str, dict[Path, Recipe]] = {}
    reasons: dict[Path, str] = {}
    for run in (run_folder.path for run_folder in RunFolder.all_in(folder)):
        try:
            recipe = read_run(run).recipe
        except RuleExtrapError as error:
            reasons[run] = str(error)
            continue
        recipes.setdefault(repository_name(recipe), {})[run] = recipe
    releases = []
    for name, of_name in sorted(recipes.items()):
        rank = standard_order(of_name.values())
        seeds: dict[int, Path] = {}
        for run in sorted(of_name, key=lambda run: (rank(of_name[run]), run)):
            seed = of_name[run].seed
            standard = seeds.setdefault(seed, run)
            if standard != run:
                command = f"hf-ruleextrap publish checkpoint {run}"
                reasons[run] = f"{run}: {standard} is {name} seed {seed}, too; `{command}` publishes this one instead"
        releases += [
            Release(seeds[seed], name, None if seed == min(seeds) else f"seed-{seed}") for seed in sorted(seeds)
        ]
    return releases, [reasons[run] for run in sorted(reasons)]


def read_run(run: str | Path) -> Results:
    """Return the results of a finished run.

    Raises:
        RuleExtrapError: the folder contains no results of this version.
    """
    run = Path(run)
    results = RunFolder(run).results_file
    if results.is_symlink() or not results.is_file():
        raise RuleExtrapError(f"{str(run)!r} holds no finished run: name a run folder with results.json")
    try:
        return Results.read(run)
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise RuleExtrapError(f"{results} is no result of this version: {reason}") from None


def repository_name(recipe: Recipe) -> str:
    """Return ``LANGUAGE-ARCHITECTURE`` for a recipe."""
    return safe_name(f"{recipe.language_name}-{recipe.architecture}")
