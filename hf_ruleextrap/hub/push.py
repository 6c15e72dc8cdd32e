"""A folder to the Hub, in one commit."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeVar

from hf_ruleextrap.errors import RuleExtrapError

Kind = Literal["dataset", "model", "space"]
_Result = TypeVar("_Result")

_LOG_IN = "log in with `hf auth login` and a token that may write there"
_TRIES, _FIRST_WAIT = 5, 1.0
_WRITTEN: dict[Kind, list[str]] = {
    "dataset": ["*.parquet"],
    "model": ["*.safetensors", "*.py", ".eval_results/*"],
    "space": ["*.py", "golden/*"],
}
# Whose errors a broken connection raises depends on the version of huggingface_hub.
_TRANSPORTS = ("httpx", "httpx2", "requests")
_PASSING = (429, 500, 502, 503, 504)


def publisher(organization: str | None = None) -> str:
    """Who will own what whoever is logged in publishes: the organization, or they themselves.

    What a fine-grained token may do, only the Hub knows; it is then asked when there is something to publish.

    Raises:
        RuleExtrapError: nobody is logged in, their token only reads, or they are not of the organization; or the Hub
            cannot be reached.
    """
    from huggingface_hub import HfApi

    user = _patiently(HfApi().whoami)
    name = str(user["name"])
    role = (user.get("auth", {}).get("accessToken") or {}).get("role")
    if role == "read":
        raise RuleExtrapError(f"the token of {name} only reads: {_LOG_IN}")
    owners = [name, *(found["name"] for found in user.get("orgs", []))]
    if role == "write" and organization is not None and organization not in owners:
        raise RuleExtrapError(f"{name} may not publish as {organization!r}: give one of {', '.join(owners)}")
    return organization or name


def push_folder(
    folder: str | Path, repository: str, kind: Kind, *, private: bool = False, revision: str | None = None
) -> str:
    """Upload a folder in one commit; what is unchanged is not sent, and it is safe to repeat.

    The repository, and the branch where one is named, are made if needed. Busy and broken answers (429, 5xx) are tried
    again, five times in all, each after twice the wait.

    Args:
        folder: its files become the repository's. What it lacks of the files that we write (such as data of more
            shards, or code by another name) is removed in the same commit; any other file stays there.
        repository: ``owner/name``.
        kind: of repository.
        private: make it private, if it is made.
        revision: a branch; by default main.

    Returns:
        What was done, in a sentence.

    Raises:
        RuleExtrapError: no token, or one that may not write there; or the Hub stays unreachable.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    made = not _patiently(lambda: api.repo_exists(repository, repo_type=kind))
    sdk = "static" if kind == "space" else None
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
    where = f"{api.endpoint}/{'' if kind == 'model' else kind + 's/'}{repository}"
    if not made and commit.oid == before:
        return f"{where}: nothing has changed"
    return f"{where}: {'created and ' if made else ''}updated in commit {commit.oid[:8]}"


def push_run(run: str | Path, organization: str) -> str:
    """Publish a run as ``ORGANIZATION/LANGUAGE-ARCHITECTURE``; a seed other than 0 goes to the branch ``seed-N``."""
    from .checkpoint import write_checkpoint
    from .releases import Release

    release = Release.of(run)
    with TemporaryDirectory() as draft:
        write_checkpoint(run, draft, organization=organization)
        return push_folder(draft, f"{organization}/{release.name}", "model", revision=release.branch)


def _patiently(ask: Callable[[], _Result]) -> _Result:
    wait = _FIRST_WAIT
    for left in reversed(range(_TRIES)):
        try:
            return ask()
        except Exception as error:
            # The library tries an upload again by itself, and then wraps what went wrong.
            tried = isinstance(error, RuntimeError)
            judged = _judge((error.__cause__ or error) if tried else error)
            if judged is None:
                raise
            line, passing = judged
            if tried or not passing or not left:
                raise RuleExtrapError(line) from None
        time.sleep(wait)
        wait *= 2
    raise AssertionError("the last try returns or raises")


def _judge(error: BaseException) -> tuple[str, bool] | None:
    """What to say of an error, and whether it may pass; None where it is not the Hub's."""
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

    first = (str(error).splitlines() or [type(error).__name__])[0]
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status in (401, 403):
            return f"the Hub refuses ({status}): {_LOG_IN}", False
        if status == 412:
            return "someone else has published there just now: give the same command again", False
        return f"the Hub answers {status}: {first}", status in _PASSING
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, so the Hub is not asked: unset it to publish", False
    if isinstance(error, LocalTokenNotFoundError):
        return f"nobody is logged in: {_LOG_IN}", False
    if isinstance(error, ValueError):
        # Such as a card whose metadata the Hub does not take.
        return f"the Hub rejects it: {' '.join(str(error).split())}", False
    if isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _TRANSPORTS:
        return f"the Hub cannot be reached: {first}", True
    if isinstance(error, RuntimeError):
        return f"the upload does not come through: {first}; give the same command again", False
    return None
