"""Loading checkpoints: whatever is wrong with one of them is a line that names it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hf_ruleextrap.errors import RuleExtrapError

from .trust import may_run_code


def load_tokenizer(name: str, *, trust_remote_code: bool = False) -> Any:
    """Load the tokenizer of a checkpoint: a folder, or a repository of the Hub.

    Raises:
        RuleExtrapError: there is no tokenizer of that name, or it cannot be loaded.
    """
    from transformers import AutoTokenizer

    with _named(name):
        trusted = may_run_code(name, trust_remote_code=trust_remote_code)
        return AutoTokenizer.from_pretrained(name, trust_remote_code=trusted)


def load_causal_model(name: str, *, trust_remote_code: bool = False, **settings: Any) -> Any:
    """Load the weights of a causal language model, from safetensors files alone, because a pickle can run code.

    Args:
        name: a folder, or a repository of the Hub.
        trust_remote_code: run code that the checkpoint brings.
        **settings: of ``AutoModelForCausalLM.from_pretrained``.

    Raises:
        RuleExtrapError: there is no checkpoint of that name, or it cannot be loaded.
    """
    from transformers import AutoModelForCausalLM

    import hf_ruleextrap.models  # noqa: F401  # registers our architectures
    from hf_ruleextrap.kernels import use_kernels

    use_kernels()
    with _named(name):
        trusted = may_run_code(name, trust_remote_code=trust_remote_code)
        return AutoModelForCausalLM.from_pretrained(name, trust_remote_code=trusted, use_safetensors=True, **settings)


@contextmanager
def _named(name: str) -> Iterator[None]:
    try:
        yield
    except RuleExtrapError:
        raise
    # A file of a checkpoint that holds nonsense raises whatever the code that reads it runs into.
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise RuleExtrapError(f"no checkpoint can be loaded from {name!r}: {lines[0]}") from error
