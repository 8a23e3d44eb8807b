"""Suites: YAML files of named variants, each the differences from a base recipe, and the runs that they come to."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from teminal_hf.errors import ConfigError, NotFoundError, TakenError
from teminal_hf.runs.arguments import parse
from teminal_hf.runs.checks import check
from teminal_hf.runs.run_folder import read_record
from teminal_hf.runs.yaml_file import as_yaml, read_mapping
from teminal_hf.storage.atomic import written_whole

_SUITE = {"base", "seeds", "settings", "variants", "search"}
_SEARCH = {"about", "hours", "number", "seed", "ranges"}
SEARCH = "search_"  # names of drawn variants begin so
_VARIANT = {"about", "hours", "recipe", "only_phase", "after", "phase", "seeds", "settings"}


@dataclass(frozen=True)
class Variant:
    """One method of a suite.

    `hours` is what one seed takes in one thread, `after` the variant whose run of the same seed it goes on from, or
    from a `phase` of, `differences` what the suite says, and `settings` that upon the base recipe or one phase of it.
    """

    suite: str
    place: int
    name: str
    about: str
    hours: float
    recipe: str
    after: str | None
    phase: str
    seeds: tuple[int, ...]
    differences: Mapping[str, Any]
    settings: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Job:
    """One seed of a variant: its run's folder, with its configuration and its log beside it."""

    variant: Variant
    seed: int
    folder: Path
    settings: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.variant.name}-{self.folder.name}"

    @property
    def config(self) -> Path:
        return self.folder.with_suffix(".yaml")

    @property
    def log(self) -> Path:
        return self.folder.with_suffix(".log")

    def write_config(self) -> None:
        """Write the YAML file that runs it, and read it as the recipe will.

        Raises:
            ConfigError: the recipe does not take these settings.
            TakenError: the folder holds a run of other settings.
        """
        text = as_yaml(self.settings)
        before = self.config.read_text(encoding="utf-8") if self.config.is_file() else text
        if text != before and read_record(self.folder):
            raise TakenError(
                f"{self.folder} holds a run of other settings ({self.config}) than {self.variant.name} has now; remove "
                "that folder to run it anew, or give the variant another name"
            )
        self.config.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(self.config) as draft:
            draft.write_text(text, encoding="utf-8")
        for part in parse(self.variant.recipe, [str(self.config)], self.config).parts:
            check(part)


def read_suite(path: Path) -> list[Variant]:
    """The variants of a suite, in their order, then those of its `search`: `number` variants whose settings are drawn
    from `ranges`, log-uniformly.

    Raises:
        NotFoundError: no such file.
        ConfigError: it is no suite; the message names file, variant and key.
    """
    if not path.is_file():
        raise NotFoundError(f"no suite {path}; name a YAML file of variants, such as core or extended")
    suite = read_mapping(path)
    _check_keys(suite, _SUITE, ("base", "variants"), str(path))
    variants: list[Variant] = []
    for name, facts in (suite["variants"] | _drawn(suite.get("search"), f"{path}, search")).items():
        where = f"{path}, variant {name}"
        _check_keys(facts, _VARIANT, ("about", "hours"), where)
        recipe, after = facts.get("recipe", "stage_b"), facts.get("after")
        if recipe not in suite["base"]:
            raise ConfigError(f"{where}: no base for {recipe}; base has {', '.join(suite['base'])}")
        if after is not None and after not in [variant.name for variant in variants]:
            raise ConfigError(f"{where}: after must name a variant above it, found {after}")
        differences = {**(suite.get("settings") or {}), **(facts.get("settings") or {})}
        of_recipe = read_mapping(path.parent / suite["base"][recipe])
        if only := facts.get("only_phase"):
            of_recipe = _only_phase(of_recipe, only, where)
        phases = _merged(of_recipe.get("phases") or {}, differences.get("phases") or {}, where)
        settings = of_recipe | {"start_from": "base"} | differences | ({"phases": phases} if phases else {})
        differences = ({"only_phase": only} if only else {}) | differences
        seeds = tuple(facts.get("seeds") or suite.get("seeds") or (1,))
        place, about, hours = len(variants), str(facts["about"]), float(facts["hours"])
        phase = str(facts.get("phase", ""))
        of_suite = (path.stem, place, name, about, hours)
        variants.append(Variant(*of_suite, recipe, after, phase, seeds, differences, settings))
    return variants


