"""`teminal estimate`."""

import argparse

from teminal_hf.commands.train import add_recipe_arguments

_ABOUT = """usage: teminal estimate RECIPE [CONFIG.yaml] [--flag value ...] [--groups N ...] [--hardware NAME]

What `teminal train RECIPE` with these arguments would take, on an empty cache: time, memory, disk. Nothing is trained,
and nothing stays on disk.

  --groups N ...   one column for each number of groups (default: as configured)
  --hardware NAME  here: measured on this machine, for some seconds (default); or a machine that was measured before

recipes: stage_a, stage_b, plain_pairs; `teminal train RECIPE --help` lists the flags."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe_arguments(parser)
    parser.set_defaults(run_command=_estimate)


def _estimate(arguments: argparse.Namespace) -> None:
    if arguments.recipe is None or arguments.help or {"-h", "--help"} & set(arguments.arguments):
        print(_ABOUT)
        return
    from teminal_hf.costs.estimate import HERE, estimate
    from teminal_hf.storage.packaged import recipes_folder

    own = argparse.ArgumentParser(prog="teminal estimate", add_help=False, allow_abbrev=False)
    own.add_argument("--groups", type=int, nargs="+", default=[])
    own.add_argument("--hardware", default=HERE)
    chosen, rest = own.parse_known_args(arguments.arguments)
    defaults = (recipes_folder() / f"{arguments.recipe}.py").with_suffix(".yaml")
    print(estimate(arguments.recipe, rest, defaults, chosen.groups, chosen.hardware))
