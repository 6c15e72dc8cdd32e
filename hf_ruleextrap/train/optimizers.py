"""The optimizers of a recipe. The optimizer is an axis of the study, because each has its own inductive bias."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer
from transformers import PreTrainedModel

# The Trainer's names for the optimizers that the Trainer creates itself.
BY_THE_TRAINER = {name: name for name in ("sgd", "adafactor", "adagrad", "rmsprop")} | {"adamw": "adamw_torch_fused"}


class Muon(Optimizer):
    """Muon for the matrices inside a model, and AdamW for the embeddings, the output layer, biases and gains.

    Both optimizers use the same learning rate, because Muon's update is scaled to the typical size of AdamW's update.
    Sources: Jordan et al., Muon, 2024, for the choice of parameters; Liu et al., arXiv 2502.16982, for the scale;
    `torch.optim.Muon` for the update.

    Args:
        matrices: The parameters with two dimensions.
        others: The parameter groups of AdamW.
        lr: The learning rate.
        weight_decay: The decoupled weight decay of the matrices.
    """

    def __init__(
        self, matrices: list[nn.Parameter], others: list[dict[str, Any]], *, lr: float, weight_decay: float
    ) -> None:
        # An optimizer must not be empty: a model may have no matrix inside, or nothing else.
        has_others = any(group["params"] for group in others)
        self.parts: list[Optimizer] = [AdamW(others, lr=lr, fused=True)] if has_others else []
        if matrices:
            muon = torch.optim.Muon(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
            self.parts.append(muon)
        groups = [group for part in self.parts for group in part.param_groups]
        super().__init__(groups, {"lr": lr})
        # The groups are shared with the parts, so that a schedule changes the parts' learning rates.
        self.param_groups = groups

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]  # one of its overloads
        """Take one step with both optimizers."""
        loss = closure() if closure is not None else None
        for part in self.parts:
            part.step()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Reset the gradients of both optimizers."""
        for part in self.parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """Return the states of both optimizers."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the states that `state_dict` returned."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        # Loading replaces the groups of the parts.
        self.param_groups = [group for part in self.parts for group in part.param_groups]


def build_muon(model: PreTrainedModel, decayed: set[str], *, lr: float, weight_decay: float) -> Muon:
    """Create `Muon` for a model.

    Args:
        model: The model.
        decayed: The names of the parameters with weight decay.
        lr: The learning rate.
        weight_decay: The weight decay of those parameters.
    """
    ends = [module for module in (model.get_input_embeddings(), model.get_output_embeddings()) if module is not None]
    outside = {id(parameter) for module in ends for parameter in module.parameters()}
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    matrices = [parameter for _, parameter in named if parameter.ndim == 2 and id(parameter) not in outside]
    inside = {id(parameter) for parameter in matrices}
    others = [
        {
            "params": [p for name, p in named if id(p) not in inside and (name in decayed) == decays],
            "weight_decay": weight_decay if decays else 0.0,
        }
        for decays in (True, False)
    ]
    return Muon(matrices, others, lr=lr, weight_decay=weight_decay)
