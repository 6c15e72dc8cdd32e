"""``hf-ruleextrap publish``."""

from __future__ import annotations

import argparse
from pathlib import Path

from hf_ruleextrap.errors import RuleExtrapError

from .common import Commands, natural, quiet_hub

# Words that `publish dataset` holds out for validation, and for test, however many there are to train on.
_MOST_HELD_OUT = 20_000

# What `publish dataset` calls the suite of generated problems.
_SUITE = "random"


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("publish", help="write a repository as a folder, and upload it if asked to")
    parser.add_argument(
        "what", choices=("dataset", "checkpoint", "metric", "space", "all"), help="a space is the metric's"
    )
    parser.add_argument(
        "name",
        nargs="?",
        help="the dataset's language (random: the suite of generated problems), the checkpoint's run folder, or the "
        "folder of all runs",
    )
    parser.add_argument("--to", default=".", help="the folder that gets ORG/NAME (default: this one)")
    parser.add_argument("--org", default="ruleextrap", help="whose repository it is (default ruleextrap)")
    parser.add_argument("--push-to-hub", action="store_true", help="also upload it, in one commit")
    parser.add_argument("--dry-run", action="store_true", help="only list the files and their sizes")
    parser.add_argument("--private", action="store_true", help="a repository that is made is private")
    parser.add_argument(
        "--revision", help="upload to this branch (default: main; seed-N for a checkpoint of another seed than 0)"
    )
    parser.add_argument("--max-length", type=int, default=256, help="most symbols in a word (default 256)")
    parser.add_argument("--train-size", type=int, default=15_000, help="words to train on (default 15,000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Write and upload."""
    if arguments.push_to_hub and not arguments.dry_run:
        from hf_ruleextrap.hub.push import publisher

        quiet_hub()
        # Who may not publish is told so before anything is written.
        publisher(arguments.org)
    jobs = [(arguments.what, arguments.name)]
    if arguments.what == "all":
        from hf_ruleextrap.hub.checkpoint import finished_runs
        from hf_ruleextrap.languages import list_languages

        jobs = [("dataset", name) for name in [*list_languages(tag="paper"), _SUITE]] + [("metric", None)]
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
    if arguments.name == _SUITE:
        from hf_ruleextrap.hub.suite import REPOSITORY, write_suite

        folder = owner / REPOSITORY
        return folder, write_suite(folder, organization=organization), f'load_dataset("{organization}/{folder.name}")'
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
        seed=natural("seed", arguments.seed),
    )
    return folder, files, f'load_dataset("{organization}/{folder.name}")'
