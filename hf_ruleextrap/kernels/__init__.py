"""Faster kernels for the models, and the choice of kernels that run on this machine.

Checkpoints do not depend on the kernels. ``HF_RULEEXTRAP_KERNELS=0`` in the environment, or ``use_kernels(False)``,
computes everything in plain torch. If the variable is the name of a kernel's package, the package is required, and its
absence is an error.
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
# The functions that transformers takes from a CUDA package on every device, if the package is installed.
CUDA_FUNCTIONS = {
    _SCAN: "mamba_ssm",
    "mamba_inner_fn": "mamba_ssm",
    "mamba_selective_state_update": "mamba_ssm",
    "causal_conv1d_fn": "causal_conv1d",
    "causal_conv1d_update": "causal_conv1d",
}
_WIDEST_CONVOLUTION = 4
"""The widest convolution that causal-conv1d computes; the paper's Mamba has 8."""

_CHUNKS = "mlstm_chunks"
# The functions that kernels replace, as they were when they were first replaced.
ORIGINALS: dict[str, Any] = {}

# The packages that the environment can require, and how to install each.
_PACKAGES = {"numba": "numba", "mamba_ssm": "hf-ruleextrap[mamba]", "mlstm_kernels": "hf-ruleextrap[xlstm]"}

_logger = logging.getLogger(__name__)


def use_kernels(use: bool | None = None) -> bool:
    """Compute Mamba's selective scan, and the mLSTM if the environment requires it, by compiled kernels.

    Mamba's scan is a compiled loop of this package on a CPU, the kernels of mamba-ssm on CUDA if they are installed,
    and a loop over chunks in torch otherwise. The mLSTM has a Triton kernel in the package ``mlstm_kernels``. That
    kernel runs only if ``HF_RULEEXTRAP_KERNELS`` names it: it multiplies in TF32, so its results agree with torch's
    only to about three digits, and at the paper's size it was not faster (docs/benchmarks.md).
    `build_model`, training and evaluation call this function. A model needs no change before or after the call. The
    log names missing packages in one line.

    Args:
        use: True for compiled kernels and False for plain torch; None takes the setting from
            ``HF_RULEEXTRAP_KERNELS``: 0 for False, 1 (the default) for True, or the package that must be used (numba,
            mamba_ssm or mlstm_kernels).

    Returns:
        Whether this package's scan is used. Without numba, transformers' own loop runs.

    Raises:
        RuleExtrapError: If the environment requires a package that is unknown or not installed.
    """
    if use is None:
        use = _setting()
    if use:
        log_missing_packages(tuple(package for package in _PACKAGES if find_spec(package) is None))
    _replace_mlstm(use and os.environ.get(_SWITCH) == "mlstm_kernels")
    return _replace_scan(use)


def kernels_found() -> dict[str, str]:
    """Return the implementation of each architecture that has several. The call changes no setting.

    Raises:
        RuleExtrapError: If the environment requires a package that is unknown or not installed.

    >>> sorted(kernels_found())
    ['mamba', 'xlstm']
    """
    use = _setting()
    if not _scans(use):
        mamba = "transformers' loop"
    elif source := _mamba_on_cuda():
        mamba = f"{source} (CUDA), compiled scan (CPU)"
    else:
        mamba = "compiled scan (CPU), else chunks in torch"
    by_kernel = use and os.environ.get(_SWITCH) == "mlstm_kernels" and _has_mlstm_kernel()
    return {"mamba": mamba, "xlstm": "mlstm_kernels (CUDA, fp32), else torch" if by_kernel else "torch"}


def _setting() -> bool:
    """Return whether the environment allows kernels, and check that a package that it requires is usable."""
    value = os.environ.get(_SWITCH, "1")
    if value in ("0", "1"):
        return value == "1"
    if value not in _PACKAGES:
        raise RuleExtrapError(f"{_SWITCH} is {value!r}: give 0, 1, {', '.join(_PACKAGES)}")
    if not find_spec(value):
        raise RuleExtrapError(
            f"{_SWITCH} requires {value}, which is not installed: pip install '{_PACKAGES[value]}', or give 1"
        )
    if value != "numba" and not _cuda():
        raise RuleExtrapError(f"{_SWITCH} requires {value}, which needs a CUDA device, and there is none: give 1")
    return True


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()


@cache
def log_missing_packages(missing: tuple[str, ...]) -> None:
    """Log the packages that are not installed, once for each combination of packages."""
    if missing:
        named = ", ".join(f"{package} (pip install '{_PACKAGES[package]}')" for package in missing)
        _logger.info("not installed, so computed in other ways with equal results: %s", named)


def _replace_scan(use: bool) -> bool:
    from transformers.models.mamba import modeling_mamba as mamba

    use = _scans(use)
    for name in CUDA_FUNCTIONS:
        original = ORIGINALS.setdefault(name, getattr(mamba, name))
        # transformers wraps its torch code in a function that calls an installed package on every device.
        setattr(mamba, name, _by_device(name) if use else inspect.unwrap(original))
    return use


def _scans(use: bool) -> bool:
    """Return whether this package's scan runs; its CPU part is compiled by numba."""
    return use and find_spec("numba") is not None


def _by_device(name: str) -> Callable[..., Any]:
    """Return a function of transformers' Mamba that uses an installed package on CUDA, and torch or numba elsewhere."""
    original = ORIGINALS[name]
    plain = inspect.unwrap(original)
    if name == _SCAN:
        from .chunked_scan import over

        plain = over(plain)
    if _mamba_on_cuda() is None:
        return plain

    @wraps(plain)
    def chosen(first: Any, *args: Any, **kwargs: Any) -> Any:
        by_package = first.is_cuda and _convolution_width(name, args, kwargs) <= _WIDEST_CONVOLUTION
        return (original if by_package else plain)(first, *args, **kwargs)

    return chosen


def _mamba_on_cuda() -> str | None:
    """Return the source of the Mamba kernels for this machine's GPU; None if there is no GPU, or only torch."""
    # transformers loads the same kernels from the Hub if this package is installed.
    hub = find_spec("kernels")
    # The fused function of mamba-ssm calls causal-conv1d, so that both packages are needed.
    if find_spec("mamba_ssm") and find_spec("causal_conv1d"):
        source = "mamba-ssm and causal-conv1d"
    # A folder named kernels beside the user's script has no origin, and is not the package.
    elif hub is not None and hub.origin:
        source = "kernels of the Hub"
    else:
        return None
    # The packages are looked up first, because looking for a GPU imports torch.
    return source if _cuda() else None


def _convolution_width(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Return the width of the convolution that a function of transformers' Mamba computes, or 0 if it computes none."""
    place, key = {
        "mamba_inner_fn": (0, "conv1d_weight"),
        "causal_conv1d_fn": (0, "weight"),
        "causal_conv1d_update": (1, "weight"),
    }.get(name, (0, ""))
    weight = kwargs.get(key, args[place] if key and len(args) > place else None)
    return 0 if weight is None else int(weight.shape[-1])


def _replace_mlstm(use: bool) -> None:
    from hf_ruleextrap.models import xlstm_cells

    chunks = ORIGINALS.setdefault(_CHUNKS, xlstm_cells.mlstm_chunks)
    if use and _has_mlstm_kernel():
        from .mlstm import over

        chunks = over(chunks)
    setattr(xlstm_cells, _CHUNKS, chunks)


def _has_mlstm_kernel() -> bool:
    return bool(find_spec("mlstm_kernels") and find_spec("triton") and _cuda())
