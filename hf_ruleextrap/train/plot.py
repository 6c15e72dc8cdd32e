"""The figure of one run: the loss beside rule extrapolation, step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation.figures import CELLS, COLOURS, check_format, draw_dynamics, new_figure, save_figure
from hf_ruleextrap.evaluation.references import ALWAYS_STOP, CEILING, UNIFORM, heading
from hf_ruleextrap.formal import Kind, Rate, Report

from .results import Results, read_log

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.typing import LineStyleType

# Blue and vermilion also differ in lightness, in print.
_ID, _OOD = COLOURS[:2]

_REFERENCES: Mapping[str, LineStyleType] = {UNIFORM: ":", ALWAYS_STOP: (0, (5, 2)), CEILING: "-."}
"""The line style of each reference."""


def plot_run(folder: str | Path, out: str | Path) -> None:
    """Draw a run.

    Args:
        folder: A finished run.
        out: The file of the figure; its ending names the format (png, svg, pdf).

    Raises:
        RuleExtrapError: If the folder holds no finished run, ``out`` names another format, or matplotlib is not
            installed.
    """
    folder, out = Path(folder), Path(out)
    if not (folder / "results.json").exists():
        raise RuleExtrapError(f"{folder} holds no finished run (no results.json): give a run folder")
    check_format(out)
    results = Results.read(folder)
    log = read_log(folder / "log.jsonl")
    checks = [line for line in log if "eval_loss" in line]
    recipe = results.recipe
    panels = 2 if recipe.mass_length is None else 3
    title = f"{recipe.language} · {recipe.architecture} · seed {recipe.seed}"
    figure = new_figure(4.5 * panels, 4.2, title)
    loss, rates, *more = figure.subplots(1, panels)
    _draw_loss(loss, log, checks, results)
    _draw_rates(rates, checks, results)
    for axes in more:
        draw_dynamics(
            axes, [c["step"] for c in checks], {cell: [c[f"eval_mass_{cell}"] for c in checks] for cell in CELLS}
        )
        axes.set_title(f"mass of words up to {recipe.mass_length} symbols", loc="left", fontsize="medium")
        _legend(axes)
    for axes in (loss, rates, *more):
        axes.set_xlabel("optimizer step")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
    save_figure(figure, out)


def _draw_loss(axes: Axes, log: list[dict[str, Any]], checks: list[dict[str, Any]], results: Results) -> None:
    train = [line for line in log if "loss" in line]
    axes.plot([c["step"] for c in train], [c["loss"] for c in train], color="0.6", label="train (mean since last)")
    axes.plot(
        [c["step"] for c in checks], [c["eval_loss"] for c in checks], "o-", ms=3, color="0.2", label="validation"
    )
    described = results.training
    axes.plot(
        described.chosen_step,
        results.validation.loss,
        "*",
        ms=12,
        color="0.2",
        label=f"{described.checkpoint} checkpoint",
    )
    axes.set_title("loss per token [nats]", loc="left", fontsize="medium")
    _legend(axes)


def _draw_rates(axes: Axes, checks: list[dict[str, Any]], results: Results) -> None:
    steps = [check["step"] for check in checks]
    kinds, described = results.chosen.kinds, results.training

    def first_rule(report: Report) -> Rate:
        return next(iter(report.rules.values())).word.all

    summary = next(iter(kinds["id"].greedy.report.rules.values())).summary
    lines: list[tuple[Kind, str, str, str, Callable[[Report], Rate]]] = [
        ("id", "eval_id_r1", _ID, f"in distribution: {summary}", first_rule),
        (
            "ood",
            "eval_ood_headline",
            _OOD,
            "out of distribution: every open rule holds",
            lambda report: report.headline,
        ),
    ]
    for kind, key, colour, label, rate_of in lines:
        axes.plot(steps, [check[key] for check in checks], "o-", ms=3, color=colour, label=label)
        final = rate_of(kinds[kind].greedy.report)
        if final.rate is not None and final.low is not None and final.high is not None:
            size = [[final.rate - final.low], [final.high - final.rate]]
            axes.errorbar(described.chosen_step, final.rate, size, fmt="*", ms=12, capsize=3, color=colour)
        for name, style in _REFERENCES.items():
            rate = rate_of(kinds[kind].references[name]).rate
            if rate is not None:
                axes.axhline(rate, color=colour, ls=style, lw=1.2)
    axes.plot([], [], "*", color="0.4", label=f"{described.checkpoint} checkpoint, 95 % interval")
    for name, style in _REFERENCES.items():
        axes.plot([], [], ls=style, color="0.4", label=f"{heading(name)} on the prompts of the same colour")
    axes.set_ylim(-0.03, 1.05)
    axes.set_title("share of prompts", loc="left", fontsize="medium")
    _legend(axes)


def _legend(axes: Axes) -> None:
    """Draw the legend below the axes, where no mark is hidden."""
    axes.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(0, -0.16))
