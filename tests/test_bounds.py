"""Lower bounds are those that are tested."""

import re
import tomllib

from support.paths import ROOT


def pins(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / name).read_text(encoding="utf-8"), re.M))


def release(version: str) -> tuple[int, ...]:
    """2.0 and 2.0.0 are one version."""
    numbers = [int(number) for number in version.split(".")]
    return tuple(numbers + [0] * (4 - len(numbers)))


def test_bounds_are_the_lowest_versions_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bounds = dict(dependency.split(">=") for dependency in project["dependencies"])
    lowest = pins("constraints-lowest.txt")
    del bounds["torch"]  # older builds without CUDA are not on PyPI; see the file
    assert {name: release(bound) for name, bound in bounds.items()} == {name: release(lowest[name]) for name in bounds}


def test_the_tested_versions_are_in_bounds() -> None:
    newest, lowest = pins("constraints.txt"), pins("constraints-lowest.txt")
    assert all(release(newest[name]) >= release(version) for name, version in lowest.items() if name in newest)
