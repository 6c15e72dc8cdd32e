"""A picture of one run: the loss beside rule extrapolation, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.evaluation.figures import CELLS, check_format, draw_dynamics, new_figure, save_figure
from hf_ruleextrap.formal import Rate

from .results import Results, read_log

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Blue and vermilion of Okabe and Ito: told apart by colour-blind people, and by lightness in print.
_ID, _OOD = "#0072B2", "#D55E00"


def plot_run(folder: str | Path, out: str | Path) -> None:
    """Draw a run.

    Args:
        folder: a finished run.
        out: the picture; its ending says which format (png, svg, pdf).

    Raises:
        RuleExtrapError: the folder holds no finished run, another format, or matplotlib is not installed.
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
    best = results.training.best_step
    axes.plot(best, results.validation.loss, "*", ms=12, color="0.2", label="best checkpoint")
    axes.set_title("loss per token [nats]", loc="left", fontsize="medium")
    _legend(axes)


def _draw_rates(axes: Axes, checks: list[dict[str, Any]], results: Results) -> None:
    steps = [check["step"] for check in checks]
    kinds = results.best.kinds
    first = next(iter(kinds["id"].greedy.report.rules.values()))
    lines: list[tuple[str, str, str, Rate, Rate]] = [
        (
            "eval_id_r1",
            _ID,
            f"in distribution: {first.summary}",
            first.word.all,
            next(iter(kinds["id"].chance.rules.values())).word.all,
        ),
        (
            "eval_ood_headline",
            _OOD,
            "out of distribution: every open rule holds",
            kinds["ood"].greedy.report.headline,
            kinds["ood"].chance.headline,
        ),
    ]
    for key, colour, label, final, chance in lines:
        axes.plot(steps, [check[key] for check in checks], "o-", ms=3, color=colour, label=label)
        if final.rate is not None and final.low is not None and final.high is not None:
            size = [[final.rate - final.low], [final.high - final.rate]]
            axes.errorbar(results.training.best_step, final.rate, size, fmt="*", ms=12, capsize=3, color=colour)
        if chance.rate is not None:
            axes.axhline(chance.rate, color=colour, ls=":", lw=1.2)
    axes.plot([], [], ":", color="0.4", label="chance on the same prompts")
    axes.plot([], [], "*", color="0.4", label="best checkpoint, 95 % interval")
    axes.set_ylim(-0.03, 1.05)
    axes.set_title("share of prompts", loc="left", fontsize="medium")
    _legend(axes)


def _legend(axes: Axes) -> None:
    """Under the axes, where it hides nothing."""
    axes.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(0, -0.16))
