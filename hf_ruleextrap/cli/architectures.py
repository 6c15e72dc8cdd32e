"""``hf-ruleextrap architectures``."""

from __future__ import annotations

import argparse
from typing import Any

from .common import Commands, add_json, print_json


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("architectures", help="list the architectures, their sizes and kernels")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the architectures."""
    from hf_ruleextrap.kernels import kernels_found
    from hf_ruleextrap.presets import get_preset, list_architectures

    kernels = kernels_found()
    rows: list[dict[str, Any]] = [
        {
            "name": preset.name,
            "summary": preset.summary,
            "model_type": preset.model_type,
            "parameters": dict(preset.parameters),
            "computed_by": kernels.get(preset.name, "torch"),
        }
        for preset in map(get_preset, list_architectures())
    ]
    if arguments.json:
        print_json(rows)
        return
    for row in rows:
        counted = ", ".join(f"{size} {count:,}" for size, count in row["parameters"].items())
        print(f"{row['name']:12} {row['summary']}")
        print(f"{'':12} model_type {row['model_type']}; parameters for two symbols: {counted}; {row['computed_by']}")
    print("Every causal model type of transformers is also an architecture; set its sizes with --set.")
