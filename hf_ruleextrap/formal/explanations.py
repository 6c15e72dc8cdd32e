"""Why a rational learner completes a prompt as it does: the posterior of what is kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .programs import RuleSet
from .prompts import PromptSet
from .rational import NEGLIGIBLE, RationalLearner


@dataclass(frozen=True)
class Kept:
    """What a completion keeps, with its probability.

    Attributes:
        rules: the names of the language's rules that the program behind the completion keeps.
        probability: the sum over all programs that keep just these.
        label: the same in words, e.g. ``"R1 alone"``.
    """

    rules: tuple[str, ...]
    probability: float
    label: str


@dataclass(frozen=True)
class Explanation:
    """Why a learner completes a prompt as it does.

    Attributes:
        prompt: the prompt.
        kept: what is kept of the language's rules, the most probable first.
        programs: the most probable programs behind the completion: each conjunction's rules as sentences (none for
            words over the alphabet), and its probability.
        open_rules_hold: the exact probability that the completed word keeps every rule that the prompt leaves open.
        completion: the greedy completion.
    """

    prompt: str
    kept: tuple[Kept, ...]
    programs: tuple[tuple[tuple[str, ...], float], ...]
    open_rules_hold: float
    completion: str

    def __str__(self) -> str:
        """What is kept, e.g. ``R1 alone 0.93, neither 0.07``."""
        return ", ".join(f"{kept.label} {kept.probability:.2f}" for kept in self.kept if kept.probability >= 0.005)


def explain(learner: RationalLearner, prompts: PromptSet, *, programs: int = 5) -> list[Explanation]:
    """Return for each prompt the posterior of what is kept, and the programs behind the completion.

    A program keeps a rule where each of its words, up to the learner's length, keeps the rule.

    Args:
        learner: the learner.
        prompts: N prompts.
        programs: the number of programs that are listed.

    Raises:
        RuleExtrapError: a prompt is longer than any word.

    >>> from hf_ruleextrap.formal.rational import rational_learner
    >>> from hf_ruleextrap.languages import get_language
    >>> lang = get_language("anbn")
    >>> learner = rational_learner(lang, ["ab", "aabb", "aaabbb", "aaaabbbb"] * 8)
    >>> print(explain(learner, lang.label(["baa"]))[0])
    R1 alone 0.84, neither 0.16
    """
    rates, completions = learner.headline(prompts), learner.complete(prompts)[0]
    keeps: dict[RuleSet, tuple[int, ...]] = {}
    return [
        _explained(learner, prompts.take(np.array([row])), float(rates[row]), completions[row], programs, keeps)
        for row in range(len(prompts))
    ]


def _explained(
    learner: RationalLearner,
    prompt: PromptSet,
    rate: float,
    completion: str,
    most: int,
    keeps: dict[RuleSet, tuple[int, ...]],
) -> Explanation:
    space = learner.posterior.space
    gains = {kept: float(gain[0]) for kept, gain in learner.gains(prompt.words).items()}
    total = sum(gains.values())
    ranked = sorted(((kept, gain / total) for kept, gain in gains.items()), key=lambda item: -item[1])
    by_rules: dict[tuple[int, ...], float] = {}
    for kept, share in ranked:
        if share > NEGLIGIBLE:
            if kept not in keeps:
                keeps[kept] = tuple(i for i in sorted(space.own) if space.programs.implies(kept, i))
            by_rules[keeps[kept]] = by_rules.get(keeps[kept], 0.0) + share
    names = [rule.name for rule in space.language.rules]
    parts = sorted(by_rules.items(), key=lambda item: -item[1])
    kept_rules = [Kept(tuple(names[i] for i in rules), share, _label(rules, len(names))) for rules, share in parts]
    listed = [
        (tuple(space.rules[i].summary for i in sorted(kept)), share)
        for kept, share in ranked[:most]
        if share > NEGLIGIBLE
    ]
    return Explanation(prompt.texts[0], tuple(kept_rules), tuple(listed), rate, completion)


def _label(rules: tuple[int, ...], count: int) -> str:
    """What is kept of a language's rules, in words.

    >>> _label((0,), 2), _label((), 2), _label((0, 2), 3)
    ('R1 alone', 'neither', 'R1 and R3')
    """
    if not rules:
        return "neither" if count == 2 else "none"
    names = " and ".join(f"R{i + 1}" for i in rules)
    return f"{names} alone" if len(rules) == 1 else names
