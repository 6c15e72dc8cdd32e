"""Upload a folder to the Hub in one commit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeVar

from hf_ruleextrap.errors import RuleExtrapError, counted

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
    "space": ["*.py", "golden/*"],
}
# The library whose exceptions report a broken connection depends on the version of huggingface_hub.
_TRANSPORTS = ("httpx", "httpx2", "requests")
_TEMPORARY = (429, 500, 502, 503, 504)


def publisher(organization: str | None = None) -> str:
    """Return the owner of published repositories: the organization, or the user who is logged in.

    Only the Hub knows the permissions of a fine-grained token, and checks them at the upload.

    Raises:
        RuleExtrapError: no user is logged in, the token may only read, the user is not a member of the organization, or
            the Hub cannot be reached.
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
        folder: the folder whose files become those of the repository. Data files, weights and code in the repository
            that the folder lacks are removed in the same commit; all other files of the repository stay.
        repository: ``owner/name``.
        kind: the kind of repository.
        private: whether a new repository is private.
        revision: the branch; None for main.

    Returns:
        A sentence that describes the upload.

    Raises:
        RuleExtrapError: the token is missing or may not write there, or the Hub stays unreachable.
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
        owner: the owner of the collection.
        repositories: the names ``owner/name`` of the repositories with their kinds, in the order of the collection.
        private: whether a new collection is private.

    Returns:
        A sentence that describes the collection.

    Raises:
        RuleExtrapError: the token is missing or may not write there, or the Hub stays unreachable.
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
    from .releases import Release

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
