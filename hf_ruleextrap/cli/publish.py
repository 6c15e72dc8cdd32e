"""``hf-ruleextrap publish``."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.files import hold, is_leftover, room

from .common import Commands, add_wait, natural, print_not_run, quiet_hub

if TYPE_CHECKING:
    from hf_ruleextrap.hub.push import Kind
    from hf_ruleextrap.hub.releases import Release

# Words that `publish dataset` holds out for validation, and for test, however many there are to train on.
_MOST_HELD_OUT = 20_000

# What `publish dataset` calls the suite of generated problems.
_SUITE = "random"

# What the Hub allows.
_OWNER = r"[A-Za-z0-9]+([._-][A-Za-z0-9]+)*"


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("publish", help="write a repository as a folder, and upload it if asked to")
    parser.add_argument(
        "what", choices=("dataset", "checkpoint", "metric", "space", "all"), help="a space is the metric's"
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="name",
        help="of a dataset, languages (random: the suite of generated problems); of a checkpoint, run folders; of all, "
        "folders of runs (default: runs) and more languages",
    )
    parser.add_argument("--to", default=".", help="the folder that gets ORG/NAME (default: this one)")
    parser.add_argument("--org", default="ruleextrap", help="whose repository it is (default ruleextrap)")
    parser.add_argument("--push-to-hub", action="store_true", help="also upload it, in one commit")
    parser.add_argument("--dry-run", action="store_true", help="only list the files and their sizes")
    add_wait(parser)
    parser.add_argument("--private", action="store_true", help="a repository that is made is private")
    parser.add_argument(
        "--revision", help="upload to this branch (default: main; seed-N for a checkpoint of another seed than 0)"
    )
    parser.add_argument("--max-length", type=int, default=256, help="most symbols in a word (default 256)")
    parser.add_argument("--train-size", type=int, default=15_000, help="words to train on (default 15,000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--language",
        metavar="FILE.py:CLASS",
        action="append",
        default=[],
        help="run this file, so that a checkpoint's card can describe the language in it (repeat)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Write and upload."""
    from hf_ruleextrap.languages import get_language

    if not re.fullmatch(_OWNER, arguments.org):
        allowed = "letters, digits and, inside, single . _ or -, such as ruleextrap"
        raise RuleExtrapError(f"{arguments.org!r} cannot own repositories: give a name of {allowed}")
    if arguments.push_to_hub and not arguments.dry_run:
        from hf_ruleextrap.hub.push import publisher

        quiet_hub()
        # Who may not publish is told so before anything is written.
        publisher(arguments.org)
    for name in arguments.language:
        get_language(name)
    for job in list(_jobs(arguments)):
        _publish_one(job, arguments)


@dataclass(frozen=True)
class _Job:
    """One repository: its name, what it is to the Hub, the branch, and how it is written and opened.

    Attributes:
        folder: of the owner's, on disk.
        write: makes the files in a folder.
        opened: the line of code, with the place of ``OWNER/FOLDER`` in it.
    """

    name: str
    kind: Kind
    folder: str
    write: Callable[[Path], list[Path]]
    opened: str
    branch: str | None = None


def _jobs(arguments: argparse.Namespace) -> Iterator[_Job]:
    """What is asked for; a mistake is found before anything is written."""
    from hf_ruleextrap.languages import list_languages

    what, names = arguments.what, arguments.names
    if what in ("metric", "space"):
        yield _metric(arguments)
    elif what == "dataset":
        if not names:
            raise RuleExtrapError(f"publish dataset needs a language: {', '.join(list_languages())}")
        yield from (_dataset(name, arguments) for name in names)
    elif what == "checkpoint":
        from hf_ruleextrap.hub.releases import Release

        if not names:
            raise RuleExtrapError("publish checkpoint needs a run folder, such as runs/quickstart")
        for release in map(Release.of, names):
            # A branch that is named is taken instead of the seed's.
            yield _checkpoint(replace(release, branch=None) if arguments.revision else release, arguments)
    else:
        languages, folders = _sorted_out(names)
        paper = [*list_languages(tag="paper"), _SUITE]
        yield from (_dataset(name, arguments) for name in dict.fromkeys([*paper, *languages]))
        yield _metric(arguments)
        for folder in folders:
            yield from _checkpoints(folder, arguments)


