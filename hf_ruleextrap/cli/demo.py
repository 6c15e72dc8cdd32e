"""``hf-ruleextrap demo``."""

from __future__ import annotations

import argparse

from hf_ruleextrap.errors import RuleExtrapError, check_integer

from .common import Commands, quiet


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("demo", help="show rules, models and results in the browser")
    parser.add_argument(
        "runs", nargs="*", metavar="RUN", help="run folders, folders of runs, or the folder of `publish demo`"
    )
    parser.add_argument("--port", type=int, help="the port of the server (default: the first free one from 7860)")
    parser.add_argument("--open", action="store_true", help="open the page in the default browser")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Start the server on this machine."""
    from importlib.util import find_spec

    if find_spec("gradio") is None:
        raise RuleExtrapError('the demo needs Gradio: pip install "hf-ruleextrap[demo]"')
    if arguments.port is not None:
        check_integer("port", arguments.port, least=1)
    quiet()
    from hf_ruleextrap.demo.app import launch

    launch(arguments.runs, port=arguments.port, inbrowser=arguments.open, server_name="127.0.0.1")
