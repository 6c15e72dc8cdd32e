"""Is a model better than what needs no model? A paired difference over prompts, and a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hf_ruleextrap.formal import Rate, Verdicts
from hf_ruleextrap.formal.words import FloatArray

_RESAMPLES = 2000


@dataclass(frozen=True)
class Difference:
    """A mean difference over prompts.

    Attributes:
        against: what the model is compared with.
        mean: of the model's success less the other's, prompt by prompt.
        low, high: its 95 % interval, a bootstrap over prompts (2,000 resamples, percentiles, a fixed seed); where the
            model succeeds on no prompt, or on all, that of Wilson for its rate.
        n: prompts.
    """

    against: str
    mean: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, model: FloatArray, other: FloatArray, against: str) -> Difference:
        """From (P,) success of each prompt, a rate where there are several completions.

        >>> Difference.of(np.array([1.0, 1.0, 0.0, 1.0]), np.zeros(4), "chance").mean
        0.75
        """
        gaps, n = model - other, len(model)
        weights = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=_RESAMPLES) / n
        low, high = np.quantile(weights @ gaps, [0.025, 0.975])
        # A resample of prompts that all fail, or all succeed, knows nothing of others; Wilson's interval does.
        if model.min() == model.max() and model[0] in (0.0, 1.0):
            rate = Rate.count(model > 0)
            assert rate.low is not None
            assert rate.high is not None
            low, high = rate.low - other.mean(), rate.high - other.mean()
        return cls(against, float(gaps.mean()), float(low), float(high), n)

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Verdict:
    """What a careful reader would say.

    Attributes:
        text: the sentence.
        chance: the difference from uniformly random symbols and an end; None where nothing was asked.
        strongest: the difference from the strongest of all references but the oracle.
    """

    text: str
    chance: Difference | None
    strongest: Difference | None


def success(verdicts: Verdicts) -> FloatArray:
    """(P,) for each prompt that is asked something, how many of its completions succeed.

    After an OOD prompt that is to keep every open rule (the headline); after an ID prompt, to end in a word of the
    language.
    """
    ood = verdicts.prompts.ood
    good = np.where(ood, verdicts.open_hold, verdicts.grammatical)
    asked = verdicts.prompts.asked | ~ood
    return np.asarray(good[asked].reshape(-1, verdicts.samples).mean(axis=1))


def judge(model: FloatArray, references: Mapping[str, FloatArray], chance: str) -> Verdict:
    """Compare with chance, and with the strongest reference.

    To be compared with the largest of several is the harder test: the sentence claims too little rather than too much.

    Args:
        model: (P,) `success` of the model.
        references: (P,) of each reference, by name; without the oracle.
        chance: the name of the one that is chance.
    """
    if not len(model):
        return Verdict("no prompt leaves a rule open: nothing was asked", None, None)
    strongest = max(references, key=lambda name: float(references[name].mean()))
    by_chance = Difference.of(model, references[chance], chance)
    by_strongest = Difference.of(model, references[strongest], strongest)
    rates = f"{model.mean():.2f} against {references[chance].mean():.2f}"
    if by_chance.low <= 0:
        text = f"{'below' if by_chance.high < 0 else 'not above'} chance: {rates}, difference {by_chance}"
    elif by_strongest.low > 0:
        text = f"above {strongest} by {by_strongest}"
        text += "" if strongest == chance else f", above chance by {by_chance}"
    else:
        text = f"above chance by {by_chance}, not above {strongest}: difference {by_strongest}"
    return Verdict(text, by_chance, by_strongest)
