"""A hundred generated languages with fixed seeds; no two of them differ only in the names of their letters."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np

from .generated import GeneratedLanguage, random_conjunction
from .language import Language

_CONTEXT_SENSITIVE = """
0 1 2 5 6 7 9 11 15 16 18 21 22 24 30 33 37 40 41 43 55 59 71 80 98 108 118 123 133 139 144 153 154
"""
_SEEDS: dict[str, tuple[int, ...]] = {
    "regular": (*range(26), *range(27, 35)),
    "context-free": (*range(9), *range(10, 26), 27, 28, 30, 33, 34, 37, 38, 39),
    "context-sensitive": tuple(map(int, _CONTEXT_SENSITIVE.split())),
}
_READ = 5


def suite() -> list[GeneratedLanguage]:
    """Return the hundred languages: 34 regular, 33 context-free and 33 context-sensitive ones.

    Each level has its first seeds. A seed is left out if its rules agree with the rules of a smaller seed on all
    strings of up to five symbols, up to a renaming of the letters.

    >>> len([language for language in suite() if language.level == "regular"])
    34
    """
    return [random_conjunction(seed, level) for level, seeds in _SEEDS.items() for seed in seeds]


def signature(language: Language) -> bytes:
    """Return which strings of up to five symbols keep R1 and R2, as bytes that do not depend on the names of letters.

    >>> signature(random_conjunction(0)) == signature(random_conjunction(1))
    False
    """
    k = len(language.alphabet)
    tables = []
    for order in permutations(language.alphabet):
        strings = ["".join(word) for n in range(_READ + 1) for word in product(order, repeat=n)]
        tables.append(np.stack([rule.holds(strings) for rule in language.rules[:2]]))
    return min(bytes([k]) + np.packbits(table).tobytes() for table in tables)
