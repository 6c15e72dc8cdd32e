"""Measure the Trainer against a bare loop, and a whole run of the paper's size against the same work done row by row.

    OMP_NUM_THREADS=2 python benchmarks/training.py overhead
    OMP_NUM_THREADS=2 python benchmarks/training.py run --steps 1000 --measured 50 250
    OMP_NUM_THREADS=1 python benchmarks/training.py mini

`overhead` measures the optimizer steps of the mini LSTM alone; both sides run in this process, in turn. `run` measures
the paper's LSTM on a^n b^n, from the command to the results. The other side, also a command, is how the experiment was
first written: it pads all batches, reads the whole prefix again for each new symbol of a completion, and checks the
rules row by row in torch. `mini` measures 300 steps of the quickstart with each of three architectures, from the recipe
to the results, without the imports. The other side is a bare loop of forward, backward and optimizer over the same
batches. The times of `mini` are processor seconds.
"""

from __future__ import annotations

import argparse
import io
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from hf_ruleextrap.cli.common import fast_imports

# The command imports in the same way, and the garbage collector then skips the imported objects in each run.
with fast_imports():
    import torch
    import transformers
    from torch import nn
    from torch.nn.functional import cross_entropy

    from hf_ruleextrap.architectures import build_model
    from hf_ruleextrap.languages import get_language
    from hf_ruleextrap.train.batches import Batches, BatchLoader, by_length, group_cells
    from hf_ruleextrap.train.recipe import Recipe
    from hf_ruleextrap.train.run import run_recipe
    from hf_ruleextrap.train.task import Task, splits_of
    from hf_ruleextrap.train.trainer import RuleTrainer, training_arguments

RECIPES = Path(__file__).parents[1] / "training" / "recipes"
BOS, EOS, PAD = 1, 2, 0


def overhead(steps: int, repeats: int) -> None:
    """Print the time of a step of the Trainer, and of a loop with the same batches, groups, clipping and optimizer."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = Recipe.from_file(
            RECIPES / "mini-dyck.yaml",
            # The timed steps contain no evaluation and no checkpoint.
            {"output_dir": folder, "max_steps": steps, "eval_steps": steps + 1, "use_cpu": True},
        )
        task = Task.of(recipe)
        seconds: dict[str, list[float]] = {"trainer": [], "loop": []}
        for repeat in range(repeats + 1):
            for name, side in (("trainer", _by_the_trainer), ("loop", _by_a_loop)):
                taken = side(task) / steps
                # The first repeat is a warm-up.
                seconds[name] += [taken] if repeat else []
    trainer, loop = (statistics.median(values) for values in seconds.values())
    ratios = [ours / theirs for ours, theirs in zip(*seconds.values(), strict=True)]
    print(f"{steps} steps of the mini LSTM on dyck, batch {recipe.batch_size}, {torch.get_num_threads()} threads")
    print(
        f"trainer {1000 * trainer:.2f} ms a step, bare loop {1000 * loop:.2f} ms: {statistics.median(ratios):.3f} times"
    )


def _by_the_trainer(task: Task) -> float:
    model = build_model("lstm", language=task.language, seed=0)
    arguments = training_arguments(task.recipe)
    arguments.save_strategy = arguments.eval_strategy = "no"
    arguments.load_best_model_at_end = False
    trainer = RuleTrainer(model, task, arguments)
    started = time.perf_counter()
    trainer.train()
    return time.perf_counter() - started


def _by_a_loop(task: Task) -> float:
    recipe = task.recipe
    model = build_model("lstm", language=task.language, seed=0).train()
    trainer = RuleTrainer(model, task, training_arguments(recipe))
    words, optimizer = trainer.words, torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, fused=True)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.max_steps)
    batches = Batches(len(words), recipe.batch_size, seed=recipe.seed)
    loader = BatchLoader(words, batches)
    started, step, epoch = time.perf_counter(), 0, 0
    while step < recipe.max_steps:
        loader.set_epoch(epoch)
        for batch in loader:
            optimizer.zero_grad()
            count = (batch["labels"] != -100).sum()
            parts = by_length(batch, words.rows.shape[1] - 1, group_cells("lstm"))
            loss = sum(
                cross_entropy(model(part["input_ids"]).logits.transpose(1, 2), part["labels"], reduction="sum") / count
                for part in parts
            )
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), recipe.max_grad_norm)
            optimizer.step()
            scheduler.step()
            step += 1
            if step == recipe.max_steps:
                break
        epoch += 1
    return time.perf_counter() - started


def run(steps: int, repeats: int, measured: list[int]) -> None:
    """Print the seconds from the command to the results, of both commands in turn.

    With two numbers of steps in ``measured``, the time of ``steps`` steps is that of the line through both.
    """
    points: dict[str, list[tuple[int, float]]] = {"ours": [], "row by row": []}
    for count in measured * repeats:
        with tempfile.TemporaryDirectory() as folder:
            flags = [f"--max_steps={count}", f"--eval_steps={count}", f"--output_dir={folder}/run", "--use_cpu"]
            ours = ["-m", "hf_ruleextrap", "train", str(RECIPES / "corrected-anbn.yaml"), *flags]
            for name, words in (("ours", ours), ("row by row", [__file__, "row-by-row", f"--steps={count}"])):
                started = time.perf_counter()
                subprocess.run([sys.executable, *words], check=True, capture_output=True)
                points[name].append((count, time.perf_counter() - started))
                print(f"{name}: {count} steps in {points[name][-1][1]:.1f} s", flush=True)
    ours_seconds, their_seconds = (_seconds_of(steps, pairs) for pairs in points.values())
    print(f"the paper's LSTM on anbn, {steps} steps and one check, start and results included:")
    print(
        f"ours {ours_seconds:.1f} s, row by row {their_seconds:.1f} s: {their_seconds / ours_seconds:.2f} times as fast"
    )


def _seconds_of(steps: int, points: list[tuple[int, float]]) -> float:
    """Return the time of a number of steps, on the line through the medians of the measured numbers of steps."""
    medians = {
        count: statistics.median(seconds for each, seconds in points if each == count)
        for count in sorted({count for count, _ in points})
    }
    (first, fewer), (last, more) = next(iter(medians.items())), list(medians.items())[-1]
    return more if first == last else fewer + (more - fewer) / (last - first) * (steps - first)


def mini(steps: int, repeats: int) -> None:
    """Print the processor seconds of a whole small run and of its bare loop, and the peak memory."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    print(f"{'':12} {'run [s]':>8} {'loop [s]':>9} {'ratio':>6} {'run - 1.25 loop [s]':>20} {'peak [MB]':>10}")
    for name in ("lstm", "transformer", "mamba"):
        pairs: list[tuple[float, float]] = []
        for _ in range(repeats + 1):
            with tempfile.TemporaryDirectory() as folder:
                changes = {"architecture": name, "max_steps": steps, "output_dir": folder, "use_cpu": True}
                recipe = Recipe.from_file(RECIPES / "quickstart.yaml", changes)
                with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                    pairs.append((_processor_seconds(lambda: run_recipe(recipe)), _bare_loop(recipe)))  # noqa: B023
        # The first pair computes the references, which later runs read from the disk.
        whole, loop = (statistics.median(side) for side in zip(*pairs[1:], strict=True))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
        rest = whole - 1.25 * loop
        print(f"{name:12} {whole:8.2f} {loop:9.2f} {whole / loop:6.2f} {rest:20.2f} {peak:10.0f}", flush=True)


