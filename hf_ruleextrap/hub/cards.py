"""Cards from the templates in ``model_cards/``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hf_ruleextrap.errors import one_line
from hf_ruleextrap.report.tables import escape_markdown

ORGANIZATION = "ruleextrap"
"""The default owner of repositories."""

CITATION = """\
@inproceedings{meszaros2024rule,
  title = {Rule Extrapolation in Language Models: A Study of Compositional Generalization on {OOD} Prompts},
  author = {M{\\'e}sz{\\'a}ros, Anna and Ujv{\\'a}ry, Szilvia and Brendel, Wieland and Reizinger, Patrik and
    Husz{\\'a}r, Ferenc},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2024},
}
@software{hf_ruleextrap,
  title = {hf-ruleextrap: rule extrapolation, native to the Hugging Face ecosystem},
  author = {{The hf-ruleextrap authors}},
  year = {2026},
}"""
"""What the cards ask to cite."""

INSTALL = "pip install git+https://github.com/hf-ruleextrap/hf-ruleextrap"
"""The command that installs this package."""

HEADLINE, FINISHED = "every open rule holds", "finished"

_NUMBERS = re.compile(r"[\[\]\d., -]*")
_TEMPLATES = Path(__file__).parent / "model_cards"


def render(template: str, **values: Any) -> str:
    """Return the text of a card.

    A template passes each text that comes from a run through the filter for its place: ``text`` in a paragraph,
    ``cells`` in a line of a table, ``code`` for code inside a paragraph, ``python`` for a string in a program. A
    filtered text cannot end its line or its place.

    Args:
        template: The name of a file in ``model_cards/``, for example ``"dataset.md"``.
        **values: The variables of the template.

    Raises:
        jinja2.UndefinedError: If ``values`` lacks a variable of the template.
    """
    import jinja2

    source = (_TEMPLATES / template).read_text(encoding="utf-8")
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"text": escape_markdown, "cells": cells, "code": code, "python": python}
    return environment.from_string(source).render(**values)


def metric_names(kind: str, rules: Iterable[str]) -> list[str]:
    """Return the names of the rates over prompts of a kind, in the order of the cards.

    >>> metric_names("ood", ["as_equal_bs", "as_before_bs"])
    ['every open rule holds', 'as_equal_bs', 'as_before_bs', 'finished']
    """
    return [*([HEADLINE] if kind == "ood" else []), *rules, FINISHED]


def task_id(kind: str, name: str) -> str:
    """Return the identifier under which a dataset's ``eval.yaml`` and a model's ``.eval_results`` name a rate.

    >>> task_id("ood", "every open rule holds")
    'ood_every_open_rule_holds'
    """
    return f"{kind}_{name}".replace(" ", "_")


def cells(texts: Iterable[str]) -> str:
    r"""Return texts as the cells of one line of a Markdown table; numbers and intervals are not escaped.

    >>> print(cells(["a|b", "[0.10, 0.20]"]))
    a\|b | [0.10, 0.20]
    """
    return " | ".join(text if _NUMBERS.fullmatch(text) else escape_markdown(text) for text in texts)


def code(text: str) -> str:
    """Return a text as code inside a Markdown paragraph, between more backquotes than the text contains.

    >>> code("lstm"), code("a`b")
    ('`lstm`', '`` a`b ``')
    """
    text = one_line(str(text)) or " "
    longest = max(map(len, re.findall("`+", text)), default=0)
    return f"{'`' * (longest + 1)} {text} {'`' * (longest + 1)}" if longest else f"`{text}`"


def python(text: str) -> str:
    r"""Return a text as a string literal of Python, which no quotation mark in the text can end.

    >>> python('b"); print("')
    '"b\\"); print(\\""'
    """
    return json.dumps(str(text)).replace("`", "\\u0060")
