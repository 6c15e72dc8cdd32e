"""Is a model better than what needs no model? A paired difference over prompts, and a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hf_ruleextrap.formal import Clusters, difference_interval
from hf_ruleextrap.formal.words import FloatArray

from .references import UNIFORM, heading


@dataclass(frozen=True)
class Difference:
    """The difference of two rates on the same prompts.

    Attributes:
        against: the name of the reference that the model is compared with.
        mean: the model's rate less the other's.
        low, high: the 95 % interval for paired rates (`formal.difference_interval`); it has a width even where the two
            agree on every prompt.
        n: prompts.
    """

    against: str
    mean: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, model: Clusters | FloatArray, other: Clusters | FloatArray, against: str) -> Difference:
        """Compare two sets of rates, prompt by prompt.

        Args:
            model: the successes after each of P prompts, as of `success`; or (P,) the success of one completion each.
            other: the same of what the model is compared with; or (P,) the probability of success after each prompt.
            against: the name of what the model is compared with.

        >>> Difference.of(np.array([1.0, 1.0, 0.0, 1.0]), np.zeros(4), "chance").mean
        0.75
        """
        first, second = _clusters(model), _clusters(other, exact=True)
        return cls(against, first.rate - second.rate, *difference_interval(first, second), len(first.rows))

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


def _clusters(rates: Clusters | FloatArray, *, exact: bool = False) -> Clusters:
    return rates if isinstance(rates, Clusters) else Clusters.of_rates(rates, exact=exact)


def judge(model: Clusters | FloatArray, references: Mapping[str, Clusters | FloatArray]) -> Verdict:
    """Compare with chance, and with the strongest reference.

    To be compared with the largest of several is the harder test: the sentence claims too little rather than too much.

    Args:
        model: the successes of the model, as in `Difference.of`.
        references: those of each reference, by its name in `references`, ``uniform`` among them; without the oracle.
    """
    of_model, others = _clusters(model), {name: _clusters(rates, exact=True) for name, rates in references.items()}
    if not len(of_model.rows):
        return Verdict("no prompt leaves a rule open: nothing was asked", None, None)
    strongest = max(others, key=lambda name: others[name].rate)
    by_chance = Difference.of(of_model, others[UNIFORM], UNIFORM)
    by_strongest = Difference.of(of_model, others[strongest], strongest)
    rates = f"{of_model.rate:.2f} against {others[UNIFORM].rate:.2f}"
    if by_chance.low <= 0:
        text = f"{'below' if by_chance.high < 0 else 'not above'} chance: {rates}, difference {by_chance}"
    elif by_strongest.low > 0:
        text = f"above {heading(strongest)} by {by_strongest}"
        text += "" if strongest == UNIFORM else f", above chance by {by_chance}"
    else:
        text = f"above chance by {by_chance}, not above {heading(strongest)}: difference {by_strongest}"
    return Verdict(text, by_chance, by_strongest)
