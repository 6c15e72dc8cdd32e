"""Measure how long the references of the paper's six languages take: chance at the paper's prompts, and n-grams.

OMP_NUM_THREADS=1 python benchmarks/chance.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import numpy as np

from hf_ruleextrap import chance, formal, get_language, list_languages


def seconds(limit: int | None, orders: Sequence[int] = ()) -> float:
    """Return the processor seconds of chance, or of n-grams of ``orders``, for all prompts of all six languages."""
    started = time.process_time()
    for name in list_languages(tag="paper"):
        if not orders:
            chance(name, kind=None, max_new_symbols=limit)
            continue
        language = get_language(name)
        words = language.sample(512, max_length=64, rng=np.random.default_rng(0))
        for n in orders:
            formal.chance(language, language.prompts(), formal.ngram(language, words, n), max_new_symbols=limit)
    return time.process_time() - started


def main() -> None:
    for limit, orders in ((64, ()), (256, ()), (None, ()), (64, (1, 2, 3))):
        seconds(limit, orders)
        length = "without a limit" if limit is None else f"at most {limit} symbols"
        source = "1-, 2- and 3-gram" if orders else "chance"
        print(f"{source:18}{length:22}{statistics.median(seconds(limit, orders) for _ in range(5)):7.2f} s")


if __name__ == "__main__":
    main()
