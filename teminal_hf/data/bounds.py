"""Numbers and lists that make sense, by the name of their option: one check for flags, YAML keys and arguments."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from teminal_hf.errors import ConfigError


@dataclass(frozen=True)
class Bound:
    """From `least` (with `above`: more than it) to `most`, finite."""

    least: float
    most: float = math.inf
    above: bool = False

    def __contains__(self, value: float) -> bool:
        return math.isfinite(value) and self.least <= value <= self.most and not (self.above and value == self.least)

    def __str__(self) -> str:
        if self.most < math.inf:
            return f"between {self.least:g} and {self.most:.10g}"
        return f"more than {self.least:g}" if self.above else f"at least {self.least:g}"


SEED = Bound(0, 2**32 - 1)  # numpy's
CLIPS: dict[str, Bound] = {
    "seed": SEED,
    "groups": Bound(1),
    "n_groups": Bound(1),
    "index": Bound(0),
    "clips_per_class": Bound(1),
    "sampling_rate": Bound(1_000, 192_000),
}


def check_bounds(values: Mapping[str, Any], bounds: Mapping[str, Bound]) -> None:
    """Raise a ConfigError that names the first of `values` that is not within its bound; None is no number."""
    for name, bound in bounds.items():
        value = values.get(name)
        if value is not None and value not in bound:
            raise ConfigError(f"{name} must be {bound}, got {value}")


def check_finite_numbers(values: Mapping[str, Any]) -> None:
    """Raise a ConfigError that names the first of `values` that is NaN or infinite."""
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{name} must be a finite number, got {value}")


def check_distinct(values: Mapping[str, Collection[Any] | None], names: Collection[str]) -> None:
    """Raise a ConfigError that names the first list that holds something twice."""
    for name in names:
        chosen = list(values.get(name) or ())
        twice = [str(value) for value in dict.fromkeys(chosen) if chosen.count(value) > 1]
        if twice:
            raise ConfigError(f"{name} names {', '.join(twice)} twice; name each once")
