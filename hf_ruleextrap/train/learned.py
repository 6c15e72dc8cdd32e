"""Whether a model has learned its language, decided at each evaluation with measures on ID data alone."""

from __future__ import annotations

from typing import Any

from transformers import TrainerControl, TrainerState, TrainingArguments

from hf_ruleextrap.evaluation.likelihood import Likelihood

from .callbacks import Recorder

LEAST_ID_R1 = 0.95
"""The smallest rate of the first rule on ID prompts of a model that has learned its language."""

MOST_EXCESS = 0.1
"""The largest excess validation loss of a model that has learned its language, in nats per token.

A tenth of a nat is a factor of 1.1 between the true probability of a symbol and the model's, on average. A model that
completes ID prompts correctly can still have a larger excess: it has memorized some of the training words, and assigns
almost no probability to the words that were held out.
"""


def meets_criterion(rates: dict[str, float], validation: Likelihood) -> bool:
    """Return whether a model meets the criterion at one evaluation.

    The criterion: the first rule holds on at least `LEAST_ID_R1` of the ID prompts, all completions of ID prompts are
    finished, and the excess validation loss is at most `MOST_EXCESS`. A language whose entropy is unknown has no excess
    loss, so that only the first two conditions apply.

    Args:
        rates: The rates of an evaluation by name; see `Evaluation.rates`.
        validation: The likelihood of the validation words.

    >>> rates = {"id_r1": 0.96, "id_finished": 1.0}
    >>> meets_criterion(rates, Likelihood(loss=0.3, accuracy=0.9, tokens=100, floor=0.25, excess=0.05))
    True
    >>> meets_criterion(rates, Likelihood(loss=0.7, accuracy=0.9, tokens=100, floor=0.25, excess=0.45))
    False
    """
    is_close = validation.excess is None or validation.excess <= MOST_EXCESS
    return rates.get("id_r1", 0) >= LEAST_ID_R1 and rates.get("id_finished", 0) == 1 and is_close


class Learning(Recorder):
    """Record when the model has learned, and end the training a number of evaluations later.

    The state is part of each checkpoint, so that a resumed run learns and ends at the same steps.

    Args:
        stop_after: The number of evaluations after learning at which the training ends; None for no such end.

    Attributes:
        learned_at: The step of the first of two consecutive evaluations that meet the criterion; None before.
        evaluations: The number of evaluations after ``learned_at``.
        met_at: The step of the latest evaluation if it met the criterion; otherwise None.
        is_over: Whether the training ends here.
    """

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after = stop_after
        self.learned_at: int | None = None
        self.evaluations = 0
        self.met_at: int | None = None
        self.is_over = False

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Read whether the evaluation met the criterion. The training never ends at an evaluation that did not."""
        is_met = bool((metrics or {}).get("eval_learned"))
        if self.learned_at is not None:
            self.evaluations += 1
        elif is_met and self.met_at is not None:
            self.learned_at, self.evaluations = self.met_at, 1
        self.met_at = state.global_step if is_met else None
        if self.stop_after is not None and is_met and self.evaluations >= self.stop_after:
            self.is_over = control.should_training_stop = True

    def state(self) -> dict[str, Any]:
        """Return the state that a checkpoint holds."""
        names = ("learned_at", "evaluations", "met_at", "is_over")
        return {"args": {"stop_after": self.stop_after}, "attributes": {name: getattr(self, name) for name in names}}
