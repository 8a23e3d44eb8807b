"""Recipes in this process, as `teminal train` runs them."""

from pathlib import Path
from runpy import run_path

import pytest

from support.paths import RECIPES
from teminal_hf.commands.cli import main


def run_recipe(recipe: str, *arguments: str) -> None:
    """Run a recipe, with its own defaults."""
    main(["train", recipe, *arguments])


def refused(recipe: str, *arguments: str) -> str:
    """The message with which a recipe ends that was told something wrong."""
    with pytest.raises(SystemExit) as stopped:
        run_recipe(recipe, *arguments)
    return str(stopped.value)


def recipe_function(recipe: str, name: str) -> object:
    """A function of a recipe's file."""
    return run_path(str(Path(RECIPES / f"{recipe}.py")))[name]
