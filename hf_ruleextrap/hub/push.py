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
# Whose errors a broken connection raises depends on the version of huggingface_hub.
_TRANSPORTS = ("httpx", "httpx2", "requests")
_PASSING = (429, 500, 502, 503, 504)


def account() -> str:
    """The name of whoever is logged in.

    Raises:
        RuleExtrapError: nobody is, or the Hub cannot be reached.
    """
    from huggingface_hub import HfApi

    return str(_patiently(HfApi().whoami)["name"])


def push(folder: str | Path, repository: str, kind: Kind, *, private: bool = False, revision: str | None = None) -> str:
    """Upload a folder in one commit; what is unchanged is not sent, and it is safe to repeat.

    The repository, and the branch where one is named, are made if needed. Busy and broken answers (429, 5xx) are tried
    again, five times in all, each after twice the wait.

    Args:
        folder: its files become the repository's; files that it lacks stay there.
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
        )
    )
    where = f"{api.endpoint}/{'' if kind == 'model' else kind + 's/'}{repository}"
    if not made and commit.oid == before:
        return f"{where}: nothing has changed"
    return f"{where}: {'created and ' if made else ''}updated in commit {commit.oid[:8]}"


def push_run(run: str | Path, organization: str) -> str:
    """Publish a run as ``ORGANIZATION/LANGUAGE-ARCHITECTURE``; a seed other than 0 goes to the branch ``seed-N``."""
    from .checkpoint import branch_of, repository_name, write_checkpoint

    with TemporaryDirectory() as draft:
        write_checkpoint(run, draft, organization=organization)
        return push(draft, f"{organization}/{repository_name(run)}", "model", revision=branch_of(run))


def _patiently(ask: Callable[[], _Result]) -> _Result:
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    wait = _FIRST_WAIT
    for left in reversed(range(_TRIES)):
        try:
            return ask()
        except HfHubHTTPError as error:
            status = error.response.status_code
            if status in (401, 403):
                raise RuleExtrapError(f"the Hub refuses ({status}): {_LOG_IN}") from None
            if status == 412:
                raise RuleExtrapError(
                    "someone else has published there just now: give the same command again"
                ) from None
            if status not in _PASSING or not left:
                raise RuleExtrapError(f"the Hub answers {status}: {str(error).splitlines()[0]}") from None
        except LocalTokenNotFoundError:
            raise RuleExtrapError(f"nobody is logged in: {_LOG_IN}") from None
        except ValueError as error:
            # Such as a card whose metadata the Hub does not take.
            raise RuleExtrapError(f"the Hub rejects it: {' '.join(str(error).split())}") from None
        except Exception as error:
            if not isinstance(error, OSError) and type(error).__module__.partition(".")[0] not in _TRANSPORTS:
                raise
            if not left:
                raise RuleExtrapError(f"the Hub cannot be reached: {str(error).splitlines()[0]}") from None
        time.sleep(wait)
        wait *= 2
    raise AssertionError("the last try returns or raises")
