"""Which checkpoints may bring code of their own."""

from __future__ import annotations


def may_run_code(name: str, *, trust_remote_code: bool) -> bool:
    """Whether the code that a checkpoint brings may run: never for the architectures of this package, which has it.

    Args:
        name: a folder, or a repository of the Hub.
        trust_remote_code: what the user allows.

    Raises:
        OSError: there is no such checkpoint.
    """
    if not trust_remote_code:
        return False
    from transformers import PreTrainedConfig

    config, _ = PreTrainedConfig.get_config_dict(name)
    return not str(config.get("model_type", "")).startswith("ruleextrap_")
