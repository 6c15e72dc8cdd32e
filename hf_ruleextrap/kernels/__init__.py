"""Faster ways to compute what the models compute, and what is found of them on this machine.

The checkpoints stay as they are. ``HF_RULEEXTRAP_KERNELS=0`` in the environment, or ``use_kernels(False)``, leaves
everything to plain torch; the name of a kernel's package there asks for that one, and its absence is an error.
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable
from functools import cache, wraps
from importlib.util import find_spec
from typing import Any

from hf_ruleextrap.errors import RuleExtrapError

_SWITCH = "HF_RULEEXTRAP_KERNELS"
_SCAN = "mamba_selective_scan"
# What transformers takes from a CUDA package, whatever the device, or else wraps in a warning.
_FROM = {
    _SCAN: "mamba_ssm",
    "mamba_inner_fn": "mamba_ssm",
    "mamba_selective_state_update": "mamba_ssm",
    "causal_conv1d_fn": "causal_conv1d",
    "causal_conv1d_update": "causal_conv1d",
}
_WIDEST_CONVOLUTION = 4
"""The widest convolution that causal-conv1d computes; the paper's Mamba has 8."""

_CHUNKS = "mlstm_chunks"
_original: dict[str, Any] = {}

# What can be asked for by name, and how to get it.
_PACKAGES = {"numba": "numba", "mamba_ssm": "hf-ruleextrap[mamba]", "mlstm_kernels": "hf-ruleextrap[xlstm]"}

_logger = logging.getLogger(__name__)


def use_kernels(use: bool | None = None) -> bool:
    """Compute Mamba's selective scan, and the mLSTM if that is wanted, by compiled kernels or by plain torch.

    Mamba's scan is a compiled loop of this package on a CPU, the kernels of mamba-ssm on CUDA where these are
    installed, and chunks in torch elsewhere. The mLSTM has a Triton kernel in the package ``mlstm_kernels``. That
    kernel runs only where ``HF_RULEEXTRAP_KERNELS`` names it: it multiplies in TF32, so its results agree with torch's
    only to about three digits, and at the paper's size it was not faster (docs/benchmarks.md).
    `build_model`, training and evaluation call this function. A model needs no change before or after the call. The
    log names missing packages in one line.

    Args:
        use: on or off; None takes the setting from ``HF_RULEEXTRAP_KERNELS``: 0 for off, 1 (the default) for on, or
            the package that must be used (numba, mamba_ssm or mlstm_kernels).

    Returns:
        Whether our scan is on. It stays off without numba, where transformers' own loop runs.

    Raises:
        RuleExtrapError: the environment asks for a package that is not here, or that is unknown.
    """
    if use is None:
        use = _asked_for()
    if use:
        _say_once(tuple(package for package in _PACKAGES if find_spec(package) is None))
    _replace_mlstm(use and os.environ.get(_SWITCH) == "mlstm_kernels")
    return _replace_scan(use)


def kernels_found() -> dict[str, str]:
    """For each architecture that has more than one way to be computed, the one that runs on this machine.

    >>> sorted(kernels_found())
    ['mamba', 'xlstm']
    """
    scan = use_kernels()
    if source := _mamba_on_cuda():
        mamba = f"{source} (CUDA), compiled scan (CPU)"
    elif scan:
        mamba = "compiled scan (CPU), else chunks in torch"
    else:
        mamba = "transformers' loop"
    kernel = _mlstm_over() if os.environ.get(_SWITCH) == "mlstm_kernels" and _asked_for() else None
    return {"mamba": mamba, "xlstm": "mlstm_kernels (CUDA, fp32), else torch" if kernel else "torch"}


def _asked_for() -> bool:
    asked = os.environ.get(_SWITCH, "1")
    if asked in ("0", "1"):
        return asked == "1"
    if asked not in _PACKAGES:
        raise RuleExtrapError(f"{_SWITCH} is {asked!r}: give 0, 1, {', '.join(_PACKAGES)}")
    if not find_spec(asked):
        raise RuleExtrapError(
            f"{_SWITCH} asks for {asked}, which is not installed: pip install '{_PACKAGES[asked]}', or give 1"
        )
    if asked != "numba" and not _cuda():
        raise RuleExtrapError(f"{_SWITCH} asks for {asked}, which needs a CUDA device, and there is none: give 1")
    return True


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()


@cache
def _say_once(missing: tuple[str, ...]) -> None:
    if missing:
        named = ", ".join(f"{package} (pip install '{_PACKAGES[package]}')" for package in missing)
        _logger.info("not installed, so computed in other ways with equal results: %s", named)


def _replace_scan(use: bool) -> bool:
    from transformers.models.mamba import modeling_mamba as mamba

    use = use and find_spec("numba") is not None
    for name in _FROM:
        original = _original.setdefault(name, getattr(mamba, name))
        # Around its own torch code, transformers' function calls the package wherever that is installed.
        setattr(mamba, name, _by_device(name) if use else inspect.unwrap(original))
    return use


def _by_device(name: str) -> Callable[..., Any]:
    """A function of transformers' Mamba: on CUDA by its package where that is installed, elsewhere without it."""
    original = _original[name]
    plain = inspect.unwrap(original)
    if name == _SCAN:
        from .sequential_scan import over

        plain = over(plain)
    if _mamba_on_cuda() is None:
        return plain

    @wraps(plain)
    def chosen(first: Any, *args: Any, **kwargs: Any) -> Any:
        by_package = first.is_cuda and _convolution_width(name, args, kwargs) <= _WIDEST_CONVOLUTION
        return (original if by_package else plain)(first, *args, **kwargs)

    return chosen


def _mamba_on_cuda() -> str | None:
    """Return what computes Mamba on this machine's GPU; None where there is no GPU, or nothing but torch."""
    if not _cuda():
        return None
    # The fused function of mamba-ssm calls causal-conv1d: one of the packages alone does not suffice.
    if find_spec("mamba_ssm") and find_spec("causal_conv1d"):
        return "mamba-ssm and causal-conv1d"
    # transformers takes the same kernels from the Hub through this package.
    hub = find_spec("kernels")
    # A folder of this name beside the user's script is no package.
    return "kernels of the Hub" if hub is not None and hub.origin else None


def _convolution_width(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Return the width of the convolution that a function of transformers' Mamba computes; 0 for the others."""
    place, key = {
        "mamba_inner_fn": (0, "conv1d_weight"),
        "causal_conv1d_fn": (0, "weight"),
        "causal_conv1d_update": (1, "weight"),
    }.get(name, (0, ""))
    weight = kwargs.get(key, args[place] if key and len(args) > place else None)
    return 0 if weight is None else int(weight.shape[-1])


def _replace_mlstm(use: bool) -> None:
    from hf_ruleextrap.models import xlstm

    plain = _original.setdefault(_CHUNKS, xlstm.mlstm_chunks)
    over = _mlstm_over() if use else None
    setattr(xlstm, _CHUNKS, over(plain) if over else plain)


def _mlstm_over() -> Callable[[Any], Any] | None:
    """What puts the package's kernel over the plain way, where both a GPU and the kernel are here."""
    if not (_cuda() and find_spec("mlstm_kernels") and find_spec("triton")):
        return None
    from .mlstm import over

    return over
