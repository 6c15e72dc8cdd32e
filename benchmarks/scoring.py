"""Measure how long scoring takes on one core, against a loop in torch over rows of token ids.

    OMP_NUM_THREADS=1 python benchmarks/scoring.py

Both sides check two rules on the whole word and on the completion of the same rows, in one process. The times are
medians of the processor time after a warm-up. The loop is how an evaluation in PyTorch is usually written first. The
loop runs on fewer rows, and its time is scaled up to all rows. The last line is the peak memory of the process,
including torch and the input.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from hf_ruleextrap import formal
from hf_ruleextrap.languages import get_language, list_languages


def completions_of(language: formal.Language, n: int, longest: int) -> tuple[list[str], list[str]]:
    """Return n random prompts of eight symbols, and n random completions of up to ``longest`` symbols."""
    rng = np.random.default_rng(0)
    symbols = np.array(language.alphabet)
    prompts = ["".join(row) for row in symbols[rng.integers(len(symbols), size=(n, 8))]]
    lengths = rng.integers(longest, size=n, endpoint=True)
    return prompts, ["".join(symbols[rng.integers(len(symbols), size=length)]) for length in lengths]


def anbn_row(row: torch.Tensor) -> tuple[bool, bool]:
    """Return whether the row has as many a as b, and whether every a is before every b."""
    a, b = torch.where(row == ord("a"))[0], torch.where(row == ord("b"))[0]
    return len(a) == len(b), not len(a) or not len(b) or bool(a[-1] < b[0])


def csdyck_row(row: torch.Tensor) -> tuple[bool, bool]:
    """Return whether the square brackets are balanced, and whether the parentheses are balanced."""
    balanced = []
    for opening, closing in ("[]", "()"):
        depth = ((row == ord(opening)).int() - (row == ord(closing)).int()).cumsum(0)
        balanced.append(not len(row) or bool(depth[-1] == 0 and depth.min() >= 0))
    return balanced[0], balanced[1]


LOOPS = {"anbn": anbn_row, "csdyck": csdyck_row}


def row_by_row(name: str, words: formal.WordBatch, cut: int) -> int:
    """Return the number of rules that hold, over all words and all completions, which start at ``cut``."""
    rules_that_hold = 0
    for codes, length in zip(torch.from_numpy(words.codes), words.lengths, strict=True):
        rules_that_hold += sum(LOOPS[name](codes[:length])) + sum(LOOPS[name](codes[cut:length]))
    return rules_that_hold


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the median processor time of several runs, after a warm-up."""
    work()
    times = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=100_000, help="the number of completions (default 100,000)")
    parser.add_argument("--longest", type=int, default=64, help="the longest completion in symbols (default 64)")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    print(f"{arguments.n:,} completions of up to {arguments.longest} symbols, seconds (median of {arguments.repeats})")
    print(f"{'language':10}{'strings':>9}{'ids':>9}{'aggregate':>11}{'row by row':>12}{'strings':>9}{'ids':>7}")
    loop_rows = min(arguments.n, 5000)
    for name in list_languages(tag="paper"):
        language = get_language(name)
        prompts, completions = completions_of(language, arguments.n, arguments.longest)
        ours = seconds(lambda: formal.score(language, prompts, completions), arguments.repeats)  # noqa: B023  # at once
        verdicts = formal.score(language, prompts, completions)
        table, ids = np.zeros(256, np.int8), formal.WordBatch.from_strings(completions)
        table[[ord(symbol) for symbol in language.alphabet]] = np.arange(len(language.alphabet))
        indices = np.where(ids.codes > 0, table[ids.codes], np.int8(-1))
        labelled = language.label(prompts)
        from_ids = seconds(lambda: formal.score(language, labelled, indices), arguments.repeats)  # noqa: B023  # at once
        rates = seconds(lambda: formal.aggregate(verdicts), arguments.repeats)  # noqa: B023  # at once
        line = f"{name:10}{ours:9.3f}{from_ids:9.3f}{rates:11.3f}"
        if name in LOOPS:
            whole = formal.WordBatch.from_strings(
                [p + c for p, c in zip(prompts[:loop_rows], completions[:loop_rows], strict=True)]
            )
            loop = seconds(lambda: row_by_row(name, whole, 8), 3) * arguments.n / loop_rows  # noqa: B023  # at once
            line += f"{loop:12.3f}{loop / ours:8.0f}x{loop / from_ids:6.0f}x"
        print(line)
    print(f"peak resident size {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
