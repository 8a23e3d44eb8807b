"""Where the repository and the expected documents lie."""

from pathlib import Path

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
RECIPES = ROOT / "recipes"
GOLDEN = TESTS / "golden"
