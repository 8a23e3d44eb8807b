"""The `teminal` command: train, evaluate, rank, compare, push, data, demo, doctor, cache."""

import argparse
import logging
import sys
from collections.abc import Sequence

from teminal_hf.commands import cache, data, demo, doctor, evaluate, push
from teminal_hf.runs import post_train as recipe
from teminal_hf.storage.packaged import recipes_folder

RECIPES = ("stage_a", "stage_b", "plain_pairs")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="teminal", description="Post-train CLAP models to hear order, and measure it."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="run a recipe", add_help=False)
    train.add_argument("recipe", choices=RECIPES)
    train.add_argument("arguments", nargs=argparse.REMAINDER, help="[CONFIG.yaml] [--flag value ...]")
    train.set_defaults(run_command=_train)
    for module in (evaluate, push, data, demo, doctor, cache):
        module.register(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of `teminal`. What a user can mend ends with its message alone and exit status 1."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    arguments = build_parser().parse_args(argv)
    try:
        arguments.run_command(arguments)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


def _train(arguments: argparse.Namespace) -> None:
    recipe.main(arguments.recipe, arguments.arguments, recipes_folder() / f"{arguments.recipe}.yaml")


if __name__ == "__main__":
    main()
