"""The page of the metric's Space: score completions of prompts in the browser.

The widget of the `evaluate` library needs Gradio 3, which Spaces no longer run. This page needs only the metric and a
current Gradio.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import evaluate
import gradio as gr

# On a Space, this file is a script, and its folder is on the path.
from rules import LANGUAGES  # type: ignore[import-not-found]

_FOLDER = Path(__file__).resolve().parent
_ROWS = [["baa", "b", True], ["aab", "", True], ["abb", "", True]]


def compute(language: str, rows: list[list[Any]]) -> dict[str, Any]:
    """Return the metric for a table with the columns prompt, completion and finished."""
    metric = evaluate.load(str(_FOLDER / "rule_extrapolation.py"), language, keep_in_memory=True)
    prompts, completions, finished = ([row[column] for row in rows] for column in range(3))
    try:
        return dict(metric.compute(predictions=completions, references=prompts, finished=finished))
    except ValueError as error:
        # The table is invalid; for example, a prompt holds a symbol outside the alphabet.
        raise gr.Error(str(error)) from None


demo = gr.Interface(
    compute,
    [
        gr.Dropdown(sorted(LANGUAGES), value="anbn", label="Language"),
        gr.Dataframe(
            _ROWS,
            headers=["prompt", "completion", "finished"],
            datatype=["str", "str", "bool"],
            type="array",
            label="Completions, and whether each one ended by itself",
        ),
    ],
    gr.JSON(label="Rates with 95 % intervals"),
    title="Rule extrapolation",
    description="A prompt breaks one of two rules of a formal language. Does its completion keep the other rule?",
    api_name="compute",
    flagging_mode="never",
)

if __name__ == "__main__":
    demo.launch()
