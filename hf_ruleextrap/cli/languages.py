"""The commands on languages: ``languages``, ``check``, ``sample``, ``prompts``, ``chance``, ``explain``, ``score``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from time import perf_counter
from typing import TYPE_CHECKING, Any

from hf_ruleextrap.costs import MOST_SECONDS, check_cost
from hf_ruleextrap.errors import check_integer, counted, folded
from hf_ruleextrap.inputs import read_text

from .common import Commands, add_json, add_paper, add_prompt_set, print_json, print_lines

if TYPE_CHECKING:
    from hf_ruleextrap.formal import Explanation, Language, RationalLearner, Report


def add(commands: Commands) -> None:
    """Add the commands on languages."""
    _add_languages(commands)
    _add_check(commands)
    _add_sample(commands)
    _add_prompts(commands)
    _add_chance(commands)
    _add_explain(commands)
    _add_score(commands)


# The largest length of the words whose entropy rate is printed.
_MAX_LENGTH = 64


def _add_languages(commands: Commands) -> None:
    parser = commands.add_parser("languages", help="list the languages and their rules, ordered by level")
    parser.add_argument("--level", help="list only languages of this level, for example regular")
    parser.add_argument("--tag", help="list only languages with this tag, for example paper")
    parser.add_argument("--markdown", action="store_true", help="print the table of docs/languages.md")
    add_json(parser)
    parser.set_defaults(run=_languages)


def _languages(arguments: argparse.Namespace) -> None:
    """Print the languages."""
    from hf_ruleextrap.formal import LEVELS, complexity
    from hf_ruleextrap.languages import get_language, list_languages

    languages = [get_language(name) for name in list_languages(level=arguments.level, tag=arguments.tag)]
    languages.sort(key=lambda language: LEVELS.index(language.level))
    if arguments.json:
        print_json(
            {
                "name": language.name,
                "summary": language.summary,
                "level": language.level,
                "tags": language.tags,
                "alphabet": language.alphabet,
                "rules": [{"name": rule.name, "summary": rule.summary} for rule in language.rules],
                "prompt_length": language.prompt_length,
                "complexity": complexity(language, max_length=max(_MAX_LENGTH, language.shortest)).to_dict(),
            }
            for language in languages
        )
        return
    if arguments.markdown:
        print("\n".join(_table(languages)))
        return
    width = max((len(language.name) for language in languages), default=0)
    for level in LEVELS:
        level_languages = [language for language in languages if language.level == level]
        if level_languages:
            print(f"{level} ({len(level_languages)})")
        for language in level_languages:
            tags = f"  [{', '.join(language.tags)}]" if language.tags else ""
            print(folded(f"  {language.name:{width}}  {language.summary}{tags}", width + 4))
            for i, rule in enumerate(language.rules, start=1):
                print(folded(f"  {'':{width}}  R{i} {rule.summary}", width + 7))


def _table(languages: Sequence[Language]) -> Iterator[str]:
    """Yield the lines of a Markdown table with one line for each language."""
    yield "| name | words | level | rules, R1 first | tags |"
    yield "|---|---|---|---|---|"
    for language in languages:
        rules = "; ".join(rule.summary for rule in language.rules)
        cells = (f"`{language.name}`", language.summary, language.level, rules, ", ".join(language.tags))
        yield f"| {' | '.join(cells)} |"


def _add_check(commands: Commands) -> None:
    parser = commands.add_parser(
        "check", help="check a language against its contract; each failure shows its smallest case"
    )
    parser.add_argument("language", help="the name of a language, or FILE.py:CLASS")
    add_paper(parser)
    add_json(parser)
    parser.set_defaults(run=_check)


def _check(arguments: argparse.Namespace) -> int:
    """Print all findings. Return 1 if a check fails, else 0."""
    from hf_ruleextrap.formal.contract import check
    from hf_ruleextrap.languages import get_language

    language = get_language(arguments.language, paper=arguments.paper)
    findings = check(language)
    failed = [finding for finding in findings if not finding.holds]
    if arguments.json:
        rows = [asdict(finding) for finding in findings]
        print_json({"language": language.name, "holds": not failed, "findings": rows})
        return int(bool(failed))
    for finding in findings:
        print(folded(f"{'ok  ' if finding.holds else 'FAIL'}  {finding.check}: {finding.detail}", 6))
    if failed:
        print(f"{language.name}: {len(failed)} of {len(findings)} checks failed; correct {failed[0].check!r} first")
    else:
        print(f"{language.name}: all {len(findings)} checks hold")
    return int(bool(failed))


_BATCH_WORDS = 1 << 16
"""The number of words that are drawn and printed together."""


def _add_sample(commands: Commands) -> None:
    parser = commands.add_parser("sample", help="draw words of a language")
    parser.add_argument("language")
    parser.add_argument("-n", type=int, default=10, help="number of words (default 10)")
    parser.add_argument("--max-length", type=int, default=64, help="largest number of symbols in a word (default 64)")
    parser.add_argument("--seed", type=int, default=0, help="random seed for drawing words (default 0)")
    add_paper(parser)
    add_json(parser)
    parser.set_defaults(run=_sample)


def _sample(arguments: argparse.Namespace) -> None:
    """Print words as they are drawn."""
    batches = _batches(arguments)
    if not arguments.json:
        for words in batches:
            print_lines(words)
        return
    between = "[\n"
    for words in batches:
        print(between + ",\n".join(f"  {json.dumps(word)}" for word in words), end="")
        between = ",\n"
    print("\n]")


def _batches(arguments: argparse.Namespace) -> Iterator[list[str]]:
    """Yield the words in batches, so that any number of words fits into memory."""
    import numpy as np

    from hf_ruleextrap.languages import get_language

    language = get_language(arguments.language, paper=arguments.paper)
    rng = np.random.default_rng(check_integer("--seed", arguments.seed))
    n = check_integer("-n", arguments.n)
    for first in range(0, max(n, 1), _BATCH_WORDS):
        started = perf_counter()
        words = list(language.sample(min(n - first, _BATCH_WORDS), max_length=arguments.max_length, rng=rng))
        if first == 0 and n > _BATCH_WORDS:
            seconds_a_word = (perf_counter() - started) / len(words)
            check_cost(
                f"drawing {n:,} words",
                f"draw at most {int(MOST_SECONDS / seconds_a_word):,}",
                seconds=n * seconds_a_word,
            )
        yield words


def _add_prompts(commands: Commands) -> None:
    parser = commands.add_parser("prompts", help="list the prompts of a language with their kinds and broken rules")
    parser.add_argument("language")
    parser.add_argument("--limit", type=int, help="largest number of prompts of each kind; they are chosen at random")
    parser.add_argument("--seed", type=int, default=0, help="random seed for choosing prompts (default 0)")
    add_prompt_set(parser)
    add_paper(parser)
    add_json(parser)
    parser.set_defaults(run=_prompts)


def _prompts(arguments: argparse.Namespace) -> None:
    """Print the prompts."""
    import numpy as np

    from hf_ruleextrap.languages import get_language

    language = get_language(arguments.language, paper=arguments.paper)
    rng = np.random.default_rng(check_integer("seed", arguments.seed))
    prompts = language.prompts(arguments.kind, length=arguments.length, limit=arguments.limit, rng=rng)
    if arguments.json:
        print_json(asdict(prompt) for prompt in prompts)
        return
    labels = {rule.name: f"R{i}" for i, rule in enumerate(language.rules, start=1)}
    for prompt in prompts:
        broken = ", ".join(labels[name] for name in prompt.broken) or "none alone"
        print(f"{prompt.text}  {prompt.kind}" + (f"  broken: {broken}" if prompt.kind == "ood" else ""))


def _add_chance(commands: Commands) -> None:
    parser = commands.add_parser(
        "chance", help="print the rates of random symbols, or of another reference, on a language's prompts"
    )
    parser.add_argument("language")
    add_prompt_set(parser)
    parser.add_argument(
        "--completer",
        default="uniform",
        help="the reference: uniform, always-stop, 1-gram, 2-gram, 3-gram, oracle, ceiling, or a rational learner "
        "such as rational-modular (default uniform)",
    )
    parser.add_argument(
        "--max-new-symbols", type=int, help="largest number of symbols in a completion (default: no limit)"
    )
    add_paper(parser)
    add_json(parser)
    parser.set_defaults(run=_chance)


def _chance(arguments: argparse.Namespace) -> None:
    """Print the rates of a reference."""
    from hf_ruleextrap.evaluation import chance
    from hf_ruleextrap.languages import get_language

    language = get_language(arguments.language, paper=arguments.paper)
    report = chance(
        language,
        kind=arguments.kind,
        length=arguments.length,
        completer=arguments.completer,
        max_new_symbols=arguments.max_new_symbols,
    )
    _print_report(report, f"{arguments.completer} on {counted(report.n, 'prompt')} of {language.name}", arguments)


def _print_report(report: Report, title: str, arguments: argparse.Namespace) -> None:
    """Print a report as JSON if ``--json`` is given, or else as a table below a title."""
    if arguments.json:
        print_json(report.to_dict())
        return
    print(title)
    print(report)


_LEARNERS = ("rational-uniform", "rational-simple", "rational-modular")


def _add_explain(commands: Commands) -> None:
    parser = commands.add_parser(
        "explain", help="what rational learners keep after a prompt that breaks a rule, and why"
    )
    parser.add_argument("language")
    parser.add_argument("prompts", nargs="+", metavar="PROMPT")
    parser.add_argument(
        "--learner", default="all", help=f"{', '.join(_LEARNERS)}, rational (the last), or all (default)"
    )
    parser.add_argument("--words", type=int, default=128, help="number of training words (default: 128)")
    parser.add_argument(
        "--seen",
        type=int,
        nargs="+",
        metavar="N",
        default=[],
        help="also print the rate after the first N training words, for each N",
    )
    parser.add_argument("--max-length", type=int, default=16, help="largest length of a word (default: 16)")
    parser.add_argument("--seed", type=int, default=0, help="random seed for drawing the training words (default: 0)")
    parser.add_argument("--epsilon", type=float, default=0.01, help="probability of an exception (default: 0.01)")
    parser.add_argument(
        "--delta", type=float, default=0.1, help="probability that an exception drops a rule (default: 0.1)"
    )
    parser.add_argument("--budget", type=float, default=29.0, help="bits of the longest hypothesis (default: 29)")
    add_paper(parser)
    add_json(parser)
    parser.set_defaults(run=_explain)


def _explain(arguments: argparse.Namespace) -> None:
    """Print the explanations."""
    import numpy as np
    from tqdm import tqdm

    from hf_ruleextrap.formal import HypothesisSpace, RationalLearner, RationalSettings, explain
    from hf_ruleextrap.formal.rational import rates_by_words
    from hf_ruleextrap.languages import get_language

    language = get_language(arguments.language, paper=arguments.paper)
    prompts = language.label(arguments.prompts)
    rng = np.random.default_rng(check_integer("seed", arguments.seed))
    words = language.sample(check_integer("words", arguments.words), max_length=arguments.max_length, rng=rng)
    settings = RationalSettings(epsilon=arguments.epsilon, delta=arguments.delta, budget=arguments.budget)

    def track(conjunctions: list[frozenset[int]]) -> Any:
        # There is no bar if stderr is not a terminal.
        return tqdm(conjunctions, unit="hypothesis", disable=None, file=sys.stderr)

    space = HypothesisSpace(language, arguments.max_length, settings, track=track)
    names = _LEARNERS if arguments.learner == "all" else (arguments.learner,)
    learners = [RationalLearner.of(space, words, name) for name in names]
    explanations = [explain(learner, prompts) for learner in learners]
    curves = [rates_by_words(space, words, prompts, arguments.seen, name) for name in names if arguments.seen]
    if arguments.json:
        print_json(
            {
                "language": language.name,
                "words": len(words),
                "max_length": arguments.max_length,
                "learners": dict(map(_as_item, learners, explanations)),
                "seen": arguments.seen,
                "rates_by_words": {
                    learner.name: curve.tolist() for learner, curve in zip(learners, curves, strict=False)
                },
            }
        )
        return
    print(f"after {counted(len(words), 'word')} of {language.name} with up to {arguments.max_length} symbols:")
    for number, rule in enumerate(language.rules, start=1):
        print(f"  R{number}: {rule.summary}")
    for learner, of_learner in zip(learners, explanations, strict=True):
        print(f"\n{learner.name} (posterior of the language's own words: {learner.posterior.own_words:.3f})")
        for row, explanation in enumerate(of_learner):
            kind = "ID" if not prompts.ood[row] else "OOD"
            print(f"  {explanation.prompt} ({kind}): {explanation}")
            print(f"    every open rule holds {explanation.open_rules_hold:.3f}; greedy: {explanation.completion}")
            for rules, share in explanation.programs:
                if share >= 0.005:
                    print(f"    {share:.3f}  {' and '.join(rules) or 'any word'}")
    for learner, curve in zip(learners, curves, strict=False):
        print(f"\n{learner.name}: every open rule holds after the first training words")
        print("   words  " + "  ".join(f"{prompt:>8}" for prompt in arguments.prompts))
        for count, rates in zip(arguments.seen, curve, strict=True):
            print(f"  {count:6}  " + "  ".join(f"{rate:8.3f}" for rate in rates))


def _as_item(learner: RationalLearner, explanations: list[Explanation]) -> tuple[str, dict[str, Any]]:
    """Return the name of a learner, and its explanations as plain dictionaries."""
    prompts = [asdict(explanation) for explanation in explanations]
    return learner.name, {"own_words": learner.posterior.own_words, "prompts": prompts}


def _add_score(commands: Commands) -> None:
    parser = commands.add_parser("score", help="score completions from a file of JSON lines, or a CSV file")
    parser.add_argument(
        "file",
        help='lines of {"prompt": …, "completion": …, "finished": true}, or a .csv file with these columns; '
        "- reads standard input",
    )
    parser.add_argument("--language", required=True, help="the name of a language, or FILE.py:CLASS")
    add_paper(parser)
    add_json(parser)
    parser.set_defaults(run=_score)


def _score(arguments: argparse.Namespace) -> None:
    """Print the rates of the completions."""
    from hf_ruleextrap.evaluation import score
    from hf_ruleextrap.evaluation.evaluate import parse_completions
    from hf_ruleextrap.languages import get_language

    language = get_language(arguments.language, paper=arguments.paper)
    name = arguments.file
    text = sys.stdin.read() if name == "-" else read_text(name, "file of completions")
    rows = parse_completions(text, name, is_csv=name.lower().endswith(".csv"))
    report = score(language, *([row[key] for row in rows] for key in ("prompt", "completion", "finished")))
    _print_report(report, f"{counted(report.n, 'completion')} of prompts of {language.name}", arguments)
