"""Measure the time of the rational learners, or draw the figure of docs/rational.md."""

from __future__ import annotations

import argparse
from time import process_time
from typing import Any

import numpy as np

from hf_ruleextrap import get_language
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.formal import HypothesisSpace, RationalLearner, RationalSettings
from hf_ruleextrap.formal.posterior import Posterior
from hf_ruleextrap.formal.rational import LEARNERS, rates_by_words
from hf_ruleextrap.languages import built_in_languages, list_languages

WORDS, LENGTHS = 128, (16,)
COUNTS = (0, 1, 2, 4, 8, 16, 32, 64, 128)
SEEN = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
EPSILONS = (1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3)
DELTAS = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
BITS = (0.25, 0.5, 1, 1.5, 2, 3, 4)
PROMPTS = (("anbn", "baa"), ("ban", "ab"), ("csdyck", ")["))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figure", help="draw the figure to this file instead of measuring")
    arguments = parser.parse_args()
    if arguments.figure:
        draw(arguments.figure)
    else:
        measure()


def measure() -> None:
    """Print the processor seconds of all three learners on all OOD prompts: learning, exact rate, greedy completion."""
    seconds = {name: measured(name) for name in built_in_languages()}
    six = [seconds[name] for name in list_languages(tag="paper")]
    total = sum(seconds.values())
    print(f"the six languages of the paper: at most {max(six):.1f} s each; all {len(seconds)}: {total:.1f} s")


def measured(name: str) -> float:
    language = get_language(name)
    prompts = language.prompts("ood")
    prompts = prompts.take(prompts.in_headline)
    for length in LENGTHS:
        start = process_time()
        try:
            space = HypothesisSpace(language, length)
        except RuleExtrapError as error:
            print(f"{name:16} {error}")
            continue
        words = language.sample(WORDS, max_length=length, rng=np.random.default_rng(0))
        for learner in (RationalLearner.of(space, words, kind) for kind in LEARNERS):
            learner.headline(prompts)
            learner.complete(prompts)
        seconds = process_time() - start
        print(f"{name:16} words of up to {length} symbols: {seconds:6.2f} s")
        return seconds
    raise SystemExit(f"{name} cannot be counted")


def draw(path: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.6), layout="constrained")
    (data, seen, legend), (epsilon, delta, code) = figure.subplots(2, 3)
    legend.set_axis_off()
    for place, name in enumerate(list_languages(tag="paper")):
        language = get_language(name)
        prompts = language.prompts("ood")
        words = language.sample(SEEN[-1], max_length=16, rng=np.random.default_rng(0))
        rates = rates_by_words(HypothesisSpace(language, 16), words, prompts.take(prompts.in_headline), SEEN)
        seen.plot(SEEN, rates.mean(axis=1), "os^DvP"[place] + "-", markersize=4, label=name)
    for name, prompt in PROMPTS:
        language = get_language(name)
        words = list(language.sample(WORDS, max_length=16, rng=np.random.default_rng(0)))
        space = HypothesisSpace(language, 16)
        data.plot(COUNTS, [Posterior.of(space, words[:n], "modular").own_words for n in COUNTS], "o-")
        epsilon.plot(EPSILONS, [rate(name, prompt, words, "modular", epsilon=e) for e in EPSILONS], "o-")
        delta.plot(DELTAS, [rate(name, prompt, words, "modular", delta=d) for d in DELTAS], "o-")
        rates = [rate(name, prompt, words, "simple", bits_per_token=bits, tokens=(7, 5)) for bits in BITS]
        code.plot(BITS, rates, "o-", label=f"{name}, {prompt}")
    data.set(xlabel="training words", ylabel="posterior of the language's own words", xscale="symlog")
    epsilon.set(xlabel="epsilon", ylabel="every open rule holds", title="rational-modular", xscale="log")
    seen.set(xlabel="training words", ylabel="every open rule holds, all OOD prompts", xscale="symlog")
    seen.set_title("rational-modular")
    delta.set(xlabel="delta", title="rational-modular")
    code.set(xlabel="bits per token", title="rational-simple")
    for axes in (data, seen, epsilon, delta, code):
        axes.set_ylim(-0.03, 1.03)
    code_handles, code_labels = code.get_legend_handles_labels()
    panels = "first panel and lower row"
    first = legend.legend(code_handles, code_labels, title=panels, loc="upper left", frameon=False)
    legend.add_artist(first)
    legend.legend(*seen.get_legend_handles_labels(), title="second panel", loc="lower left", frameon=False)
    figure.savefig(path, dpi=100, metadata={"Software": None})


def rate(
    name: str, prompt: str, words: list[str], kind: str, *, tokens: tuple[int, int] | None = None, **assumptions: Any
) -> float:
    """Return the exact rate after one prompt; ``tokens`` gives both budgets in tokens, whatever a token costs."""
    language = get_language(name)
    if tokens is not None:
        longest, exception = (1 + assumptions["bits_per_token"] * n for n in tokens)
        assumptions |= {"budget": longest, "exception_budget": exception}
    space = HypothesisSpace(language, 16, RationalSettings(**assumptions))
    return float(RationalLearner.of(space, words, f"rational-{kind}").headline(language.label([prompt]))[0])


if __name__ == "__main__":
    main()
