"""The metric as an `evaluate` module, and the golden cases."""

from __future__ import annotations

from pathlib import Path

RULE_EXTRAPOLATION = str(Path(__file__).parent / "rule_extrapolation")
"""The folder of the `evaluate` module: ``evaluate.load(RULE_EXTRAPOLATION, "anbn")``."""

GOLDEN = Path(__file__).parent / "golden.json"
"""The file with the cases of each language of the paper: prompts, completions, and the expected verdicts."""

__all__ = ["GOLDEN", "RULE_EXTRAPOLATION"]
