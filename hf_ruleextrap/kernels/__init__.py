"""Faster ways to compute what models of transformers compute, and what is found of them on this machine.

The checkpoints stay as they are. ``HF_RULEEXTRAP_KERNELS=0`` in the environment, or ``use_kernels(False)``, leaves
transformers alone.
"""

from __future__ import annotations

import inspect
import os
from importlib.util import find_spec
from typing import Any

_SWITCH = "HF_RULEEXTRAP_KERNELS"
_SCAN = "mamba_selective_scan"
# What transformers wraps in a search for CUDA packages, and in a warning where it finds none.
_WRAPPED = ("mamba_inner_fn", "causal_conv1d_fn", "causal_conv1d_update", "mamba_selective_state_update")
_original: dict[str, Any] = {}


def use_kernels(use: bool | None = None) -> bool:
    """Let Mamba's selective scan run here as a compiled loop where transformers has no kernel of its own, or not.

    It is what `build_model`, the training and the evaluation call; a model needs no change, before or after.

    Args:
        use: on or off; None for on, unless the environment says ``HF_RULEEXTRAP_KERNELS=0``.

    Returns:
        Whether it is on. It stays off where mamba-ssm's own kernels are, and without numba, where transformers' own
        loop runs.
    """
    if use is None:
        use = os.environ.get(_SWITCH, "1") != "0"
    from transformers.models.mamba import modeling_mamba as mamba

    for name in (_SCAN, *_WRAPPED):
        _original.setdefault(name, getattr(mamba, name))
    use = use and find_spec("numba") is not None and find_spec("mamba_ssm") is None
    replaced = dict(_original)
    if use:
        from .selective_scan import over

        replaced = {name: inspect.unwrap(function) for name, function in _original.items()}
        replaced[_SCAN] = over(replaced[_SCAN])
    for name, function in replaced.items():
        setattr(mamba, name, function)
    return use


def kernels_found() -> dict[str, str]:
    """For each architecture that has more than one way to be computed, the one that runs on this machine.

    >>> sorted(kernels_found())
    ['mamba', 'xlstm']
    """
    import torch

    cuda = torch.cuda.is_available()
    if cuda and find_spec("mamba_ssm") and find_spec("causal_conv1d"):
        mamba = "mamba-ssm and causal-conv1d (CUDA)"
    elif use_kernels():
        mamba = "compiled scan (CPU, fp32), else transformers' loop"
    else:
        mamba = "transformers' loop"
    return {"mamba": mamba, "xlstm": "torch"}
