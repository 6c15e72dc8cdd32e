"""Read completions from a text of JSON lines, or from a CSV text."""

from __future__ import annotations

import csv
import io
from typing import Any

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.formal.scoring import finished_flags
from hf_ruleextrap.inputs import parse_json_lines

_EXAMPLE = '{"prompt": "…", "completion": "…", "finished": true}'


def parse_completions(text: str, name: str, *, is_csv: bool = False) -> list[dict[str, Any]]:
    """Return the rows of a text of completions. A row without ``finished`` counts as finished.

    Args:
        text: Lines of JSON, or a CSV text whose first line has the headings ``prompt``, ``completion`` and
            ``finished``.
        name: The name of the text in messages.
        is_csv: Whether the text is CSV.

    Returns:
        The rows with ``prompt``, ``completion`` and ``finished``, a boolean.

    Raises:
        RuleExtrapError: A line cannot be read. The message names the line.
    """
    text = text.removeprefix("\ufeff")
    rows = []
    for number, row in _parse_csv(text) if is_csv else parse_json_lines(text, name, _EXAMPLE):
        if not {"prompt", "completion"} <= row.keys():
            raise RuleExtrapError(f"{name}, line {number}, lacks a prompt or a completion: write {_EXAMPLE}")
        try:
            finished = bool(finished_flags([row.get("finished", True)])[0])
        except RuleExtrapError:
            value = f"{row['finished']!r:.40}"
            raise RuleExtrapError(
                f"{name}, line {number}: finished is {value}: write true or false (or 1 or 0)"
            ) from None
        rows.append({**row, "finished": finished})
    return rows


def _parse_csv(text: str) -> list[tuple[int, dict[str, Any]]]:
    """Return the rows of a CSV text with a line of headings, with the number of each row's last line."""
    table = csv.DictReader(io.StringIO(text, newline=""))
    return [(table.line_num, row) for row in table]
