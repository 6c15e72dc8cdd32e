"""The callback in a plain Trainer, and a module that is wrapped."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from transformers import Trainer, TrainingArguments

from hf_ruleextrap import Evaluator, LocalModel, build_model, get_language
from hf_ruleextrap.evaluation.callback import RuleExtrapolationCallback, wrap_module

LANGUAGE = get_language("anbn")


def test_the_callback_adds_the_rates_of_the_model_to_the_metrics(tmp_path: Path) -> None:
    model = build_model("lstm", language=LANGUAGE, seed=0)
    callback = RuleExtrapolationCallback(LANGUAGE, prompt_length=3, max_new_symbols=4)
    rows = [{"input_ids": [1, 3, 4, 2], "labels": [1, 3, 4, 2]}] * 4
    arguments = TrainingArguments(
        str(tmp_path),
        max_steps=2,
        eval_strategy="steps",
        eval_steps=1,
        save_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="ood_headline",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=rows, eval_dataset=rows, callbacks=[callback])
    trainer.train()
    metrics = trainer.evaluate()
    evaluation = Evaluator(LANGUAGE, prompt_length=3, max_new_symbols=4)(LocalModel(model, LANGUAGE))
    assert {f"eval_{name}": rate for name, rate in evaluation.rates().items()}.items() <= metrics.items()
    assert sum("eval_ood_headline" in line for line in trainer.state.log_history) == 3


def test_a_wrapped_module_completes_by_its_logits() -> None:
    class Alternates(nn.Module):
        """A network that predicts b after a, and the end after b."""

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return 50.0 * nn.functional.one_hot(torch.where(ids == 3, 4, torch.where(ids == 4, 2, 3)), 5)

    completer = LocalModel(wrap_module(Alternates(), "anbn"), LANGUAGE)
    completions = completer.complete(LANGUAGE.label(["a", "b", "ba"]), max_new_symbols=3)
    assert list(completions.words) == ["b", "", "b"]
    assert completions.finished.all()
