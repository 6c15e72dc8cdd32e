"""What no training teaches a causal linear model: ban, dyck and csdyck (docs/results/README.md states the numbers).

The logits of a linear model at a position are any sum of one vector for each earlier position and its symbol. The loss
is therefore a sum of convex functions, one for each position, and each has one minimum in the logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from hf_ruleextrap import build_model, get_language
from hf_ruleextrap.evaluation.likelihood import token_rows
from hf_ruleextrap.formal import WordBatch
from hf_ruleextrap.tokenization import EOS_ID, PAD_ID, encode
from hf_ruleextrap.train.callbacks import LEAST_ID_R1, MOST_EXCESS


def features(prefixes: Tensor) -> Tensor:
    """Return a constant 1, and for each position and each symbol but the first whether the symbol stands there.

    The ids of the symbols follow those of the special tokens.
    """
    symbols = one_hot(prefixes[:, 1:], int(prefixes.max()) + 1)[..., EOS_ID + 2 :]
    return torch.cat([torch.ones(len(prefixes), 1), symbols.flatten(1)], dim=1).double()


def minimize(loss: Callable[[], Tensor], parameters: Iterable[Tensor], *, steps: int) -> float:
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=steps, tolerance_grad=1e-5, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def step() -> float:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value.item()

    optimizer.step(step)
    return loss().item()


def least_loss(rows: Tensor, weights: Tensor, *, steps: int) -> tuple[float, list[Tensor]]:
    """Return the least sum of losses in nats that a linear model has on weighted words, and its weights by position.

    ``rows`` (words, tokens) are the tokens of the words, from BOS to EOS and padding.
    """
    least, fitted = 0.0, []
    for position in range(1, rows.shape[1]):
        counted = rows[:, position] != PAD_ID
        prefixes, index = torch.unique(rows[counted, :position], dim=0, return_inverse=True)
        targets = torch.zeros(len(prefixes), int(rows.max()) + 1, dtype=torch.float64)
        targets.index_put_((index, rows[counted, position]), weights[counted], accumulate=True)
        inputs, total = features(prefixes), targets.sum()
        weight = torch.zeros(inputs.shape[1], targets.shape[1], dtype=torch.float64, requires_grad=True)
        # The loss at this position is minimized within this iteration.
        mean = minimize(lambda: -(targets * (inputs @ weight).log_softmax(-1)).sum() / total, [weight], steps=steps)  # noqa: B023
        least += mean * total.item()
        fitted.append(weight.detach())
    return least, fitted


def test_the_least_loss_is_what_a_trained_linear_model_reaches() -> None:
    language = get_language("ban")
    words = WordBatch.from_strings(list(language.words(5)))
    rows = torch.from_numpy(token_rows(words, language))
    weights = torch.from_numpy(np.exp(language.log_probability(words, 5)))
    model = build_model("linear", language=language, seed=0, max_position_embeddings=8).double()

    def loss() -> Tensor:
        logits, targets = model(rows[:, :-1]).logits.transpose(1, 2), rows[:, 1:]
        return (cross_entropy(logits, targets, ignore_index=PAD_ID, reduction="none").sum(1) * weights).sum()

    # The embeddings stay fixed. They are linearly independent, so that the map alone reaches every linear model.
    trained = minimize(loss, model.model.linear.parameters(), steps=600)
    assert trained == pytest.approx(least_loss(rows, weights, steps=600)[0], abs=1e-3)


def test_the_linear_model_with_the_least_loss_on_ban_keeps_parity_on_too_few_prompts() -> None:
    language = get_language("ban")
    words = WordBatch.from_strings(list(language.words(12)))
    log_probability = language.log_probability(words, 12)
    probability = np.exp(log_probability)
    weights, rows = torch.from_numpy(probability), torch.from_numpy(token_rows(words, language))
    least, fitted = least_loss(rows, weights, steps=300)
    assert (least + probability @ log_probability) / (probability @ (words.lengths + 1)) == pytest.approx(
        0.0676, abs=1e-4
    )

    prompts = language.prompts("id", length=6)
    read = torch.from_numpy(np.column_stack([np.ones(len(prompts), np.int64), encode(prompts.words, language)]))
    for position in range(read.shape[1] - 1, len(fitted)):
        chosen = (features(read) @ fitted[position]).argmax(-1)
        read = torch.column_stack([read, torch.where((read == EOS_ID).any(1), PAD_ID, chosen)])
    finished = (read == EOS_ID).any(1)
    is_even = (read == 3).sum(1) % 2 == 0
    assert len(prompts) == 32
    assert (finished & is_even).sum() == 22 < 32 * LEAST_ID_R1


@pytest.mark.parametrize(("name", "excess"), [("dyck", 0.137), ("csdyck", 0.111)])
def test_no_linear_model_comes_close_enough_to_the_distribution_of_brackets(name: str, excess: float) -> None:
    """The least loss on drawn words is a lower bound on average over draws, because the model is fitted to the draw."""
    language = get_language(name)
    words = language.draw(20_000, 32, np.random.default_rng(0))
    rows, weights = torch.from_numpy(token_rows(words, language)), torch.ones(len(words), dtype=torch.float64)
    least = least_loss(rows, weights, steps=100)[0]
    entropy = -language.log_probability(words, 32).sum()
    assert (least - entropy) / (words.lengths + 1).sum() == pytest.approx(excess, abs=1e-3)
    assert excess > MOST_EXCESS