def _sorted_out(names: Sequence[str]) -> tuple[list[str], list[Path]]:
    """Which names are languages, and which are folders of runs; by default ``runs``."""
    languages = [name for name in names if _is_language(name)]
    folders = [Path(name) for name in names if name not in languages]
    for folder in folders:
        if not folder.is_dir():
            raise RuleExtrapError(f"{str(folder)!r} is neither a language nor a folder of runs: give one that exists")
    return languages, folders or [Path("runs")]


def _is_language(name: str) -> bool:
    from hf_ruleextrap.languages import get_language

    try:
        get_language(name)
    except RuleExtrapError:
        return name == _SUITE
    return True


def _checkpoints(folder: Path, arguments: argparse.Namespace) -> Iterator[_Job]:
    from hf_ruleextrap.hub.releases import find_releases

    found, skipped = find_releases(folder)
    for line in skipped:
        print(f"skipped: {line}", file=sys.stderr)
    if not found:
        print(f"{folder} holds no finished run, so no checkpoint is published", file=sys.stderr)
    yield from (_checkpoint(release, arguments) for release in found)


def _metric(arguments: argparse.Namespace) -> _Job:
    from hf_ruleextrap.hub.metric import write_metric

    write = partial(write_metric, organization=arguments.org)
    name = "rule_extrapolation"
    return _Job(name, "space", name, write, 'evaluate.load("{}", "anbn")')


def _checkpoint(release: Release, arguments: argparse.Namespace) -> _Job:
    from hf_ruleextrap.hub.checkpoint import write_checkpoint
    from hf_ruleextrap.hub.releases import read_run
    from hf_ruleextrap.hub.run_files import brings_code

    write = partial(write_checkpoint, release.run, organization=arguments.org)
    # Without this package installed and imported, the code that the repository brings has to be trusted.
    recipe = read_run(release.run).recipe
    print_not_run([recipe.language])
    trust = ", trust_remote_code=True" if brings_code(recipe.architecture) else ""
    opened = f'AutoModelForCausalLM.from_pretrained("{{}}"{trust})'
    return _Job(release.name, "model", release.folder, write, opened, release.branch)


def _dataset(name: str, arguments: argparse.Namespace) -> _Job:
    opened = 'load_dataset("{}")'
    if name == _SUITE:
        from hf_ruleextrap.hub.suite import REPOSITORY, write_suite

        return _Job(REPOSITORY, "dataset", REPOSITORY, partial(write_suite, organization=arguments.org), opened)
    from hf_ruleextrap.hub.dataset import write_dataset
    from hf_ruleextrap.languages import get_language

    language = get_language(name)
    write = partial(
        write_dataset,
        language,
        organization=arguments.org,
        max_length=arguments.max_length,
        train_size=arguments.train_size,
        held_out_size=min(max(1, arguments.train_size // 10), _MOST_HELD_OUT),
        seed=natural("seed", arguments.seed),
    )
    return _Job(language.name, "dataset", language.name, write, opened)


def _publish_one(job: _Job, arguments: argparse.Namespace) -> None:
    sizes = _write(job, arguments)
    here = f"{arguments.org}/{job.folder}"
    if arguments.dry_run:
        for path, size in sizes.items():
            print(f"{size:>12,}  {here}/{path}")
        return
    print(f"{Path(arguments.to, here)}: {len(sizes)} files, {sum(sizes.values()):,} bytes")
    print(f"from {arguments.to}: {job.opened.format(here)}")
    if arguments.push_to_hub:
        from hf_ruleextrap.hub.push import push_folder

        repository, branch = f"{arguments.org}/{job.name}", job.branch or arguments.revision
        print(push_folder(Path(arguments.to, here), repository, job.kind, private=arguments.private, revision=branch))


def _write(job: _Job, arguments: argparse.Namespace) -> dict[Path, int]:
    """Write the job's folder, and in a dry run remove it again; its files, as they lie there, and their sizes."""
    flag = "TMPDIR" if arguments.dry_run else "--to"
    place = None
    try:
        with TemporaryDirectory() if arguments.dry_run else nullcontext(arguments.to) as place:
            folder = Path(place, arguments.org, job.folder)
            with hold(folder, wait=arguments.wait):
                files = [path for path in job.write(folder) if not is_leftover(path)]
            return {path.relative_to(folder): path.stat().st_size for path in files}
    except (OSError, RuleExtrapError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if not isinstance(cause, OSError):
            raise
        free = f"{room(place)}: " if place else ""
        raise RuleExtrapError(
            f"cannot write to {place or 'a folder for drafts'}: {free}{cause.strerror or cause}; "
            f"make room or give another {flag}, and give the same command again"
        ) from None
