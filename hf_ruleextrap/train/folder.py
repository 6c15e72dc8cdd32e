"""The run folder: the process that holds the folder, the run in it, its checkpoint, and whether it is finished."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.files import hold, is_leftover, write_text
from hf_ruleextrap.languages import recorded_language

from .recipe import Recipe
from .results import FILE as RESULTS
from .results import Results, read_log
from .task import splits_of
from .written import CHECKPOINT, LAST, checkpoints, remove_run, step_of

__all__ = ["CHECKPOINT", "LAST", "LOG", "RECIPE", "RunFolder"]

if TYPE_CHECKING:
    from hf_ruleextrap.formal import Language, WordBatch

RECIPE = "recipe.yaml"
LOG = "log.jsonl"
# The recipe keys that say where a run is stored and published. They do not affect its results.
_PLACE = {"output_dir", "push_to_hub", "hub_organization"}


class RunFolder:
    """A run folder. All code that reads or writes a run folder uses this class.

    Args:
        path: The folder, which need not exist.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @classmethod
    def all_in(cls, store: str | Path) -> list[RunFolder]:
        """Return the folders of all finished and unfinished runs in a store, ordered by name."""
        marks = [path for name in (RECIPE, RESULTS) for path in Path(store).glob(f"*/{name}")]
        return [cls(folder) for folder in sorted({mark.parent for mark in marks})]

    @property
    def results_file(self) -> Path:
        """The path of the results, which a finished run has."""
        return self.path / RESULTS

    @property
    def holds_results(self) -> bool:
        """Whether the folder contains a ``results.json``."""
        return self.results_file.exists()

    @property
    def is_finished(self) -> bool:
        """Whether the run is finished and its checkpoints have been removed; see `settle`."""
        return self.holds_results and not self._leftovers() and not any(map(is_leftover, self.path.iterdir()))

    def recipe(self) -> Recipe | None:
        """Return the recipe of the run, or None if the folder holds no run.

        Raises:
            RuleExtrapError: If the recipe cannot be read.
        """
        note = self.path / RECIPE
        return Recipe.from_file(note) if note.exists() else None

    def finished(self, recipe: Recipe) -> Results | None:
        """Return the results if the folder holds the finished run of this recipe, and None otherwise.

        The keys that say where a run is stored and published are not compared.
        """
        if not self.holds_results or (held := self.recipe()) is None or _differing(held, recipe, _PLACE):
            return None
        return Results.read(self.path)

    def log(self) -> list[dict[str, Any]]:
        """Return the lines of the run's log; a run without a log has no lines.

        Raises:
            RuleExtrapError: If a line is not a line of a log.
        """
        path = self.path / LOG
        try:
            return read_log(path) if path.exists() else []
        except RuleExtrapError:
            raise RuleExtrapError(f"{path} is torn: remove the file, or run its recipe again") from None

    @contextmanager
    def hold(self, *, wait: bool = False) -> Iterator[None]:
        """Hold the folder for this process; see `hf_ruleextrap.files.hold`."""
        if self.path.exists() and not self.path.is_dir():
            raise RuleExtrapError(f"{self.path} is a file: give another --output_dir")
        self._refuse_other_files()
        with hold(self.path, wait=wait):
            yield

    def claim(self, recipe: Recipe, *, overwrite: bool = False) -> Path | None:
        """Claim a held folder for the run of a recipe.

        Args:
            recipe: The recipe of the run.
            overwrite: Remove the files of the run that the folder holds; see `written.remove_run`.

        Returns:
            The checkpoint from which an interrupted run of this recipe resumes; None for a new run. It is also None
            for a finished run of this recipe (see `finished`), whose remaining checkpoints are removed.

        Raises:
            RuleExtrapError: If the folder holds another run or other files, or if its files must not be removed.
        """
        advice = "give another --output_dir, or --overwrite to replace it"
        try:
            held = self.recipe()
        except RuleExtrapError as error:
            raise RuleExtrapError(
                f"{self.path} holds a {RECIPE} that this version cannot read ({error}): give another --output_dir"
            ) from None
        if overwrite and held is not None:
            remove_run(self.path, self.path / RECIPE)
            held = None
        if held is not None:
            described = f"{held.language} {held.architecture} seed {held.seed}"
            if self.finished(recipe) is not None:
                self.clean_up()
                return None
            if self.holds_results:
                raise RuleExtrapError(f"{self.path} already holds a finished run ({described}): {advice}")
            if keys := _differing(held, recipe, {"output_dir"}):
                raise RuleExtrapError(
                    f"{self.path} already holds another run ({described}; it differs in {', '.join(keys)}): {advice}"
                )
            return self.checkpoint()
        self._refuse_other_files()
        write_text(self.path / RECIPE, recipe.to_yaml())
        return None

    def _refuse_other_files(self) -> None:
        """Refuse a folder that holds files and no run, before anything in the folder is locked or removed."""
        if not self.path.exists() or (self.path / RECIPE).exists():
            return
        if any(not is_leftover(path) for path in self.path.iterdir()):
            raise RuleExtrapError(f"{self.path} is not empty and holds no run: give another --output_dir")

    def checkpoint(self) -> Path | None:
        """Return the latest usable checkpoint and remove the unusable ones; see `latest_whole`."""
        from .checkpoints import latest_whole

        return latest_whole(self.path)

    def settle(self, *, wait: bool = False) -> None:
        """Remove the checkpoints of a finished run whose process was killed before it removed them; see `hold`."""
        if not self.is_finished:
            with self.hold(wait=wait):
                self.clean_up()

    def last_step(self) -> int:
        """Return the step of the latest checkpoint, or 0 if the folder has no checkpoint."""
        return max(map(step_of, self._leftovers()), default=0)

    def clean_up(self) -> None:
        """Remove the checkpoints that a finished run no longer needs."""
        for folder in self._leftovers():
            shutil.rmtree(folder)

    def training_words(self, language: Language) -> WordBatch | None:
        """Return the training words of the run, or None if the run's language is not the given language.

        A recipe may name a class in a file. That file is not executed unless the user has named the language too, so
        the result is None without the user's consent.
        """
        recipe = self.recipe()
        recorded = None if recipe is None else recorded_language(recipe.language)
        if recipe is None or recorded is None or recorded.name != language.name:
            return None
        return splits_of(recipe, language).train

    def _leftovers(self) -> list[Path]:
        return checkpoints(self.path)


def _differing(held: Recipe, recipe: Recipe, excluded: set[str]) -> list[str]:
    """Return the keys in which two recipes differ, without the excluded keys."""
    names = set(Recipe.model_fields) - excluded
    return sorted(name for name in names if getattr(held, name) != getattr(recipe, name))
