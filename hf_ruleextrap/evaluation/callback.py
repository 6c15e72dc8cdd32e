"""Rule extrapolation in a program of the user: a callback for any Trainer, and a wrapper for any ``nn.Module``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.modeling_outputs import CausalLMOutput

from hf_ruleextrap.completers import LocalModel
from hf_ruleextrap.formal import Language, WordBatch
from hf_ruleextrap.languages import get_language
from hf_ruleextrap.tokenization import SPECIAL_TOKENS

from .evaluate import Evaluator
from .results import Evaluation


class RuleExtrapolationCallback(TrainerCallback):
    """Evaluates rule extrapolation at each evaluation of a Trainer of transformers, or of a library that uses one.

    The rates (`Evaluation.rates`, such as ``eval_ood_headline``) are added to the metrics of the evaluation, so that
    ``metric_for_best_model`` can name one, and to ``state.log_history``. The model must use the token ids of
    `hf_ruleextrap.build_tokenizer`.

    Args:
        language: The name of a language, or a Language.
        prompt_length: The number of symbols in a prompt; by default the language's.
        max_new_symbols: The length limit of a completion.
        train_words: The training words, for n-grams as references.
        prefix: The beginning of the names of the rates.

    Attributes:
        evaluation: The latest evaluation, or None before the first one.

    Raises:
        RuleExtrapError: If the language is not known, or has no prompts of this length.
    """

    def __init__(
        self,
        language: str | Language,
        *,
        prompt_length: int | None = None,
        max_new_symbols: int = 64,
        train_words: WordBatch | None = None,
        prefix: str = "eval_",
    ) -> None:
        self.language = get_language(language)
        self.prefix = prefix
        self.evaluation: Evaluation | None = None
        self._evaluator = Evaluator(
            self.language, prompt_length=prompt_length, max_new_symbols=max_new_symbols, train_words=train_words
        )

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **arguments: Any
    ) -> None:
        """Complete the prompts with the model and add the rates to the metrics."""
        del args, control
        self.evaluation = self._evaluator(LocalModel(arguments["model"], self.language))
        rates = {f"{self.prefix}{name}": rate for name, rate in self.evaluation.rates().items()}
        arguments.get("metrics", {}).update(rates)
        state.log_history.append({**rates, "step": state.global_step})


class _WrappedModule(PreTrainedModel, GenerationMixin):
    config_class = PreTrainedConfig
    main_input_name = "input_ids"

    def __init__(self, config: PreTrainedConfig, module: nn.Module) -> None:
        super().__init__(config)
        self.module = module

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False

    @property
    def device(self) -> torch.device:
        # A module may have no parameters.
        return next((parameter.device for parameter in self.parameters()), torch.device("cpu"))

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> CausalLMOutput:
        # Prompts have no padding, so that the module needs no mask.
        del attention_mask
        return CausalLMOutput(logits=self.module(input_ids))

    def prepare_inputs_for_generation(self, input_ids: Tensor, **kwargs: Any) -> dict[str, Tensor]:  # type: ignore[override]  # the other arguments are in kwargs
        # transformers looks for an argument of the name ``kwargs``.
        del kwargs
        return {"input_ids": input_ids}


def wrap_module(module: nn.Module, language: str | Language) -> PreTrainedModel:
    """Return a causal language model of transformers that computes its logits with any module.

    The result works wherever this package takes a model: `LocalModel`, `exact_mass`, `measure_likelihood`. The weights
    are shared with the module, which reads each prefix anew, because the wrapper has no cache.

    Args:
        module: It maps (B, T) int64 token ids of `hf_ruleextrap.build_tokenizer` to (B, T, V) logits.
        language: The name of a language, or a Language.
    """
    size = len(SPECIAL_TOKENS) + len(get_language(language).alphabet)
    config = PreTrainedConfig()
    config.vocab_size = size
    return _WrappedModule(config, module)