def _processor_seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _bare_loop(recipe: Recipe) -> float:
    """Return the processor seconds of forward, backward and optimizer over batches that exist before the loop."""
    task = Task.of(recipe)
    model = build_model(recipe.architecture, language=task.language, seed=0).train()
    words = RuleTrainer(model, task, training_arguments(recipe)).words
    batches = Batches(len(words), recipe.batch_size, seed=recipe.seed)
    rows = [batch for _ in range(-(-recipe.max_steps // len(batches))) for batch in batches][: recipe.max_steps]
    tensors = [words.__getitems__(batch) for batch in rows]
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, fused=True)

    def loop() -> None:
        for batch in tensors:
            optimizer.zero_grad()
            logits = model(batch["input_ids"], use_cache=False).logits
            cross_entropy(logits.flatten(0, 1), batch["labels"].flatten()).backward()
            optimizer.step()

    return _processor_seconds(loop)


class PlainLSTM(nn.Module):
    """The paper's LSTM, which keeps no state between calls."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 10)
        self.lstm = nn.LSTM(10, 64, 5, batch_first=True)
        self.dropout, self.head = nn.Dropout(0.4), nn.Linear(64, 5)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.dropout(self.lstm(self.embed(ids))[0]))


def row_by_row(steps: int) -> None:
    """Do the work of `run` with padded batches, a new forward pass over every prefix, and rules checked row by row."""
    torch.manual_seed(0)
    language = get_language("anbn")
    recipe = Recipe.from_file(RECIPES / "corrected-anbn.yaml")
    words = splits_of(recipe, language)
    rows = {name: _padded(list(getattr(words, name)), recipe.max_length + 2) for name in ("train", "validation")}
    prompts = language.prompts()
    model = PlainLSTM()
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate)
    for _ in range(steps):
        optimizer.zero_grad()
        _loss(model, rows["train"]).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        _loss(model, rows["validation"])
        ids = torch.tensor([[BOS, *(3 + (symbol == "b") for symbol in text)] for text in prompts.texts])
        for _ in range(recipe.max_length + 1):
            ids = torch.cat([ids, model(ids)[:, -1].argmax(-1, keepdim=True)], dim=1)
    for row in ids:
        ends = (row == EOS).nonzero()
        word = row[1 : int(ends[0])] if len(ends) else row[1:]
        _ = (word == 3).sum() == (word == 4).sum()
        first_b = (word == 4).nonzero()
        _ = not len(first_b) or not (word[int(first_b[0]) :] == 3).any()


def _padded(words: list[str], width: int) -> torch.Tensor:
    rows = torch.full((len(words), width), PAD)
    for row, word in zip(rows, words, strict=True):
        row[: len(word) + 2] = torch.tensor([BOS, *(3 + (symbol == "b") for symbol in word), EOS])
    return rows


def _loss(model: nn.Module, rows: torch.Tensor) -> torch.Tensor:
    return cross_entropy(model(rows[:, :-1]).transpose(1, 2), rows[:, 1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("overhead", "run", "mini", "row-by-row"))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--measured", type=int, nargs=2, help="run: measure these two numbers of steps, and extrapolate to --steps"
    )
    arguments = parser.parse_args()
    if arguments.what == "row-by-row":
        row_by_row(arguments.steps)
    elif arguments.what == "run":
        run(arguments.steps, arguments.repeats, arguments.measured or [arguments.steps])
    else:
        {"overhead": overhead, "mini": mini}[arguments.what](arguments.steps, arguments.repeats)


if __name__ == "__main__":
    main()
