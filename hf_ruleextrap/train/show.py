"""A run's results on the screen."""

from __future__ import annotations

from hf_ruleextrap.evaluation.table import show as show_evaluation

from .results import Results


def show_results(results: Results) -> None:
    """The table of the best checkpoint, some completions, and what to type next."""
    recipe, training = results.recipe, results.training
    best = results.best
    fitted = ", ".join(f"{key} {value}" for key, value in training.fitted.items())
    print(
        f"\n{recipe.language} · {recipe.architecture} · {training.parameters:,} parameters"
        + (f" ({fitted})" if fitted else "")
        + f" · seed {recipe.seed} · {training.steps} steps in {results.timing.train_seconds:.0f} s"
    )
    if training.diverged_at is not None:
        shown = f"checkpoint of step {training.best_step}" if training.best_step else "untrained model"
        print(f"diverged at step {training.diverged_at}: the validation loss is not finite; these are of the {shown}")
    floor = "" if results.test.floor is None else f" (entropy of the language's distribution: {results.test.floor:.4f})"
    print(
        f"loss per token: validation {results.validation.loss:.4f} (step {training.best_step}), "
        f"test {results.test.loss:.4f}{floor}; next-token accuracy {results.test.accuracy:.3f}"
    )
    show_evaluation(best, f"checkpoint at the lowest validation loss: {recipe.run_dir}")
    print(f"next: hf-ruleextrap evaluate --model {recipe.run_dir} --language {recipe.language}")
