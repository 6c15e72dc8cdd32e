"""The optimizers of a recipe: an axis of the study, since each has its own bias."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer
from transformers import PreTrainedModel

# The Trainer's names for those that it makes itself.
BY_THE_TRAINER = {name: name for name in ("sgd", "adafactor", "adagrad", "rmsprop")} | {"adamw": "adamw_torch"}


class Muon(Optimizer):
    """Muon for the matrices inside a model, AdamW for all else: embeddings, the output layer, biases, gains.

    Both have the same learning rate, Muon's update being scaled to AdamW's typical size. Source: Jordan et al., Muon,
    2024, which says which parameters; Liu et al., arXiv 2502.16982, for the scale; `torch.optim.Muon`.

    Args:
        matrices: parameters of two dimensions.
        others: parameter groups of AdamW.
        lr: learning rate.
        weight_decay: decoupled, of the matrices.
    """

    def __init__(
        self, matrices: list[nn.Parameter], others: list[dict[str, Any]], *, lr: float, weight_decay: float
    ) -> None:
        # Either may have nothing to do: a model may have no matrix inside.
        self.parts: list[Optimizer] = [AdamW(others, lr=lr)] if any(group["params"] for group in others) else []
        if matrices:
            muon = torch.optim.Muon(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
            self.parts.append(muon)
        groups = [group for part in self.parts for group in part.param_groups]
        super().__init__(groups, {"lr": lr})
        # The very groups of the parts: a schedule that sets their learning rate sets it there.
        self.param_groups = groups

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]  # one of its overloads
        """One step of both."""
        loss = closure() if closure is not None else None
        for part in self.parts:
            part.step()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Of both."""
        for part in self.parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """The states of both."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As `state_dict` gave them."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        # Loading replaces the parts' groups.
        self.param_groups = [group for part in self.parts for group in part.param_groups]


def build_muon(model: PreTrainedModel, decayed: set[str], *, lr: float, weight_decay: float) -> Muon:
    """Muon for a model.

    Args:
        model: the model.
        decayed: names of the parameters with weight decay.
        lr: learning rate.
        weight_decay: of the decayed ones.
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
