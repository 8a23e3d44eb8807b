"""The `teminal` command and the table of its subcommands."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from teminal_hf import __version__
from teminal_hf.commands.door import door

# Each is a module beside this one with `add_arguments(parser)`, which sets `run_command`.
COMMANDS = {
    "train": "run a recipe: stage_a, stage_b or plain_pairs",
    "estimate": "what a training would take: time, memory, disk",
    "evaluate": "run a checkpoint through ZSTE",
    "compare": "one table of finished runs: methods side by side, seeds averaged",
    "rank": "which caption fits a sound, and where?",
    "search": "which recordings of a folder fit a caption?",
    "embed": "embeddings of a data set as parquet, by any number of processes",
    "export": "both towers as ONNX, compared with torch",
    "push": "publish a finished run on the Hub, or go on with a push that failed",
    "data": "publish the manifests, hear and see a group, export tasks to mteb",
    "metric": "publish ZSTE or clap_order as a metric",
    "demo": "a page in the browser: which caption do base and post-trained prefer?",
    "doctor": "is a checkpoint fit to hear order, in your clips?",
    "cache": "decoded clips and frozen prefixes that runs left on disk",
}


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """The parser of `teminal`, with the arguments of `command` alone: the modules of the others are not imported."""
    parser = argparse.ArgumentParser(
        prog="teminal", description="Post-train CLAP models to hear order, and measure it."
    )
    parser.add_argument("--version", action="version", version=f"teminal_hf {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, help in COMMANDS.items():
        # These answer for their own flags, --help included.
        subparser = commands.add_parser(name, help=help, add_help=name not in ("train", "estimate"))
        if name == command:
            import_module(f"teminal_hf.commands.{name}").add_arguments(subparser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of `teminal`. What a user can mend ends with its message alone and exit status 1."""
    argv = sys.argv[1:] if argv is None else argv
    arguments = build_parser(next(iter(argv), None)).parse_args(argv)
    with door():
        arguments.run_command(arguments)


if __name__ == "__main__":
    main()
