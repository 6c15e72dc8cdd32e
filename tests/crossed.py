"""How often an interval is right in studies whose losses and rates are unrelated, or related by a known amount.

``python tests/crossed.py`` prints the table in docs/report.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np

from hf_ruleextrap.report.statistics import Correlation, rank_correlation

DESIGNS = {"20 x 4 x 1": (20, 4, 1), "6 x 5 x 3": (6, 5, 3)}
"""The numbers of languages, architectures and seeds of each design."""

NULLS = {
    "seeds alone": (0, 0, 0),
    "languages": (0, 1, 0),
    "architectures": (1, 0, 0),
    "strong architectures": (3, 0, 0),
    "both": (1, 1, 0),
    "both, and each combination": (1, 1, 1),
}
"""The standard deviations of the effects of architectures, languages and combinations; that of the seeds is 1."""


def correlations(
    design: tuple[int, int, int],
    effects: tuple[float, float, float],
    *,
    simulations: int,
    within: bool = True,
    related: float = 0.0,
    permutations: int = 500,
) -> Iterator[Correlation]:
    """Yield the correlation in each of several simulated studies.

    Args:
        design: The numbers of languages, architectures and seeds.
        effects: The standard deviations of the effects, as in `NULLS`.
        simulations: The number of studies.
        within: Whether ranks are computed within languages.
        related: The correlation between each effect on x and the same effect on y, also for seeds.
        permutations: The number of permutations for each study.
    """
    languages, architectures, seeds = design
    language = np.repeat(np.arange(languages), architectures * seeds).tolist()
    architecture = np.tile(np.repeat(np.arange(architectures), seeds), languages).tolist()
    rng = np.random.default_rng(0)
    shapes = [
        (1, architectures, 1),
        (languages, 1, 1),
        (languages, architectures, 1),
        (languages, architectures, seeds),
    ]
    for _ in range(simulations):
        x, y = np.zeros((2, *design))
        for effect, shape in zip((*effects, 1.0), shapes, strict=True):
            a, b = rng.normal(size=(2, *shape))
            x, y = x + effect * a, y + effect * (related * a + np.sqrt(1 - related**2) * b)
        yield rank_correlation(
            x.ravel().tolist(),
            y.ravel().tolist(),
            factors=(language, architecture),
            strata=language if within else None,
            permutations=permutations,
        )


def excludes_zero(correlation: Correlation) -> bool:
    return correlation.low is not None and correlation.high is not None and not correlation.low <= 0 <= correlation.high


def main(simulations: int) -> None:
    head = "| effects on loss and rate | " + " | ".join(f"{d}, within | {d}, pooled" for d in DESIGNS)
    sys.stdout.write(f"{head} |\n|:--|" + "--:|" * (2 * len(DESIGNS)) + "\n")
    for related in (0.0, 0.5, 0.8):
        for name, effects in NULLS.items():
            shares = [
                np.mean([*map(excludes_zero, correlations(
                    design, effects, simulations=simulations, within=within, related=related
                ))])
                for design in DESIGNS.values() for within in (True, False)
            ]  # fmt: skip
            texts = " | ".join(f"{100 * share:.1f} %" for share in shares)
            sys.stdout.write(f"| {name}, related by {related} | {texts} |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4_000)
