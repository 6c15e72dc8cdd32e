"""The repository and branch of each run, and the upload of a folder in one commit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal, TypeVar

from hf_ruleextrap.errors import RuleExtrapError, counted
from hf_ruleextrap.files import safe_name
from hf_ruleextrap.sweep.grid import standard_order
from hf_ruleextrap.train.folder import RunFolder
from hf_ruleextrap.train.results import Results

if TYPE_CHECKING:
    from hf_ruleextrap.train.recipe import Recipe

Kind = Literal["dataset", "model", "space"]
_Result = TypeVar("_Result")

COLLECTION = "Rule extrapolation"
"""The title of the collection that `push_collection` makes."""

_ABOUT = "Formal languages as datasets, models trained on them, the metric and its page."
_LOG_IN = "log in with `hf auth login` and a token that may write there"
_TRIES, _FIRST_WAIT = 5, 1.0
_WRITTEN: dict[Kind, list[str]] = {
    "dataset": ["*.parquet"],
    "model": ["*.safetensors", "*.py", ".eval_results/*"],
    "space": ["*.py", "golden*"],
}
# The library whose exceptions report a broken connection depends on the version of huggingface_hub.
_TRANSPORTS = ("httpx", "httpx2", "requests")
_TEMPORARY = (429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Release:
    """The repository and branch of a run.

    Attributes:
        run: The run folder.
        name: The name of the repository, ``LANGUAGE-ARCHITECTURE``.
        branch: The branch in the repository; None for main.
    """

    run: Path
    name: str
    branch: str | None

    @classmethod
    def of(cls, run: str | Path) -> Release:
        """Return the release of one run: seed 0 goes to main, and any other seed N to ``seed-N``.

        Raises:
            RuleExtrapError: If the folder contains no finished run.
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
        RuleExtrapError: If the folder contains no results of this version.
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


def publisher(organization: str | None = None) -> str:
    """Return the owner of published repositories: the organization, or the user who is logged in.

    Only the Hub knows the permissions of a fine-grained token, and checks them at the upload.

    Raises:
        RuleExtrapError: If no user is logged in, the token may only read, the user is not a member of the organization,
            or the Hub cannot be reached.
    """
    from huggingface_hub import HfApi

    user = _patiently(HfApi().whoami)
    name = str(user["name"])
    role = (user.get("auth", {}).get("accessToken") or {}).get("role")
    if role == "read":
        raise RuleExtrapError(f"the token of {name} only reads: {_LOG_IN}")
    owners = [name, *(member_of["name"] for member_of in user.get("orgs", []))]
    if role == "write" and organization is not None and organization not in owners:
        raise RuleExtrapError(f"{name} may not publish as {organization!r}: choose one of {', '.join(owners)}")
    return organization or name


def push_folder(
    folder: str | Path, repository: str, kind: Kind, *, private: bool = False, revision: str | None = None
) -> str:
    """Upload a folder in one commit. Unchanged files are not sent, and repeating the call is safe.

    The repository and the branch are created if needed. A request that the Hub answers with 429 or 5xx is sent again,
    up to five times in all, each time after twice the wait.

    Args:
        folder: The folder whose files become those of the repository. Data files, weights and code in the repository
            that the folder lacks are removed in the same commit; all other files of the repository stay.
        repository: ``owner/name``.
        kind: The kind of repository.
        private: Whether a new repository is private.
        revision: The branch; None for main.

    Returns:
        A sentence that describes the upload.

    Raises:
        RuleExtrapError: If the token is missing or may not write there, or the Hub stays unreachable.
    """
    from huggingface_hub import HfApi, SpaceCard

    api = HfApi()
    is_new = not _patiently(lambda: api.repo_exists(repository, repo_type=kind))
    sdk = SpaceCard.load(Path(folder) / "README.md").data.sdk if kind == "space" else None
    _patiently(lambda: api.create_repo(repository, repo_type=kind, private=private, exist_ok=True, space_sdk=sdk))
    if revision is not None:
        _patiently(lambda: api.create_branch(repository, branch=revision, repo_type=kind, exist_ok=True))
    before = _patiently(lambda: api.repo_info(repository, repo_type=kind, revision=revision)).sha
    commit = _patiently(
        lambda: api.upload_folder(
            repo_id=repository,
            repo_type=kind,
            folder_path=str(folder),
            revision=revision,
            parent_commit=before,
            commit_message="Publish with hf-ruleextrap",
            ignore_patterns=["**/__pycache__/**"],
            delete_patterns=_WRITTEN[kind],
        )
    )
    url = f"{api.endpoint}/{'' if kind == 'model' else kind + 's/'}{repository}"
    if not is_new and commit.oid == before:
        return f"{url}: nothing has changed"
    return f"{url}: {'created and ' if is_new else ''}updated in commit {commit.oid[:8]}"


