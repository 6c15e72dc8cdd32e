"""``hf-ruleextrap explain``."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hf_ruleextrap.errors import check_integer, counted

from .common import Commands, add_json, add_paper, print_json

if TYPE_CHECKING:
    from hf_ruleextrap.formal import Explanation, RationalLearner

_LEARNERS = ("rational-uniform", "rational-simple", "rational-modular")


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "explain", help="what rational learners keep after a prompt that breaks a rule, and why"
    )
    parser.add_argument("language")
    parser.add_argument("prompts", nargs="+", metavar="PROMPT")
    parser.add_argument(
        "--learner", default="all", help=f"{', '.join(_LEARNERS)}, rational (the last), or all (default)"
    )
    parser.add_argument("--words", type=int, default=128, help="number of training words (default: 128)")
    parser.add_argument(
        "--seen",
        type=int,
        nargs="+",
        metavar="N",
        default=[],
        help="also print the rate after the first N training words, for each N",
    )
    parser.add_argument("--max-length", type=int, default=16, help="largest length of a word (default: 16)")
    parser.add_argument("--seed", type=int, default=0, help="random seed for drawing the training words (default: 0)")
    parser.add_argument("--epsilon", type=float, default=0.01, help="probability of an exception (default: 0.01)")
    parser.add_argument("--delta", type=float, default=0.1, help="probability that one drops a rule (default: 0.1)")
    parser.add_argument("--budget", type=float, default=29.0, help="bits of the longest hypothesis (default: 29)")
    add_paper(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the explanations."""
    import numpy as np
    from tqdm import tqdm

    from hf_ruleextrap.formal import HypothesisSpace, RationalLearner, RationalSettings, explain
    from hf_ruleextrap.formal.rational import rates_by_words
    from hf_ruleextrap.languages import get_language

    language = get_language(arguments.language, paper=arguments.paper)
    prompts = language.label(arguments.prompts)
    rng = np.random.default_rng(check_integer("seed", arguments.seed))
    words = language.sample(check_integer("words", arguments.words), max_length=arguments.max_length, rng=rng)
    settings = RationalSettings(epsilon=arguments.epsilon, delta=arguments.delta, budget=arguments.budget)

    def track(conjunctions: list[frozenset[int]]) -> Any:
        # No bar where nobody watches.
        return tqdm(conjunctions, unit="hypothesis", disable=None, file=sys.stderr)

    space = HypothesisSpace(language, arguments.max_length, settings, track=track)
    names = _LEARNERS if arguments.learner == "all" else (arguments.learner,)
    learners = [RationalLearner.of(space, words, name) for name in names]
    explanations = [explain(learner, prompts) for learner in learners]
    curves = [rates_by_words(space, words, prompts, arguments.seen, name) for name in names if arguments.seen]
    if arguments.json:
        print_json(
            {
                "language": language.name,
                "words": len(words),
                "max_length": arguments.max_length,
                "learners": dict(map(_as_item, learners, explanations)),
                "seen": arguments.seen,
                "rates_by_words": {
                    learner.name: curve.tolist() for learner, curve in zip(learners, curves, strict=False)
                },
            }
        )
        return
    print(f"after {counted(len(words), 'word')} of {language.name} with up to {arguments.max_length} symbols:")
    for number, rule in enumerate(language.rules, start=1):
        print(f"  R{number}: {rule.summary}")
    for learner, of_learner in zip(learners, explanations, strict=True):
        print(f"\n{learner.name} (posterior of the language's own words: {learner.posterior.own_words:.3f})")
        for row, explanation in enumerate(of_learner):
            kind = "ID" if not prompts.ood[row] else "OOD"
            print(f"  {explanation.prompt} ({kind}): {explanation}")
            print(f"    every open rule holds {explanation.open_rules_hold:.3f}; greedy: {explanation.completion}")
            for rules, share in explanation.programs:
                if share >= 0.005:
                    print(f"    {share:.3f}  {' and '.join(rules) or 'any word'}")
    for learner, curve in zip(learners, curves, strict=False):
        print(f"\n{learner.name}: every open rule holds after the first training words")
        print("   words  " + "  ".join(f"{prompt:>8}" for prompt in arguments.prompts))
        for count, rates in zip(arguments.seen, curve, strict=True):
            print(f"  {count:6}  " + "  ".join(f"{rate:8.3f}" for rate in rates))


def _as_item(learner: RationalLearner, explanations: list[Explanation]) -> tuple[str, dict[str, Any]]:
    """The name of a learner, and what it says, as plain dictionaries."""
    prompts = [asdict(explanation) for explanation in explanations]
    return learner.name, {"own_words": learner.posterior.own_words, "prompts": prompts}
