"""`teminal push`."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    parser.add_argument("--to", required=True, metavar="NAME", help="its name on the Hub")
    parser.add_argument("--private", action="store_true", default=None, help="if it has to be made")
    parser.add_argument("--revision", help="branch to push to (default: main)")
    parser.set_defaults(run_command=_push)


def _push(arguments: argparse.Namespace) -> None:
    from teminal_hf.runs.publishing import push_run

    print(push_run(arguments.run, arguments.to, private=arguments.private, revision=arguments.revision))
