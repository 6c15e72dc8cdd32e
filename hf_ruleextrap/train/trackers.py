"""Experiment trackers, which are told what ``log.jsonl`` holds. None by default."""

from __future__ import annotations

from importlib.util import find_spec

from hf_ruleextrap.errors import RuleExtrapError

PROJECT = "ruleextrap"
"""What our runs are filed under, where a tracker has projects."""

# TensorBoard's files have two writers.
_PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX"), "trackio": ("trackio",), "wandb": ("wandb",)}


def check_tracker(name: str) -> None:
    """See that a tracker can be told.

    Args:
        name: a recipe's ``report_to``.

    Raises:
        RuleExtrapError: it is not installed.
    """
    packages = _PACKAGES.get(name, ())
    if packages and not any(find_spec(package) for package in packages):
        raise RuleExtrapError(f"report_to is {name}, which is not installed: pip install 'hf-ruleextrap[{name}]'")
