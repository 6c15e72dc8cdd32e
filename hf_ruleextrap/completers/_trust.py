"""Decide whether the code that a checkpoint contains may run."""

from __future__ import annotations


def may_run_code(name: str, *, trust_remote_code: bool) -> bool:
    """Return whether the code that a checkpoint contains may run.

    The code never runs for the architectures of this package, because the installed package contains the same code.

    Args:
        name: A folder, or a repository of the Hub.
        trust_remote_code: Whether the user allows the code to run.

    Raises:
        OSError: If there is no such checkpoint.
    """
    if not trust_remote_code:
        return False
    from transformers import PreTrainedConfig

    config, _ = PreTrainedConfig.get_config_dict(name)
    return not str(config.get("model_type", "")).startswith("ruleextrap_")
