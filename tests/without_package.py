"""Code for another process in which the package cannot be imported, although it may be installed."""

from __future__ import annotations

BLOCK = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "hf_ruleextrap":
            raise ImportError("hf_ruleextrap is not installed")

sys.meta_path.insert(0, Blocker())
"""
