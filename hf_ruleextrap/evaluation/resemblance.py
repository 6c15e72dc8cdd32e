"""Which rational learner a model resembles: the exact Kullback-Leibler divergence of their completions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hf_ruleextrap.formal import PromptSet, RationalLearner, Source
from hf_ruleextrap.formal.words import FloatArray

from .mass import all_completions

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_Z95 = 1.959963984540054


@dataclass(frozen=True)
class Divergence:
    """How far a model is from one learner.

    Attributes:
        learner: the learner's name.
        mean: the mean over the prompts of the divergence of the learner's completions from the model's, in nats.
        low, high: the 95 % interval of the mean over prompts (normal approximation); None for a single prompt.
        n: the number of prompts.
    """

    learner: str
    mean: float
    low: float | None
    high: float | None
    n: int


def nearest_learners(
    model: PreTrainedModel | Source, learners: Sequence[RationalLearner], prompts: PromptSet
) -> list[Divergence]:
    """Return how far a model is from each of some learners, the nearest learner first.

    Args:
        model: a causal language model with the language's tokenizer, or a source.
        learners: learners of one language.
        prompts: prompts of one length; usually the OOD ones.

    Raises:
        RuleExtrapError: the prompts have several lengths, or more than 2^22 completions in all.
    """
    divergences = []
    for learner in learners:
        each = divergence_by_prompt(model, learner, prompts)
        error = _Z95 * float(each.std(ddof=1)) / len(each) ** 0.5 if len(each) > 1 else None
        mean = float(each.mean())
        low, high = (None, None) if error is None else (mean - error, mean + error)
        divergences.append(Divergence(learner.name, mean, low, high, len(each)))
    return sorted(divergences, key=lambda one: one.mean)


def divergence_by_prompt(model: PreTrainedModel | Source, learner: RationalLearner, prompts: PromptSet) -> FloatArray:
    """(N,) float64: after each prompt, the divergence of a learner's completions from a model's, in nats.

    It is the sum over all completions c of P(c) log (P(c) / Q(c)), where P is the learner's distribution, whose words
    have a largest length, and Q the model's. It is infinite where the model never gives a completion that the learner
    gives.

    Raises:
        RuleExtrapError: as `nearest_learners`.

    >>> from hf_ruleextrap.formal import rational_learner, uniform
    >>> from hf_ruleextrap.languages import get_language
    >>> lang = get_language("anbn")
    >>> learner = rational_learner(lang, ["ab", "aabb"] * 40, max_length=4)
    >>> divergence_by_prompt(uniform(lang), learner, lang.label(["aab"])).round(2).tolist()
    [2.19]
    """
    language, length = learner.language, int(prompts.words.lengths.max(initial=0))
    total, weight = np.zeros(len(prompts)), np.zeros(len(prompts))
    longest = learner.max_length - length
    for row, words, log_model in all_completions(model, language, prompts, max_new_symbols=longest):
        probability = learner.word_probability(words)
        possible = probability > 0
        logs = np.log(probability[possible]) - log_model[possible]
        np.add.at(weight, row, probability)
        np.add.at(total, row[possible], probability[possible] * logs)
    # The words that begin with the prompt have the weight w in all: P(c) is p / w.
    return np.asarray(total / weight - np.log(weight))
