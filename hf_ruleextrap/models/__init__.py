"""The architectures that transformers lacks, each in a file of its own.

Importing this package imports every file of this folder, and registers the architectures in the files and the class of
their tokenizers with the Auto classes of transformers. A checkpoint of one of the architectures includes the
architecture's files, so that ``AutoModelForCausalLM`` and ``AutoModel`` load the checkpoint with
``trust_remote_code=True`` where this package is not installed or not imported.
"""

from __future__ import annotations

import importlib
import pkgutil

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

from hf_ruleextrap.symbol_tokenizer import SymbolTokenizer

from .base import RuleConfig, RuleForCausalLM, RulePreTrainedModel
from .recurrent import RecurrentCache

__all__ = ["RecurrentCache", "RuleConfig", "RuleForCausalLM", "RulePreTrainedModel", "register"]


def register(causal_lm: type[RuleForCausalLM]) -> None:
    """Register an architecture with the Auto classes, and make its checkpoints include its code."""
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

# A saved tokenizer names its class. AutoTokenizer looks the name up in the classes of all registered configurations.
AutoTokenizer.register(RuleConfig, SymbolTokenizer, exist_ok=True)
