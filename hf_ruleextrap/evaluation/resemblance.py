"""The Kullback-Leibler divergence of the completions of rational learners from those of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hf_ruleextrap.errors import check_integer
from hf_ruleextrap.formal import PromptSet, RationalLearner, Source
from hf_ruleextrap.formal.intervals import Z95
from hf_ruleextrap.formal.words import FloatArray

from .figures import COLOURS
from .mass import all_completions, check_readable, steps_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from transformers import PreTrainedModel

_MOST_COMPLETIONS = 1 << 16
"""The largest number of completions over which the exact sum is computed."""

_DRAWS = 4
"""The number of completions that are drawn for each prompt if there are more completions than the exact sum allows."""

_MARKERS = {"rational-uniform": "s", "rational-simple": "^", "rational-modular": "o"}


@dataclass(frozen=True)
class Divergence:
    """The divergence of one learner from a model.

    Attributes:
        learner: The name of the learner.
        mean: The mean over the prompts of the divergence of the learner's completions from the model's, in nats.
        low, high: The 95 % interval of the mean over prompts (normal approximation); None for a single prompt.
        n: The number of prompts.
        exact: Whether the divergence is the sum over all completions. Otherwise the divergence is estimated along drawn
            completions.
    """

    learner: str
    mean: float
    low: float | None
    high: float | None
    n: int
    exact: bool = True


def nearest_learners(
    model: PreTrainedModel | Source,
    learners: Sequence[RationalLearner],
    prompts: PromptSet,
) -> list[Divergence]:
    """Return the divergence of each learner from a model, the nearest learner first.

    Args:
        model: A causal language model with the language's tokenizer, or a source.
        learners: The learners, all of one language.
        prompts: The prompts, all of one length; usually the OOD prompts.

    Raises:
        RuleExtrapError: If the prompts have several lengths, or the model has too few positions.
    """
    divergences = []
    for learner in learners:
        by_prompt = divergence_by_prompt(model, learner, prompts)
        n, mean = len(by_prompt), float(by_prompt.mean())
        error = Z95 * float(by_prompt.std(ddof=1)) / n**0.5 if n > 1 else None
        low, high = (None, None) if error is None else (mean - error, mean + error)
        divergences.append(Divergence(learner.name, mean, low, high, n, _is_exact(learner, prompts)))
    return sorted(divergences, key=lambda divergence: divergence.mean)


def divergence_by_prompt(
    model: PreTrainedModel | Source,
    learner: RationalLearner,
    prompts: PromptSet,
    *,
    draws: int | None = None,
    seed: int = 0,
) -> FloatArray:
    """Return the divergence of a learner's completions from a model's after each prompt, (N,) float64 in nats.

    The divergence is the sum over all completions c of P(c) log (P(c) / Q(c)), where P is the learner's distribution,
    whose words have a largest length, and Q the model's. By the chain rule it is also the mean, over completions drawn
    from P, of the sum over their places of the divergence of the next symbol. The second form is used where there are
    more than 2^16 completions; its error is only that of the mean over the drawn completions. The divergence is
    infinite where the model never gives a completion that the learner gives.

    Args:
        model: A causal language model with the language's tokenizer, or a source.
        learner: The learner.
        prompts: The N prompts, all of one length.
        draws: The number of completions that are drawn for each prompt. None for the exact sum if there are at most
            2^16 completions, and otherwise for 4 drawn completions.
        seed: The random seed for drawing completions.

    Raises:
        RuleExtrapError: If the prompts have several lengths, or the model has too few positions.

    >>> from hf_ruleextrap.formal import rational_learner, uniform
    >>> from hf_ruleextrap.languages import get_language
    >>> lang = get_language("anbn")
    >>> learner = rational_learner(lang, ["ab", "aabb"] * 40, max_length=4)
    >>> divergence_by_prompt(uniform(lang), learner, lang.label(["aab"])).round(2).tolist()
    [2.19]
    """
    if draws is not None:
        return _along_draws(model, learner, prompts, check_integer("draws", draws, least=1), seed)
    if not _is_exact(learner, prompts):
        return _along_draws(model, learner, prompts, _DRAWS, seed)
    total, weight = np.zeros(len(prompts)), np.zeros(len(prompts))
    longest = _longest(learner, prompts)
    for row, words, log_model in all_completions(model, learner.language, prompts, max_new_symbols=longest):
        probability = learner.word_probability(words)
        possible = probability > 0
        logs = np.log(probability[possible]) - log_model[possible]
        np.add.at(weight, row, probability)
        np.add.at(total, row[possible], probability[possible] * logs)
    # The words that begin with the prompt have the weight w in all: P(c) is p / w.
    return np.asarray(total / weight - np.log(weight))


def _longest(learner: RationalLearner, prompts: PromptSet) -> int:
    """Return the number of symbols in the learner's longest completion."""
    return learner.max_length - int(prompts.words.lengths.max(initial=0))


def _is_exact(learner: RationalLearner, prompts: PromptSet) -> bool:
    """Return whether there are few enough completions for the exact sum."""
    return len(prompts) * len(learner.language.alphabet) ** _longest(learner, prompts) <= _MOST_COMPLETIONS


def _along_draws(
    model: PreTrainedModel | Source, learner: RationalLearner, prompts: PromptSet, draws: int, seed: int
) -> FloatArray:
    """Return the divergence of the next symbol, summed along completions that are drawn from the learner."""
    longest = _longest(learner, prompts)
    check_readable(model, prompts, longest)
    drawn = prompts.words.take(np.arange(len(prompts)).repeat(draws))
    end, total = len(learner.language.alphabet), np.zeros(len(drawn))
    steps = steps_of(model, learner.language)
    carried, log_model = steps.first(drawn)
    for step in learner.steps(drawn, limit=longest, rng=np.random.default_rng(seed)):
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = step.table * (np.log(step.table) - log_model)
        total[step.rows] += np.where(step.table > 0, terms, 0.0).sum(axis=1)
        going = np.flatnonzero(step.choice < end)
        if len(going):
            carried, log_model = steps.following(carried, going, step.choice[going])
    return np.asarray(total.reshape(len(prompts), draws).mean(axis=1))


def draw_nearest(runs: Sequence[tuple[str, Sequence[Divergence]]], axes: Axes) -> None:
    """Draw the divergence of each learner from runs: a line for each label, with a filled marker for the nearest.

    Args:
        runs: The label of each run, for example its language and architecture, and its divergences. Runs with the same
            label, for example the seeds of one cell, share a line.
        axes: The axes. The y axis becomes the list of labels.
    """
    from matplotlib.lines import Line2D

    labels = list(dict.fromkeys(label for label, _ in runs))
    for label, divergences in runs:
        by_learner = {divergence.learner: divergence.mean for divergence in divergences}
        nearest = min(by_learner, key=by_learner.__getitem__)
        for place, (learner, marker) in enumerate(_MARKERS.items()):
            colour = COLOURS[place]
            axes.plot(
                by_learner[learner],
                labels.index(label) + 0.25 * (place - 1),
                marker,
                color=colour,
                markerfacecolor=colour if learner == nearest else "none",
                markersize=5,
            )
    axes.set(xscale="log", xlabel="divergence of the learner's completions from the model's (nats)")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(axis="y", alpha=0.2)
    handles = [
        Line2D([], [], marker=marker, color=COLOURS[place], linestyle="none", label=name)
        for place, (name, marker) in enumerate(_MARKERS.items())
    ]
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, fontsize=8)
