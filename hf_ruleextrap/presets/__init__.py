"""The presets: named architectures with their sizes, one YAML file each in this folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from hf_ruleextrap.errors import unknown

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Preset:
    """A named architecture.

    Attributes:
        name: The name of the architecture, such as ``"lstm"``.
        model_type: The model type in transformers.
        summary: A description in one sentence.
        sizes: For each size ("paper", "mini"), the fields of its configuration. Two more keys are not fields:
            ``vocab_multiple``, the number to whose multiple the vocabulary is rounded up, and ``torch_init``, the
            modules that keep torch's initial weights.
        parameters: For each size, the number of parameters of its model for an alphabet of two symbols.
        released: The fields of the configuration in which the authors' released code differs from the description in
            the paper. A recipe with ``paper: true`` and ``size: paper`` sets these fields.
        fit: How the model is fitted to a parameter budget: the field under ``width`` grows in steps, the fields under
            ``with`` grow in proportion, and the field under ``fine`` closes the remaining gap.
    """

    name: str
    model_type: str
    summary: str
    sizes: Mapping[str, Mapping[str, Any]]
    parameters: Mapping[str, int]
    fit: Mapping[str, Mapping[str, float]]
    released: Mapping[str, Any] = field(default_factory=dict)


def list_architectures() -> list[str]:
    """Return the names of the presets, sorted.

    >>> "lstm" in list_architectures()
    True
    """
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


@cache
def get_preset(name: str) -> Preset:
    """Return the preset of a name.

    Raises:
        RuleExtrapError: If no preset has the name. The message suggests the nearest names.

    >>> sorted(get_preset("lstm").sizes)
    ['mini', 'paper']
    """
    if name not in list_architectures():
        raise unknown("architecture", name, list_architectures())
    fields = yaml.safe_load((_FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return Preset(name=name, **fields)
