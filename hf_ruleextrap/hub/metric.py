"""Write the metric as a Gradio Space: the self-contained module, its page and its card."""

from __future__ import annotations

from pathlib import Path

from hf_ruleextrap import __version__
from hf_ruleextrap.files import write_text
from hf_ruleextrap.languages import built_in_languages, get_language
from hf_ruleextrap.metrics.build import build_metric

from .cards import CITATION, INSTALL, ORGANIZATION, render

GRADIO = "6.31.0"
"""The version of Gradio for which the Space is tested."""


def write_metric(folder: str | Path, *, organization: str = ORGANIZATION) -> list[Path]:
    """Write the Space ``ORGANIZATION/rule_extrapolation`` into a folder; see `build_metric`."""
    build_metric(folder)
    card = render(
        "metric.md",
        repository=f"{organization}/rule_extrapolation",
        languages=[get_language(name) for name in built_in_languages()],
        version=__version__,
        gradio=GRADIO,
        install=INSTALL,
        citation=CITATION,
    )
    write_text(Path(folder) / "README.md", card)
    write_text(Path(folder) / "requirements.txt", "datasets\nevaluate\nnumpy\n")
    return sorted(path for path in Path(folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
