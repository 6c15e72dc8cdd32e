"""The architectures that transformers lacks, one file each; a file in this folder is found by being there.

Importing this package makes the Auto classes know them, and they import it when they are asked for something after
``import hf_ruleextrap``. A checkpoint saved from one of them carries these files,
so that ``AutoModelForCausalLM`` and ``AutoModel`` load it with ``trust_remote_code=True`` where the package is
not installed.
"""

from __future__ import annotations

import importlib
import pkgutil

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from .base import RuleConfig, RuleForCausalLM, RulePreTrainedModel
from .recurrent import RecurrentCache

__all__ = ["RecurrentCache", "RuleConfig", "RuleForCausalLM", "RulePreTrainedModel", "register"]


def register(causal_lm: type[RuleForCausalLM]) -> None:
    """Make the Auto classes know an architecture, and its checkpoints carry its code."""
    config, backbone = causal_lm.config_class, causal_lm.backbone
    AutoConfig.register(config.model_type, config, exist_ok=True)
    AutoModel.register(config, backbone, exist_ok=True)
    AutoModelForCausalLM.register(config, causal_lm, exist_ok=True)
    config.register_for_auto_class()
    backbone.register_for_auto_class("AutoModel")
    causal_lm.register_for_auto_class("AutoModelForCausalLM")


for _module in pkgutil.iter_modules(__path__):
    for _value in vars(importlib.import_module(f"{__name__}.{_module.name}")).values():
        if isinstance(_value, type) and issubclass(_value, RuleForCausalLM) and _value is not RuleForCausalLM:
            register(_value)
