"""A fault, and what may come of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# The last is none of the table's columns: neither harm nor what a person may expect, such as a program that hangs, that
# ends without a message, or that refuses what is right.
SURVIVED = "survived"
OUTCOMES = (SURVIVED, "lost", "silently wrong", "traceback", "unclear")


@dataclass(frozen=True)
class Fault:
    """One fault of a kind; `how` is what its module needs to try it."""

    kind: str
    name: str
    how: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """One of `OUTCOMES`, and in words what was found."""

    how: str
    what: str = ""


class Bad(Exception):  # noqa: N818
    """What is raised where a fault is found not to have been survived."""

    def __init__(self, how: str, what: str) -> None:
        super().__init__(what)
        self.outcome = Outcome(how, what)
