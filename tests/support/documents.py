"""The documents: their blocks of code, and those whose blocks are run."""

import re

from support.paths import ROOT

# In this order, in one folder: a later page uses what an earlier one made. What needs a GPU or a person is ```text.
PAGES = ("README.md", "docs/post-train.md", "docs/evaluate.md", "docs/publish.md", "docs/extend.md")

_BLOCK = re.compile(r"^```(\S*)\n(.*?)^```$", re.M | re.S)


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def languages(page: str) -> set[str]:
    """What the page's blocks say that they hold."""
    return {language for language, _ in _BLOCK.findall(read(page))}


def blocks(page: str, language: str) -> list[str]:
    return [code for found, code in _BLOCK.findall(read(page)) if found == language]


def prose(page: str) -> str:
    """The page without its blocks."""
    return _BLOCK.sub("", read(page))
