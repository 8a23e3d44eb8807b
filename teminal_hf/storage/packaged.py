"""Folders that lie beside the package in a checkout and inside it once installed."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def recipes_folder() -> Path:
    """The recipes' YAML files."""
    return _beside("recipes")


def cards_folder() -> Path:
    """What is published on the Hub beside weights and data: cards, metric, page."""
    return _beside("hub_cards")


def _beside(name: str) -> Path:
    return next(folder for folder in (_PACKAGE / name, _PACKAGE.parent / name) if folder.is_dir())
