"""Which room may import which: those before it in this list, so that data flows one way."""

import ast
from pathlib import Path

import pytest

from support.paths import ROOT
from teminal_hf.commands.cli import COMMANDS

ROOMS = ["errors", "storage", "hub", "audio", "clips", "data", "models", "training", "evaluation"]
ROOMS += ["order_tests", "runs", "costs", "experiments", "integrations", "tools", "commands"]
FILES = sorted((ROOT / "teminal_hf").glob("*/*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_go_down_alone(path: Path) -> None:
    room = ROOMS.index(path.parent.name)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [f"{node.module}"] if isinstance(node, ast.ImportFrom) else []
        for _, imported, *_ in (name.split(".") for name in names if name.startswith("teminal_hf.")):
            assert ROOMS.index(imported) <= room, f"{path.parent.name} imports {imported}, which is above it"


def test_every_room_is_listed_and_none_is_crowded() -> None:
    assert {path.parent.name for path in FILES} == set(ROOMS) - {"errors"}
    most = dict.fromkeys(ROOMS, 14) | {"commands": len(COMMANDS) + 4}  # a module for each, and what they share
    assert all(sum(path.parent.name == room for path in FILES) <= most[room] for room in ROOMS)