def plan(
    variants: Sequence[Variant],
    root: Path,
    *,
    only: Collection[str] = (),
    seeds: Sequence[int] = (),
    places: Mapping[str, str | Sequence[str] | None] | None = None,
) -> list[Job]:
    """The runs of these variants, each after the one that it goes on from.

    Args:
        root: the folder of all suites' runs.
        only: names of variants; default all. Those that they go on from come with them.
        seeds: in the place of the suite's.
        places: model, data_dir, known and known_names, where they are given.

    Raises:
        ConfigError: `only` names a variant that is not there.
    """
    names = [variant.name for variant in variants]
    if unknown := [name for name in only if name not in names]:
        raise ConfigError(f"no variant {', '.join(unknown)}; choose of {', '.join(names)}")
    wanted: dict[str, set[int]] = {name: set() for name in names}
    for variant in reversed(variants):
        if not only or variant.name in only:
            wanted[variant.name] |= set(seeds or variant.seeds)
        if variant.after is not None:
            wanted[variant.after] |= wanted[variant.name]
    given = {name: place for name, place in (places or {}).items() if place is not None}
    jobs = []
    for variant in variants:
        folder = root / variant.suite
        for seed in sorted(wanted[variant.name]):
            of_seed: dict[str, Any] = {"seed": seed}  # the groups are the recipe's, and so is their frozen prefix
            if variant.after is not None:
                of_seed["start_from"] = (folder / variant.after / f"seed-{seed}" / variant.phase).as_posix()
            settings = {**variant.settings, **of_seed, **given}
            jobs.append(Job(variant, seed, folder / variant.name / f"seed-{seed}", settings))
    return jobs


def _merged(phases: Mapping[str, Any], differences: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The recipe's phases, each with what the suite says of it alone."""
    if unknown := sorted(set(differences) - set(phases)):
        raise ConfigError(f"{where}: no phase {', '.join(unknown)}; the recipe has {', '.join(phases) or 'none'}")
    return {name: {**settings, **differences.get(name, {})} for name, settings in phases.items()}


def _only_phase(recipe: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    """The settings of a recipe whose only phase is the one of this name."""
    phases = recipe.get("phases") or {}
    if name not in phases:
        raise ConfigError(f"{where}: the recipe has no phase {name}; it has {', '.join(phases) or 'none'}")
    return {**recipe, **phases[name], "phases": {}}


def _drawn(search: Any, where: str) -> dict[str, dict[str, Any]]:
    if search is None:
        return {}
    _check_keys(search, _SEARCH, ("about", "hours", "number", "ranges"), where)
    for name, span in search["ranges"].items():
        if not (isinstance(span, list) and len(span) == 2 and all(isinstance(e, int | float) for e in span)):
            raise ConfigError(f"{where}: {name} needs a range [low, high], found {span!r}")
        if not 0 < span[0] < span[1]:
            raise ConfigError(f"{where}: the range of {name} must rise from above 0, found {span!r}")
    rng = np.random.default_rng(search.get("seed", 0))
    low, high = np.log(np.array(list(search["ranges"].values()), dtype=float)).T
    values = np.exp(rng.uniform(low, high, (search["number"], len(low)))).tolist()
    return {
        f"{SEARCH}{i:02d}": {
            "about": search["about"],
            "hours": search["hours"],
            "settings": {name: float(f"{value:.3g}") for name, value in zip(search["ranges"], row, strict=True)},
        }
        for i, row in enumerate(values, start=1)
    }


def _check_keys(facts: Any, known: set[str], needed: Sequence[str], where: str) -> None:
    if not isinstance(facts, dict):
        raise ConfigError(f"{where}: expected `key: value` lines, found {facts!r}")
    if unknown := sorted(set(facts) - known):
        raise ConfigError(f"{where}: unknown key {', '.join(unknown)}; choose of {', '.join(sorted(known))}")
    if missing := [key for key in needed if key not in facts]:
        raise ConfigError(f"{where}: {', '.join(missing)} is missing")
