"""The run folder: the process that holds the folder, the run in it, its checkpoint, and whether it is finished.

Only the files that a run writes may be removed from the folder. All other files belong to the user.
"""

from __future__ import annotations

import pkgutil
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_ruleextrap.errors import RuleExtrapError, one_line
from hf_ruleextrap.files import hold, is_leftover, write_text
from hf_ruleextrap.languages import recorded_language

from .recipe import Recipe
from .results import FILE as RESULTS
from .results import Results, read_log
from .task import splits_of

if TYPE_CHECKING:
    from hf_ruleextrap.formal import Language, WordBatch

RECIPE = "recipe.yaml"
LOG = "log.jsonl"
# The recipe keys that say where a run is stored and published. They do not affect its results.
_PLACE = {"output_dir", "push_to_hub", "hub_organization"}
LAST = "last"
"""The folder of the last checkpoint, inside the run folder, which is itself the checkpoint that the recipe chooses."""

CHECKPOINT = "checkpoint-"
"""The prefix of the Trainer's checkpoint folders, followed by the step."""

_STEP = re.compile(rf"{CHECKPOINT}\d+")
_OF_CHECKPOINT = re.compile(
    r"(generation_)?config\.json|tokenizer(_config)?\.json|special_tokens_map\.json|chat_template\.jinja"
    r"|model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json|training_args\.bin"
    r"|(optimizer|scheduler|scaler)\.pt|rng_state(_\d+)?\.pth|trainer_state\.json|sealed\.json(\.part)?"
)
# `hf-ruleextrap plot` writes its picture here by default.
_OF_RUN = re.compile(r"(recipe\.yaml|results\.json)(\.part)?|log\.jsonl|plot\.png")
_TENSORBOARD = "runs"
_EVENTS = "events.out.tfevents."
_SHOWN = 5


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


def checkpoints(run: Path) -> list[Path]:
    """Return the Trainer's checkpoints in a run folder, the earliest first."""
    folders = [path for path in run.glob(f"{CHECKPOINT}*") if _STEP.fullmatch(path.name) and _is_folder(path)]
    return sorted(folders, key=step_of)


def step_of(checkpoint: Path) -> int:
    """Return the step of a checkpoint folder."""
    return int(checkpoint.name.removeprefix(CHECKPOINT))


def written_files(run: Path) -> tuple[list[Path], list[Path]]:
    """Divide the contents of a run folder into the run's own files and all others.

    Args:
        run: The run folder.

    Returns:
        The files that a run writes, with the empty folders that a killed run leaves; and the paths that a run does not
        write: other files, other folders, and links of any name.
    """
    written: list[Path] = []
    other: list[Path] = []
    for path in _walk(run):
        (written if _is_written(path, run) else other).append(path)
    return written, other


def remove_run(run: Path, last: Path) -> None:
    """Remove the files that a run wrote, and then the folders that are empty. The run folder itself stays.

    Args:
        run: The run folder.
        last: The file that is removed after all others, because it marks the folder as a run folder.

    Raises:
        RuleExtrapError: If the folder is the working directory or one of its parents, or if the folder contains a file
            that a run does not write. No file is removed in these cases.
    """
    here = Path.cwd().resolve()
    if run.resolve() in (here, *here.parents):
        raise RuleExtrapError(
            f"--overwrite does not remove {run}, because that folder is or contains the working directory: "
            "give a folder for the run alone as --output_dir"
        )
    written, other = written_files(run)
    if other:
        names = [one_line(str(path.relative_to(run))) for path in sorted(other)]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise RuleExtrapError(
            f"--overwrite removes only the files of a run, but {run} also holds {', '.join(names[:_SHOWN])}{more}: "
            "move these files away, or give another --output_dir"
        )
    # The results are removed first, so that a process killed in between does not leave a folder that looks finished.
    for path in sorted(written, key=lambda path: (path != run / "results.json", path == last)):
        if path.is_dir():
            _remove_empty(path, run)
            continue
        path.unlink()
        if path.parent != run and not any(path.parent.iterdir()):
            _remove_empty(path.parent, run)


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files, links and empty folders, without the drafts and locks of the process that holds the folder."""
    for path in folder.iterdir():
        if is_leftover(path):
            continue
        if _is_folder(path) and any(path.iterdir()):
            yield from _walk(path)
        else:
            yield path


def _is_written(path: Path, run: Path) -> bool:
    *folders, name = path.relative_to(run).parts
    if _is_folder(path):
        # A kill between the files of a folder and the folder leaves it empty.
        return _is_folder_of_run(folders[0] if folders else name, len(folders))
    if path.is_symlink() or not path.is_file():
        return False
    if not folders and _OF_RUN.fullmatch(name):
        return True
    if folders and folders[0] == _TENSORBOARD:
        return name.startswith(_EVENTS)
    in_checkpoint = not folders or (len(folders) == 1 and _is_folder_of_run(folders[0], 0))
    return in_checkpoint and (bool(_OF_CHECKPOINT.fullmatch(name)) or name in _modeling_files())


def _is_folder_of_run(name: str, depth: int) -> bool:
    """Return whether a run creates a folder of this name, or folders at a depth below that folder."""
    return name == _TENSORBOARD or (depth == 0 and (name == LAST or bool(_STEP.fullmatch(name))))


@cache
def _modeling_files() -> set[str]:
    """Return the names of the modeling files, which are copied into the checkpoints of this package's models."""
    from hf_ruleextrap import models

    return {f"{module.name}.py" for module in pkgutil.iter_modules(models.__path__)}


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _remove_empty(folder: Path, run: Path) -> None:
    while folder != run and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
