"""Show the results of a run on the screen."""

from __future__ import annotations

from hf_ruleextrap.evaluation.table import show as show_evaluation

from .results import Results


def show_results(results: Results) -> None:
    """Print the rates of the described checkpoint, some completions, and the next command."""
    recipe, training = results.recipe, results.training
    fitted = ", ".join(f"{key} {value}" for key, value in training.fitted.items())
    print(
        f"\n{recipe.language} · {recipe.architecture} · {training.parameters:,} parameters"
        + (f" ({fitted})" if fitted else "")
        + f" · seed {recipe.seed} · {training.steps} steps in {results.timing.train_seconds:.0f} s"
    )
    if training.diverged_at is not None:
        source = f"checkpoint of step {training.chosen_step}" if training.chosen_step else "untrained model"
        print(f"diverged at step {training.diverged_at} (the validation loss is not finite); results of the {source}")
    learned = "never" if training.learned_at is None else f"at step {training.learned_at}"
    is_lost = training.learned_at is not None and not training.learned
    print(f"learned the language: {learned}" + ("; this checkpoint does not meet the criterion" if is_lost else ""))
    floor = "" if results.test.floor is None else f" (entropy of the language's distribution: {results.test.floor:.4f})"
    print(
        f"loss per token: validation {results.validation.loss:.4f} (step {training.chosen_step}), "
        f"test {results.test.loss:.4f}{floor}; next-token accuracy {results.test.accuracy:.3f}"
    )
    show_evaluation(results.chosen, f"{training.chosen_name}: {recipe.run_dir}")
    print(f"next: hf-ruleextrap evaluate --model {recipe.run_dir} --language {recipe.language}")
