"""Cards from the templates in ``model_cards/``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ORGANIZATION = "ruleextrap"
"""Whose repositories these are, unless one says otherwise."""

_TEMPLATES = Path(__file__).parent / "model_cards"


def render(template: str, **values: Any) -> str:
    """A card.

    Args:
        template: a file of ``model_cards/``, e.g. ``"dataset.md"``.
        **values: its variables.

    Raises:
        jinja2.UndefinedError: the template has a variable that is not given.
    """
    import jinja2

    source = (_TEMPLATES / template).read_text(encoding="utf-8")
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(source).render(**values)
