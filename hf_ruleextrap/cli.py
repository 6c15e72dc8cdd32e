"""The command line ``hf-ruleextrap``: thin over the package, and nothing heavy imported before it is needed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_ruleextrap import __version__
from hf_ruleextrap.errors import RuleExtrapError

if TYPE_CHECKING:
    from hf_ruleextrap.formal import Language, Report, WordBatch

# Words that `publish dataset` holds out for validation, and for test, however many there are to train on.
_MOST_HELD_OUT = 20_000


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; a user's mistake is one line on stderr and exit code 2."""
    parser, commands = _parser()
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] == "train":
        return train(words[1:], prog="hf-ruleextrap train")
    arguments = parser.parse_args(words)
    if arguments.command is None:
        parser.print_help()
        return 0
    return reporting(lambda: commands[arguments.command](arguments))


def train(argv: Sequence[str] | None = None, *, prog: str = "train.py") -> int:
    """``hf-ruleextrap train`` and ``training/train.py``: a recipe and flags, then a run."""
    from hf_ruleextrap.train.recipe import add_arguments, from_arguments

    parser = _Parser(
        prog=prog, description="Train on a language, complete its prompts, score them.", allow_abbrev=False
    )
    add_arguments(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace what the run folder holds")
    parser.add_argument("--json", action="store_true", help="print results.json instead of the table")

    def work() -> None:
        arguments = parser.parse_args(argv)
        recipe = from_arguments(arguments)
        _quiet()
        from hf_ruleextrap.train.run import run

        organization = recipe.hub_organization
        if recipe.push_to_hub:
            # Who may not publish is told so before hours of training.
            from hf_ruleextrap.hub.push import account

            name = account()
            organization = organization or name
        results = run(recipe, overwrite=arguments.overwrite)
        from accelerate import PartialState

        if not PartialState().is_main_process:
            return
        if arguments.json:
            print(results.model_dump_json(indent=2))
        else:
            from hf_ruleextrap.train.show import show

            show(results)
        if recipe.push_to_hub and organization is not None:
            from hf_ruleextrap.hub.push import push_run

            print(push_run(recipe.run_dir, organization), file=sys.stderr if arguments.json else sys.stdout)

    return reporting(work)


def reporting(work: Callable[[], None]) -> int:
    """Do the work; turn a user's mistake into its line and the exit code 2."""
    try:
        work()
    except RuleExtrapError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from the latest checkpoint", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        sys.stderr.close()
        return 0
    return 0


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints look like all others."""

    def error(self, message: str) -> Any:
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def _parser() -> tuple[argparse.ArgumentParser, dict[str, Callable[[argparse.Namespace], None]]]:
    parser = _Parser(prog="hf-ruleextrap", description="Rule extrapolation in language models.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)

    languages = commands.add_parser("languages", help="list the languages and their rules")
    architectures = commands.add_parser("architectures", help="list the architectures, their sizes and kernels")
    sample = commands.add_parser("sample", help="draw words of a language")
    sample.add_argument("language")
    sample.add_argument("-n", type=int, default=10, help="how many (default 10)")
    sample.add_argument("--max-length", type=int, default=64, help="most symbols in a word (default 64)")
    sample.add_argument("--seed", type=int, default=0)
    prompts = commands.add_parser("prompts", help="list the prompts of a language, with broken and open rules")
    prompts.add_argument("language")
    prompts.add_argument("--limit", type=int, help="at most so many of each kind, chosen at random")
    prompts.add_argument("--seed", type=int, default=0)
    chance = commands.add_parser(
        "chance", help="what random symbols, or other references, achieve on a language's prompts"
    )
    chance.add_argument("language")
    for command in (prompts, chance):
        command.add_argument("--kind", choices=("id", "ood"), help="default: both")
        command.add_argument("--length", type=int, help="symbols in a prompt (default: the language's)")
    chance.add_argument(
        "--completer", default="uniform", help="uniform, always-stop, unigram, bigram, trigram or oracle"
    )
    chance.add_argument("--max-new-symbols", type=int, help="length limit of a completion (default: none)")
    evaluate = commands.add_parser("evaluate", help="complete the prompts with a checkpoint and score them")
    evaluate.add_argument("--model", required=True, help="a checkpoint: a folder, or a repository of the Hub")
    evaluate.add_argument("--language", required=True)
    evaluate.add_argument("--prompt-length", type=int, help="symbols in a prompt (default: the language's)")
    evaluate.add_argument(
        "--max-new-symbols", type=int, help="length limit of a completion (default: the checkpoint's, else 256)"
    )
    evaluate.add_argument("--trust-remote-code", action="store_true", help="run code that the checkpoint brings")
    for command in (sample, prompts, chance, evaluate):
        command.add_argument("--paper", action="store_true", help="as in the authors' code, where that differs")
    for command in (languages, architectures, sample, prompts, chance, evaluate):
        command.add_argument("--json", action="store_true", help="print JSON")
    score = commands.add_parser("score", help="score completions from a file of JSON lines")
    score.add_argument("file", help='lines of {"prompt": …, "completion": …, "finished": true}; - for standard input')
    score.add_argument("--language", required=True)
    score.add_argument("--paper", action="store_true", help="as in the authors' code, where that differs")
    score.add_argument("--json", action="store_true", help="print JSON")
    mass = commands.add_parser("mass", help="the exact probability that a checkpoint gives to all short words")
    mass.add_argument("--model", required=True, help="a checkpoint: a folder, or a repository of the Hub")
    mass.add_argument("--language", required=True)
    mass.add_argument("--max-length", type=int, default=8, help="longest word (default 8)")
    mass.add_argument("--trust-remote-code", action="store_true", help="run code that the checkpoint brings")
    mass.add_argument("--out", help="draw every word (.png, .svg, .pdf)")
    mass.add_argument("--json", action="store_true", help="print JSON")
    plot = commands.add_parser("plot", help="draw a run: its loss beside its rates")
    plot.add_argument("run", help="a run folder")
    plot.add_argument("--out", help="the picture: .png, .svg or .pdf (default: plot.png in the run folder)")
    publish = commands.add_parser("publish", help="write a repository as a folder, and upload it if asked to")
    publish.add_argument(
        "what", choices=("dataset", "checkpoint", "metric", "space", "all"), help="a space is the metric's"
    )
    publish.add_argument(
        "name", nargs="?", help="the dataset's language, the checkpoint's run folder, or the folder of all runs"
    )
    publish.add_argument("--to", default=".", help="the folder that gets ORG/NAME (default: this one)")
    publish.add_argument("--org", default="ruleextrap", help="whose repository it is (default ruleextrap)")
    publish.add_argument("--push-to-hub", action="store_true", help="also upload it, in one commit")
    publish.add_argument("--dry-run", action="store_true", help="only list the files and their sizes")
    publish.add_argument("--private", action="store_true", help="a repository that is made is private")
    publish.add_argument(
        "--revision", help="upload to this branch (default: main; seed-N for a checkpoint of another seed than 0)"
    )
    publish.add_argument("--max-length", type=int, default=256, help="most symbols in a word (default 256)")
    publish.add_argument("--train-size", type=int, default=15_000, help="words to train on (default 15,000)")
    publish.add_argument("--seed", type=int, default=0)
    sweep = commands.add_parser("sweep", help="run all cells of a grid that have no results yet")
    sweep.add_argument("grid", help="a grid file (YAML): recipes, and axes to cross them with")
    sweep.add_argument("--out", required=True, help="the store: a folder that gets a run folder for each cell")
    sweep.add_argument("--workers", type=int, help="processes of one thread (default: this machine's cores)")
    sweep.add_argument("--dry-run", action="store_true", help="only list the cells")
    report = commands.add_parser("report", help="write the tables and figures of all runs in a store")
    report.add_argument("store", help="the folder of a sweep, or of several runs")
    report.add_argument(
        "--out", required=True, help="a folder: report.md, report.csv, report.tex, index.html, figures/"
    )
    # Its flags are the recipe's keys; `train` parses them itself.
    commands.add_parser("train", help="train on a language, complete its prompts, score them", add_help=False)
    return parser, {
        "languages": _languages,
        "architectures": _architectures,
        "sample": _sample,
        "prompts": _prompts,
        "chance": _chance,
        "evaluate": _evaluate,
        "score": _score,
        "mass": _mass,
        "plot": _plot,
        "publish": _publish,
        "sweep": _sweep,
        "report": _report,
    }


def _sweep(arguments: argparse.Namespace) -> None:
    _quiet()
    from hf_ruleextrap.train.grid import read_grid

    cells = read_grid(arguments.grid, arguments.out)
    if arguments.dry_run:
        _print_lines(cell.key for cell in cells)
        return
    from hf_ruleextrap.train.sweep import sweep

    outcome = sweep(cells, arguments.out, workers=arguments.workers)
    ran = f"{len(outcome.done)} ran, {len(outcome.skipped)} had been done, {len(outcome.failed)} failed"
    print(f"{len(cells)} cells: {ran}; results in {arguments.out}")
    if outcome.failed:
        raise RuleExtrapError(
            f"no results for {', '.join(outcome.failed)}: see {arguments.out}/failures, and give the same command again"
        )


def _report(arguments: argparse.Namespace) -> None:
    _quiet()
    from hf_ruleextrap.report import write_report
    from hf_ruleextrap.train.sweep import read_store

    results = read_store(arguments.store)
    files = write_report(results, arguments.out)
    print(f"{len(results)} runs in {len(files)} files: open {arguments.out}/index.html")


def _languages(arguments: argparse.Namespace) -> None:
    from hf_ruleextrap.languages import get_language, list_languages

    languages = [get_language(name) for name in list_languages()]
    if arguments.json:
        _print_json(
            {
                "name": language.name,
                "summary": language.summary,
                "level": language.level,
                "alphabet": language.alphabet,
                "rules": [{"name": rule.name, "summary": rule.summary} for rule in language.rules],
                "prompt_length": language.prompt_length,
            }
            for language in languages
        )
        return
    for language in languages:
        print(f"{language.name:8} {language.summary}  ({language.level})")
        for i, rule in enumerate(language.rules, start=1):
            print(f"{'':8} R{i} {rule.summary}")


def _architectures(arguments: argparse.Namespace) -> None:
    _quiet()
    from hf_ruleextrap.architectures import architecture_config, count_parameters, get_preset, list_architectures
    from hf_ruleextrap.kernels import kernels_found

    kernels = kernels_found()
    rows: list[dict[str, Any]] = []
    for preset in map(get_preset, list_architectures()):
        # The smallest vocabulary of the languages here: two symbols and three special tokens.
        counts = {
            size: count_parameters(architecture_config(preset.name, size=size, vocab_size=5)) for size in preset.sizes
        }
        rows.append(
            {
                "name": preset.name,
                "summary": preset.summary,
                "model_type": preset.model_type,
                "parameters": counts,
                "computed_by": kernels.get(preset.name, "torch"),
            }
        )
    if arguments.json:
        _print_json(rows)
        return
    for row in rows:
        counted = ", ".join(f"{size} {count:,}" for size, count in row["parameters"].items())
        print(f"{row['name']:12} {row['summary']}")
        print(f"{'':12} model_type {row['model_type']}; parameters for two symbols: {counted}; {row['computed_by']}")
    print("Any causal model type of transformers works by name, too, with its sizes as overrides.")


def _sample(arguments: argparse.Namespace) -> None:
    import numpy as np

    from hf_ruleextrap.languages import get_language

    language = get_language(arguments.language, paper=arguments.paper)
    rng = np.random.default_rng(_natural("seed", arguments.seed))
    words = list(language.sample(arguments.n, max_length=arguments.max_length, rng=rng))
    if arguments.json:
        _print_json(words)
    else:
        _print_lines(words)


def _prompts(arguments: argparse.Namespace) -> None:
    import numpy as np

    from hf_ruleextrap.languages import get_language

    language = get_language(arguments.language, paper=arguments.paper)
    rng = np.random.default_rng(_natural("seed", arguments.seed))
    prompts = language.prompts(arguments.kind, length=arguments.length, limit=arguments.limit, rng=rng)
    if arguments.json:
        _print_json(asdict(prompt) for prompt in prompts)
        return
    sentence = {rule.name: f"R{i}" for i, rule in enumerate(language.rules, start=1)}
    for prompt in prompts:
        broken = ", ".join(sentence[name] for name in prompt.broken) or "none alone"
        print(f"{prompt.text}  {prompt.kind}" + (f"  broken: {broken}" if prompt.kind == "ood" else ""))


def _chance(arguments: argparse.Namespace) -> None:
    from hf_ruleextrap.evaluation import chance
    from hf_ruleextrap.languages import get_language

    language = get_language(arguments.language, paper=arguments.paper)
    limit = arguments.max_new_symbols
    report = chance(
        language,
        kind=arguments.kind,
        length=arguments.length,
        completer=arguments.completer,
        max_new_symbols=limit,
    )
    if arguments.json:
        _print_json(report.to_dict())
        return
    print(f"{arguments.completer} on {report.n} prompts of {language.name}")
    _print_report(report)


def _score(arguments: argparse.Namespace) -> None:
    from hf_ruleextrap.evaluation import score
    from hf_ruleextrap.languages import get_language

    language = get_language(arguments.language, paper=arguments.paper)
    rows = _read_rows(arguments.file)
    report = score(language, *([row[key] for row in rows] for key in ("prompt", "completion", "finished")))
    if arguments.json:
        _print_json(report.to_dict())
        return
    print(f"{report.n} completions of prompts of {language.name}")
    _print_report(report)


def _read_rows(name: str) -> list[dict[str, Any]]:
    """The lines of a file of completions; ``finished`` is true where it is not given."""
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RuleExtrapError(f"cannot read {name!r}: {error}; give a file of JSON lines") from None
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict) or not {"prompt", "completion"} <= row.keys():
            raise RuleExtrapError(f'{name}, line {number}: give {{"prompt": "…", "completion": "…", "finished": true}}')
        rows.append({"finished": True, **row})
    return rows


def _print_report(report: Report) -> None:
    from hf_ruleextrap.evaluation.table import interval, number

    lines = [(report.headline, "every open rule holds (OOD prompts)")] if report.headline.n else []
    lines += [(rule.word.all, f"R{i}: {rule.summary}") for i, rule in enumerate(report.rules.values(), start=1)]
    lines += [(report.grammatical, "a word of the language"), (report.finished, "completion finished")]
    for rate, what in lines:
        print(f"  {number(rate)}  {interval(rate):12}  {what}")


def _evaluate(arguments: argparse.Namespace) -> None:
    from hf_ruleextrap.languages import get_language

    language = get_language(arguments.language, paper=arguments.paper)
    if arguments.prompt_length is not None:
        language.prompts(length=arguments.prompt_length)
    _quiet()
    from hf_ruleextrap.completers import LocalModel
    from hf_ruleextrap.evaluation import Evaluator

    model = LocalModel.from_pretrained(arguments.model, language, trust_remote_code=arguments.trust_remote_code)
    limit = model.default_limit if arguments.max_new_symbols is None else arguments.max_new_symbols
    evaluator = Evaluator(
        language,
        prompt_length=arguments.prompt_length,
        max_new_symbols=limit,
        train_words=_training_words(Path(arguments.model), language),
    )
    evaluation = evaluator(model)
    if arguments.json:
        _print_json({"model": arguments.model, **evaluation.to_dict()})
        return
    from hf_ruleextrap.evaluation.table import show

    show(evaluation, f"{arguments.model} on {language.name}: {language.summary}")


def _training_words(folder: Path, language: Language) -> WordBatch | None:
    """What a checkpoint was trained on, where it lies in its run folder (or in that folder's ``last/``)."""
    from hf_ruleextrap.train.recipe import Recipe, splits_of

    for note in (folder / "recipe.yaml", folder.parent / "recipe.yaml"):
        if note.exists():
            recipe = Recipe.from_file(note)
            if recipe.language == language.name:
                return splits_of(recipe, language).train
    return None


def _mass(arguments: argparse.Namespace) -> None:
    from hf_ruleextrap.languages import get_language

    language = get_language(arguments.language)
    _quiet()
    from hf_ruleextrap.completers import LocalModel
    from hf_ruleextrap.evaluation.mass import check_size, exact_mass

    check_size(language, 1, arguments.max_length)
    if arguments.out:
        from hf_ruleextrap.evaluation.figures import check_format

        check_format(arguments.out)
    model = LocalModel.from_pretrained(arguments.model, language, trust_remote_code=arguments.trust_remote_code)
    mass = exact_mass(model.model, language, max_length=arguments.max_length)
    if arguments.json:
        _print_json({"model": arguments.model, **mass.to_dict()})
    else:
        print(f"{arguments.model} on the {len(mass.words):,} words of up to {mass.max_length} symbols")
        names = {"both": "R1 and R2", "only_r1": "only R1", "only_r2": "only R2", "neither": "neither"}
        for cell, probability in mass.cells.items():
            print(f"  {probability:.6f}  {names[cell]}")
        print(f"  {mass.longer:.6f}  longer words, or a special token")
        print(f"  {mass.impossible:.6f}  taking a symbol after which no word of {language.name} can follow")
    if arguments.out:
        from hf_ruleextrap.evaluation.figures import new_figure
        from hf_ruleextrap.evaluation.mass_plot import draw_words

        figure = new_figure(10, 3.2, f"{arguments.model} on {language.name}")
        draw_words(figure, mass, language)
        figure.savefig(arguments.out, dpi=150, bbox_inches="tight")


def _plot(arguments: argparse.Namespace) -> None:
    from hf_ruleextrap.train.plot import plot

    folder = Path(arguments.run)
    out = Path(arguments.out) if arguments.out else folder / "plot.png"
    plot(folder, out)
    print(out)


def _publish(arguments: argparse.Namespace) -> None:
    jobs = [(arguments.what, arguments.name)]
    if arguments.what == "all":
        from hf_ruleextrap.hub.checkpoint import finished_runs
        from hf_ruleextrap.languages import list_languages

        jobs = [("dataset", name) for name in list_languages()] + [("metric", None)]
        jobs += [("checkpoint", str(run)) for run in finished_runs(arguments.name or "runs")]
    for what, name in jobs:
        _publish_one(argparse.Namespace(**{**vars(arguments), "what": what, "name": name}))


def _publish_one(arguments: argparse.Namespace) -> None:
    if arguments.dry_run:
        from tempfile import TemporaryDirectory

        with TemporaryDirectory() as draft:
            folder, files, _ = _write_repository(arguments, Path(draft))
            for path in files:
                print(f"{path.stat().st_size:>12,}  {arguments.org}/{folder.name}/{path.relative_to(folder)}")
        return
    try:
        folder, files, opened = _write_repository(arguments, Path(arguments.to))
    except OSError as error:
        advice = "make room or give another --to, and give the same command again"
        raise RuleExtrapError(f"cannot write to {arguments.to}: {error.strerror or error}; {advice}") from None
    print(f"{folder}: {len(files)} files, {sum(path.stat().st_size for path in files):,} bytes")
    print(f"from {arguments.to}: {opened}")
    if arguments.push_to_hub:
        from hf_ruleextrap.hub.push import Kind, push

        kinds: dict[str, Kind] = {"dataset": "dataset", "checkpoint": "model", "metric": "space", "space": "space"}
        repository, kind = f"{arguments.org}/{folder.name}", kinds[arguments.what]
        revision = arguments.revision
        if revision is None and kind == "model":
            from hf_ruleextrap.hub.checkpoint import branch_of

            revision = branch_of(arguments.name)
        print(push(folder, repository, kind, private=arguments.private, revision=revision))


def _write_repository(arguments: argparse.Namespace, parent: Path) -> tuple[Path, list[Path], str]:
    """The folder, its files, and the line of code that opens it from its parent's parent."""
    owner, organization = parent / arguments.org, arguments.org
    if arguments.what in ("metric", "space"):
        from hf_ruleextrap.hub.metric import write_metric

        folder = owner / "rule_extrapolation"
        files = write_metric(folder, organization=organization)
        return folder, files, f'evaluate.load("{organization}/{folder.name}", "anbn")'
    if arguments.what == "checkpoint":
        from hf_ruleextrap.hub.checkpoint import repository_name, write_checkpoint

        if arguments.name is None:
            raise RuleExtrapError("publish checkpoint needs a run folder, such as runs/quickstart")
        folder = owner / repository_name(arguments.name)
        files = write_checkpoint(arguments.name, folder, organization=organization)
        return folder, files, f'AutoModelForCausalLM.from_pretrained("{organization}/{folder.name}")'
    from hf_ruleextrap.hub.dataset import write_dataset
    from hf_ruleextrap.languages import get_language, list_languages

    if arguments.name is None:
        raise RuleExtrapError(f"publish dataset needs a language: {', '.join(list_languages())}")
    language = get_language(arguments.name)
    folder = owner / language.name
    files = write_dataset(
        language,
        folder,
        organization=organization,
        max_length=arguments.max_length,
        train_size=arguments.train_size,
        held_out_size=min(max(1, arguments.train_size // 10), _MOST_HELD_OUT),
        seed=_natural("seed", arguments.seed),
    )
    return folder, files, f'load_dataset("{organization}/{folder.name}")'


def _quiet() -> None:
    """Keep the notices of transformers off the screen; what matters to the user is said by us."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _natural(name: str, value: int) -> int:
    if value < 0:
        raise RuleExtrapError(f"{name} is {value}: give 0 or more")
    return value


def _print_json(value: Any) -> None:
    print(json.dumps(value if isinstance(value, (dict, list)) else list(value), indent=2, ensure_ascii=False))


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)
