"""How long the reference table of the six languages takes: chance at the paper's prompts, exact and unlimited.

OMP_NUM_THREADS=1 python benchmarks/chance.py
"""

from __future__ import annotations

import statistics
import time

from hf_ruleextrap import chance, list_languages


def seconds(limit: int | None) -> float:
    """All six languages, all their prompts."""
    started = time.perf_counter()
    for name in list_languages(tag="paper"):
        chance(name, kind=None, max_new_symbols=limit)
    return time.perf_counter() - started


def main() -> None:
    for limit in (64, 256, None):
        seconds(limit)
        said = "without a limit" if limit is None else f"at most {limit} symbols"
        print(f"{said:22}{statistics.median(seconds(limit) for _ in range(5)):7.2f} s")


if __name__ == "__main__":
    main()
