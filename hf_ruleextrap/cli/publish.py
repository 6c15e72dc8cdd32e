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
from tempfile import TemporaryDirectory, gettempdir
from typing import TYPE_CHECKING

from hf_ruleextrap.errors import RuleExtrapError, check_integer, counted
from hf_ruleextrap.files import hold, is_leftover, writing

from .common import (
    Commands,
    add_own_languages,
    add_wait,
    load_own_languages,
    print_not_run,
    quiet,
    quiet_hub,
)

if TYPE_CHECKING:
    from hf_ruleextrap.hub.push import Kind, Release

# The largest number of words in the validation split, and in the test split, of `publish dataset`.
_MOST_HELD_OUT = 20_000

# The name of the suite of generated problems in `publish dataset`.
_SUITE = "random"

# The pattern of the owners' names that the Hub allows.
_OWNER = r"[A-Za-z0-9]+([._-][A-Za-z0-9]+)*"


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("publish", help="write a repository as a folder, and upload it with --push-to-hub")
    parser.add_argument(
        "what",
        choices=("dataset", "checkpoint", "metric", "space", "docs", "demo", "all"),
        help="the kind of repository; metric and space are the same repository, docs are these pages, and demo is the "
        "page of `hf-ruleextrap demo`",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="name",
        help="for dataset: languages (random is the suite of generated problems); for checkpoint: run folders; for "
        "demo: run folders and folders of runs (also with --runs; default: runs); for all: "
        "folders that contain run folders (default: runs), and languages beside those of the paper",
    )
    parser.add_argument(
        "--to", default=".", help="the folder in which ORG/NAME is written (default: the current folder)"
    )
    parser.add_argument("--org", default="ruleextrap", help="the owner of the repository (default ruleextrap)")
    parser.add_argument("--push-to-hub", action="store_true", help="also upload the folder, in one commit")
    parser.add_argument("--dry-run", action="store_true", help="list the files and their sizes, and write nothing")
    add_wait(parser)
    parser.add_argument("--runs", nargs="+", default=[], metavar="RUN", help="for demo: the runs of its checkpoints")
    parser.add_argument("--private", action="store_true", help="create a new repository as private")
    parser.add_argument(
        "--revision", help="the branch for the upload (default: main; seed-N for a checkpoint whose seed N is not 0)"
    )
    parser.add_argument("--max-length", type=int, default=256, help="largest number of symbols in a word (default 256)")
    parser.add_argument("--train-size", type=int, default=15_000, help="number of training words (default 15,000)")
    parser.add_argument("--seed", type=int, default=0, help="random seed for drawing words (default 0)")
    add_own_languages(parser, "so that a checkpoint's card can describe its language")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Write the repositories, and upload them with ``--push-to-hub``."""
    if not re.fullmatch(_OWNER, arguments.org):
        allowed = "letters, digits, and single . _ or - between them, such as ruleextrap"
        raise RuleExtrapError(f"{arguments.org!r} cannot own repositories: choose a name of {allowed}")
    if arguments.push_to_hub and not arguments.dry_run:
        from hf_ruleextrap.hub.push import publisher

        quiet_hub()
        # Missing permission is reported before anything is written.
        publisher(arguments.org)
    load_own_languages(arguments)
    if arguments.what in ("checkpoint", "demo", "all"):
        quiet()
    jobs = list(_jobs(arguments))
    for job in jobs:
        _publish_one(job, arguments)
    if arguments.what == "all":
        _collect(jobs, arguments)


@dataclass(frozen=True)
class _Job:
    """One repository to write and to upload.

    Attributes:
        name: The name of the repository, without its owner.
        kind: The kind of repository on the Hub.
        folder: The name of its folder on disk, inside the owner's folder.
        write: The function that writes the files into a folder and returns their paths.
        opened: The line of code that opens the repository, with ``{}`` for ``OWNER/FOLDER``.
        branch: The branch for the upload; None for ``--revision`` or main.
    """

    name: str
    kind: Kind
    folder: str
    write: Callable[[Path], list[Path]]
    opened: str
    branch: str | None = None


def _jobs(arguments: argparse.Namespace) -> Iterator[_Job]:
    """Yield the repositories that the arguments name. All mistakes are raised before anything is written."""
    from hf_ruleextrap.languages import list_languages

    what, names = arguments.what, arguments.names
    if what in ("metric", "space"):
        yield _metric(arguments)
    elif what == "docs":
        from hf_ruleextrap.hub.spaces import write_site

        yield _Job("docs", "space", "docs", write_site, "{}/index.html")
    elif what == "demo":
        yield _demo([*names, *arguments.runs] or ["runs"])
    elif what == "dataset":
        if not names:
            raise RuleExtrapError(f"publish dataset needs a language: {', '.join(list_languages())}")
        yield from (_dataset(name, arguments) for name in names)
    elif what == "checkpoint":
        from hf_ruleextrap.hub.push import Release

        if not names:
            raise RuleExtrapError("publish checkpoint needs a run folder, such as runs/quickstart")
        for release in map(Release.of, names):
            # `--revision` takes precedence over the branch of the seed.
            yield _checkpoint(replace(release, branch=None) if arguments.revision else release, arguments)
    else:
        from hf_ruleextrap.hub.spaces import space_checkpoints

        languages, folders = _languages_and_folders(names)
        paper = [*list_languages(tag="paper"), _SUITE]
        yield from (_dataset(name, arguments) for name in dict.fromkeys([*paper, *languages]))
        yield _metric(arguments)
        releases = [release for folder in folders for release in _releases(folder)]
        yield from (_checkpoint(release, arguments) for release in releases)
        runs = [release.run for release in releases]
        if space_checkpoints(runs):
            yield _demo(runs)
        elif releases:
            print("no model of these runs learned its language, so the demo is not published", file=sys.stderr)


def _demo(runs: Sequence[str | Path]) -> _Job:
    from hf_ruleextrap.hub.spaces import write_demo

    return _Job("demo", "space", "demo", partial(write_demo, runs=runs), "hf-ruleextrap demo {}")


def _languages_and_folders(names: Sequence[str]) -> tuple[list[str], list[Path]]:
    """Return the names that are languages, and the others as folders of runs (``runs`` if there are none)."""
    languages = [name for name in names if _is_language(name)]
    folders = [Path(name) for name in names if name not in languages]
    for folder in folders:
        if not folder.is_dir():
            raise RuleExtrapError(
                f"{str(folder)!r} is neither a language nor a folder: name an existing folder of runs"
            )
    return languages, folders or [Path("runs")]


def _is_language(name: str) -> bool:
    from hf_ruleextrap.languages import get_language

    try:
        get_language(name)
    except RuleExtrapError:
        return name == _SUITE
    return True


def _releases(folder: Path) -> list[Release]:
    """Return the releases of the runs in a folder, and print the runs that are left out."""
    from hf_ruleextrap.hub.push import find_releases

    releases, skipped = find_releases(folder)
    for line in skipped:
        print(f"skipped: {line}", file=sys.stderr)
    if not releases:
        print(f"{folder} contains no finished run, so no checkpoint is published", file=sys.stderr)
    return releases


def _metric(arguments: argparse.Namespace) -> _Job:
    from hf_ruleextrap.hub.spaces import write_metric

    write = partial(write_metric, organization=arguments.org)
    name = "rule_extrapolation"
    return _Job(name, "space", name, write, 'evaluate.load("{}", "anbn")')


def _checkpoint(release: Release, arguments: argparse.Namespace) -> _Job:
    from hf_ruleextrap.hub.checkpoint import brings_code, write_checkpoint
    from hf_ruleextrap.hub.push import read_run

    write = partial(write_checkpoint, release.run, organization=arguments.org)
    # Without this package, a user has to trust the code in the repository.
    recipe = read_run(release.run).recipe
    print_not_run([recipe.language])
    trust = ", trust_remote_code=True" if brings_code(recipe.architecture) else ""
    opened = f'AutoModelForCausalLM.from_pretrained("{{}}"{trust})'
    return _Job(release.name, "model", release.folder, write, opened, release.branch)


def _dataset(name: str, arguments: argparse.Namespace) -> _Job:
    opened = 'load_dataset("{}")'
    if name == _SUITE:
        from hf_ruleextrap.hub.dataset import SUITE_REPOSITORY, write_suite

        return _Job(
            SUITE_REPOSITORY, "dataset", SUITE_REPOSITORY, partial(write_suite, organization=arguments.org), opened
        )
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
        seed=check_integer("seed", arguments.seed),
    )
    return _Job(language.name, "dataset", language.name, write, opened)


def _publish_one(job: _Job, arguments: argparse.Namespace) -> None:
    sizes = _write(job, arguments)
    here = f"{arguments.org}/{job.folder}"
    if arguments.dry_run:
        for path, size in sizes.items():
            print(f"{size:>12,}  {here}/{path}")
        return
    print(f"{Path(arguments.to, here)}: {counted(len(sizes), 'file')}, {sum(sizes.values()):,} bytes")
    print(f"from {arguments.to}: {job.opened.format(here)}")
    if arguments.push_to_hub:
        from hf_ruleextrap.hub.push import push_folder

        repository, branch = f"{arguments.org}/{job.name}", job.branch or arguments.revision
        print(push_folder(Path(arguments.to, here), repository, job.kind, private=arguments.private, revision=branch))


def _collect(jobs: Sequence[_Job], arguments: argparse.Namespace) -> None:
    """Print the collection of all repositories, and make it with ``--push-to-hub``."""
    from hf_ruleextrap.hub.push import COLLECTION, push_collection

    # A repository with several branches has a job for each branch.
    repositories = {f"{arguments.org}/{job.name}": job.kind for job in jobs}
    if arguments.push_to_hub and not arguments.dry_run:
        print(push_collection(arguments.org, repositories.items(), private=arguments.private))
        return
    print(f"the collection {COLLECTION!r} with --push-to-hub: {counted(len(repositories), 'repository')}")
    for name, kind in repositories.items():
        print(f"{kind:>12}  {name}")


def _write(job: _Job, arguments: argparse.Namespace) -> dict[Path, int]:
    """Write the folder of a repository and return its files with their sizes; a dry run uses a temporary folder."""
    temporary = Path(gettempdir())
    with (
        writing(temporary if arguments.dry_run else arguments.to),
        TemporaryDirectory(dir=temporary) if arguments.dry_run else nullcontext(arguments.to) as parent,
    ):
        folder = Path(parent, arguments.org, job.folder)
        with hold(folder, wait=arguments.wait):
            files = [path for path in job.write(folder) if not is_leftover(path)]
        return {path.relative_to(folder): path.stat().st_size for path in files}
