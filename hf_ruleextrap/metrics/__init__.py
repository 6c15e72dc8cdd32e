"""The metric as an `evaluate` module, and the golden cases."""

from __future__ import annotations

from pathlib import Path

RULE_EXTRAPOLATION = str(Path(__file__).parent / "rule_extrapolation")
"""The folder of the `evaluate` module: ``evaluate.load(RULE_EXTRAPOLATION, "anbn")``."""

GOLDEN = Path(__file__).parent / "golden"
"""The folder with one JSON file for each language: prompts, completions, and the expected verdicts."""

__all__ = ["GOLDEN", "RULE_EXTRAPOLATION"]