def push_collection(owner: str, repositories: Iterable[tuple[str, Kind]], *, private: bool = False) -> str:
    """Make a collection of repositories, or add the repositories that the owner's collection lacks.

    Args:
        owner: The owner of the collection.
        repositories: The names ``owner/name`` of the repositories with their kinds, in the order of the collection.
        private: Whether a new collection is private.

    Returns:
        A sentence that describes the collection.

    Raises:
        RuleExtrapError: If the token is missing or may not write there, or the Hub stays unreachable.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    collection = _patiently(
        lambda: api.create_collection(COLLECTION, namespace=owner, description=_ABOUT, private=private, exists_ok=True)
    )
    missing = dict(repositories)
    for item in collection.items:
        missing.pop(item.item_id, None)
    for name, kind in missing.items():
        _patiently(partial(api.add_collection_item, collection.slug, name, kind, exists_ok=True))
    added = f"{counted(len(missing), 'repository')} added" if missing else "nothing has changed"
    return f"{collection.url}: {added}"


def push_run(run: str | Path, organization: str) -> str:
    """Publish a run as ``ORGANIZATION/LANGUAGE-ARCHITECTURE``; a seed other than 0 goes to the branch ``seed-N``."""
    from .checkpoint import write_checkpoint

    release = Release.of(run)
    with TemporaryDirectory() as draft:
        write_checkpoint(run, draft, organization=organization)
        return push_folder(draft, f"{organization}/{release.name}", "model", revision=release.branch)


def _patiently(request: Callable[[], _Result]) -> _Result:
    wait = _FIRST_WAIT
    for left in reversed(range(_TRIES)):
        try:
            return request()
        except Exception as error:
            # The library repeats a failed upload itself, and then raises a RuntimeError from the last failure.
            was_repeated = isinstance(error, RuntimeError)
            diagnosis = _diagnose((error.__cause__ or error) if was_repeated else error)
            if diagnosis is None:
                raise
            line, temporary = diagnosis
            if was_repeated or not temporary or not left:
                raise RuleExtrapError(line) from None
        time.sleep(wait)
        wait *= 2
    raise AssertionError("the last attempt returns or raises")


def _diagnose(error: BaseException) -> tuple[str, bool] | None:
    """Return the line for an error of the Hub and whether the error is temporary; None for any other error."""
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

    first = (str(error).splitlines() or [type(error).__name__])[0]
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status in (401, 403):
            return f"the Hub refuses ({status}): {_LOG_IN}", False
        if status == 412:
            return "another user has published there at the same time: run the same command again", False
        return f"the Hub answers {status}: {first}", status in _TEMPORARY
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, so no request is sent: unset that variable to publish", False
    if isinstance(error, LocalTokenNotFoundError):
        return f"nobody is logged in: {_LOG_IN}", False
    if isinstance(error, ValueError):
        # For example, a card with metadata that the Hub does not accept.
        return f"the Hub rejects the upload: {' '.join(str(error).split())}", False
    if isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _TRANSPORTS:
        return f"the Hub cannot be reached: {first}", True
    if isinstance(error, RuntimeError):
        return f"the upload failed: {first}; run the same command again", False
    return None
