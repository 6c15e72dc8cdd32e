"""Experiment trackers, which receive the same values as ``log.jsonl``. The default is no tracker."""

from __future__ import annotations

from importlib.util import find_spec

from hf_ruleextrap.errors import RuleExtrapError

PROJECT = "ruleextrap"
"""The project under which a tracker files the runs."""

# Two packages can write TensorBoard's files.
_PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX"), "trackio": ("trackio",), "wandb": ("wandb",)}


def check_tracker(name: str) -> None:
    """Check that a tracker is installed.

    Args:
        name: The ``report_to`` of a recipe.

    Raises:
        RuleExtrapError: If the tracker is not installed.
    """
    packages = _PACKAGES.get(name, ())
    if packages and not any(find_spec(package) for package in packages):
        raise RuleExtrapError(f"report_to is {name}, which is not installed: pip install 'hf-ruleextrap[{name}]'")
