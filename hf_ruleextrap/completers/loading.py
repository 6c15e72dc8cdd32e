"""Load the tokenizer or the model of a checkpoint, and report every error as one line that names the checkpoint."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_ruleextrap.causality import check_causal
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.inputs import check_not_mistyped

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_ATTENTION = ("eager", "sdpa", "flex_attention")
"""The values of ``attn_implementation`` that are part of torch. Any other value may download code from the Hub."""

_MOST_LAYERS = 10_000
_NUMBER_OF_LAYERS = re.compile(r"n_?layers?|num_.*layers|.*_layers|.*_blocks|num_blocks")


def load_model(path: str | Path, *, trust_remote_code: bool = False, **settings: Any) -> PreTrainedModel:
    """Load a causal language model, of this package or any other, from a checkpoint.

    The architectures of this package are registered with transformers' Auto classes first, so a checkpoint of one of
    them needs no ``trust_remote_code``, and its own copy of the code never runs. Weights are read from safetensors
    files alone, because a pickle can run code.

    Args:
        path: A folder, such as a run folder, or the name of a repository on the Hub.
        trust_remote_code: Whether to run the code that a checkpoint of another architecture contains.
        **settings: Further arguments of ``AutoModelForCausalLM.from_pretrained``, such as ``dtype``.

    Returns:
        The model, on the CPU unless the settings say otherwise, and in evaluation mode.

    Raises:
        RuleExtrapError: If there is no checkpoint of that name, if the checkpoint cannot be loaded, if its config names
            code of the Hub, or if the model looks ahead although its config does not say so.

    >>> from hf_ruleextrap import build_model, load_model
    >>> build_model("lstm", language="anbn", seed=0).save_pretrained("my-checkpoint")
    >>> type(load_model("my-checkpoint")).__name__
    'RuleLSTMForCausalLM'
    """
    from transformers import AutoModelForCausalLM

    from hf_ruleextrap.kernels import use_kernels

    _register_architectures()
    use_kernels()
    name = str(path)
    with naming_errors(name):
        trusted = may_run_code(name, trust_remote_code=trust_remote_code)
        load: Any = AutoModelForCausalLM.from_pretrained
        check_config(name)
        model: PreTrainedModel = load(name, trust_remote_code=trusted, use_safetensors=True, **settings)
        check_causal(model, name, noise=0.0)
    return model


def load_tokenizer(name: str, *, trust_remote_code: bool = False) -> Any:
    """Load the tokenizer of a checkpoint.

    Args:
        name: A folder, or the name of a repository on the Hub.
        trust_remote_code: Whether to run the code that a checkpoint of another architecture contains.

    Raises:
        RuleExtrapError: If there is no tokenizer of that name, or if the tokenizer cannot be loaded.
    """
    from transformers import AutoTokenizer

    _register_architectures()
    with naming_errors(name):
        trusted = may_run_code(name, trust_remote_code=trust_remote_code)
        return AutoTokenizer.from_pretrained(name, trust_remote_code=trusted)


def _register_architectures() -> None:
    # transformers reads a checkpoint's configuration even to load its tokenizer.
    import hf_ruleextrap.models  # noqa: F401


def end_tokens(name: str) -> object:
    """Return ``eos_token_id`` of a checkpoint's generation config: one id, several ids or None.

    Args:
        name: A folder, or the name of a repository on the Hub.

    Raises:
        RuleExtrapError: If the checkpoint has neither a generation config nor a config that can be read.
    """
    from transformers import GenerationConfig, PreTrainedConfig

    with naming_errors(name):
        try:
            return GenerationConfig.from_pretrained(name).eos_token_id
        except OSError:
            config, _ = PreTrainedConfig.get_config_dict(name)
            return config.get("eos_token_id", config.get("text_config", {}).get("eos_token_id"))


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


def check_config(name: str) -> None:
    """Refuse a configuration that would run code from the Hub, or build layers without end.

    The sizes of the weights need no check, because the weights of a model are allocated only after their shapes are
    compared with those in the file.

    Args:
        name: A folder, or a repository of the Hub.

    Raises:
        RuleExtrapError: If a value is not allowed. The message names the key and the allowed values.
        OSError: If there is no such checkpoint.
    """
    from transformers import PreTrainedConfig

    config, _ = PreTrainedConfig.get_config_dict(name)
    _check_values(config, f"config.json of {name}")


def _check_values(config: dict[str, Any], where: str) -> None:
    for key, value in config.items():
        if isinstance(value, dict):
            _check_values(value, where)
        elif key.lstrip("_").startswith(("attn_implementation", "experts_implementation")):
            if value is not None and value not in _ATTENTION:
                raise RuleExtrapError(
                    f"{key} in {where} is {value!r:.60}, which may run code from the Hub: remove the key, or write one "
                    f"of {', '.join(_ATTENTION)}"
                )
        elif _NUMBER_OF_LAYERS.fullmatch(key) and isinstance(value, (int, float)) and value > _MOST_LAYERS:
            raise RuleExtrapError(f"{key} in {where} is {value:,}: the largest number is {_MOST_LAYERS:,}")


@contextmanager
def naming_errors(name: str) -> Iterator[None]:
    """Report every error in the block as one line that names the checkpoint."""
    check_not_mistyped(name)
    try:
        yield
    except RuleExtrapError:
        raise
    # Reading a corrupt file of a checkpoint may raise any exception.
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise RuleExtrapError(f"no checkpoint can be loaded from {name!r}: {lines[0]}") from error
