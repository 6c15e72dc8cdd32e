"""The parts of this package that the metric needs. In the published metric, this file holds the code of these parts."""

from hf_ruleextrap.errors import RuleExtrapError, check_integer, unknown
from hf_ruleextrap.formal.scoring import aggregate, finished_flags, score
from hf_ruleextrap.formal.words import rows_of
from hf_ruleextrap.languages import built_in_languages, get_language

LANGUAGES = {name: get_language(name) for name in built_in_languages()}

__all__ = [
    "LANGUAGES",
    "RuleExtrapError",
    "aggregate",
    "check_integer",
    "finished_flags",
    "rows_of",
    "score",
    "unknown",
]
