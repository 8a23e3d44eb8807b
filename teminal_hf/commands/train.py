"""`teminal train`."""

import argparse
from runpy import run_path

RECIPES = {"stage_a": "post_train", "stage_b": "post_train", "plain_pairs": "fine_tune"}  # and their functions
_ABOUT = """usage: teminal train RECIPE [CONFIG.yaml] [--flag value ...]

Runs a recipe of the package: the YAML file gives defaults (RECIPE.yaml, or one of those beside it, such as
recipes/esc50_base/stage_b.yaml), flags override. On several GPUs: accelerate launch recipes/RECIPE.py ...

recipes:
  stage_a      a recording can hold more than one sound
  stage_b      before, after or while; goes on from stage A's output
  plain_pairs  ordinary contrastive fine-tuning on your own audio and captions

`teminal train RECIPE --help` lists the flags."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe_arguments(parser)
    parser.set_defaults(run_command=_train)


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    """A recipe, and what is for it to read, `--help` among it."""
    parser.add_argument("recipe", nargs="?", choices=RECIPES)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="[CONFIG.yaml] [--flag value ...]")


def _train(arguments: argparse.Namespace) -> None:
    if arguments.recipe is None:
        print(_ABOUT)
        return
    from teminal_hf.storage.packaged import recipes_folder

    recipe, name = recipes_folder() / f"{arguments.recipe}.py", RECIPES[arguments.recipe]
    stage = () if arguments.recipe == "plain_pairs" else (arguments.recipe,)
    flags = [*(["--help"] if arguments.help else []), *arguments.arguments]
    run_path(str(recipe))[name](*stage, flags, recipe.with_suffix(".yaml"))
