"""The metric as an `evaluate` module, and the golden cases."""

from __future__ import annotations

from pathlib import Path

RULE_EXTRAPOLATION = str(Path(__file__).parent / "rule_extrapolation")
"""Where the `evaluate` module lies: ``evaluate.load(RULE_EXTRAPOLATION, "anbn")``."""

GOLDEN = Path(__file__).parent / "golden"
"""One JSON file a language: prompts, completions, and what is to be found of each."""

__all__ = ["GOLDEN", "RULE_EXTRAPOLATION"]
