"""The versions of the packages and the commit, on which a result may depend."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("hf-ruleextrap", "torch", "transformers", "datasets", "accelerate", "numpy")


def package_versions() -> dict[str, str | None]:
    """Return the versions of Python and of the packages on which a result may depend."""
    python: dict[str, str | None] = {"python": platform.python_version()}
    return python | {name: _version(name) for name in _PACKAGES}


@cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def git_commit() -> str | None:
    """Return the commit of the project's own checkout, with ``-dirty`` if tracked files differ from the commit.

    Later calls return the result of the first call, which describes the code that this process has loaded.
    """
    here = Path(__file__).parent
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() or None
