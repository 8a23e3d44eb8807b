"""Suites: what ships fits its recipes and its budget, and what makes no sense is refused by name."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.stats import kstest

from support.paths import RECIPES
from teminal_hf.errors import ConfigError, NotFoundError, TakenError
from teminal_hf.experiments.suite import Job, plan, read_suite

SUITES = RECIPES / "esc50_base" / "suites"
HOURS = {"core": 3, "before_hinge": 2.5, "extended": 10, "hinge": 5}  # on two cores
BASE = {"n_groups": 16, "plain_share": 0.35}


def suite(folder: Path, **facts: object) -> Path:
    """A suite with these facts, upon a base recipe of two settings."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stage_b.yaml").write_text(yaml.safe_dump(BASE))
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({"base": {"stage_b": "stage_b.yaml"}, **facts}))
    return path


def variant(**facts: object) -> dict[str, object]:
    return {"about": "one", "hours": 0.5, **facts}


def named(jobs: list[Job]) -> list[str]:
    return [job.name for job in jobs]


@pytest.mark.parametrize("name", HOURS)
def test_every_variant_that_ships_parses_and_all_fit_their_hours(name: str, tmp_path: Path) -> None:
    jobs = plan(read_suite(SUITES / f"{name}.yaml"), tmp_path, places={"model": "clap-mini", "data_dir": "ESC-50"})
    for job in jobs:
        job.write_config()
        assert not any(str(value).startswith(("/", "~", ".")) for value in job.variant.settings.values())
    assert sum(job.variant.hours for job in jobs) / 2 <= HOURS[name]


def test_names_are_told_apart_across_suites() -> None:
    assert {path.stem for path in SUITES.glob("*.yaml")} == set(HOURS)
    names = [variant.name for name in HOURS for variant in read_suite(SUITES / f"{name}.yaml")]
    assert len(names) == len(set(names))


def test_settings_are_the_bases_then_the_suites_then_the_variants(tmp_path: Path) -> None:
    path = suite(
        tmp_path,
        settings={"n_groups": 8, "beta": 2.0},
        variants={
            "a": variant(seeds=[2, 3]),
            "b": variant(after="a", settings={"beta": 0.5}),
            "c": variant(after="a", phase="clean"),
        },
    )
    jobs = plan(read_suite(path), tmp_path / "runs", places={"model": "clap-mini", "data_dir": None})
    assert named(jobs) == ["a-seed-1", "a-seed-2", "a-seed-3", "b-seed-1", "c-seed-1"]
    assert jobs[-1].settings["start_from"] == (tmp_path / "runs/mine/a/seed-1/clean").as_posix()
    seed = {"seed": 3}
    a, b = jobs[2].settings, jobs[3].settings
    assert a == {"n_groups": 8, "plain_share": 0.35, "beta": 2.0, "start_from": "base", "model": "clap-mini"} | seed
    assert (b["beta"], b["start_from"]) == (0.5, (tmp_path / "runs/mine/a/seed-1").as_posix())


def test_a_phase_may_differ_alone(tmp_path: Path) -> None:
    path = suite(tmp_path, variants={"a": variant(settings={"beta": 2.0, "phases": {"late": {"beta": 0.5}}})})
    recipe = {**BASE, "phases": {"early": {"n_groups": 8}, "late": {"n_groups": 32}}}
    (tmp_path / "stage_b.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    (one,) = read_suite(path)
    assert one.settings["phases"] == {"early": {"n_groups": 8}, "late": {"n_groups": 32, "beta": 0.5}}
    assert list(one.settings["phases"]) == ["early", "late"] and one.settings["beta"] == 2.0
    assert one.differences == {"beta": 2.0, "phases": {"late": {"beta": 0.5}}}
    path.write_text(path.read_text().replace("late", "last"))
    with pytest.raises(ConfigError, match="variant a: no phase last; the recipe has early, late"):
        read_suite(path)


def test_one_phase_of_the_recipe_is_run_alone(tmp_path: Path) -> None:
    path = suite(tmp_path, variants={"a": variant(only_phase="late", settings={"beta": 2.0})})
    phases = {"early": {"beta": 5.0, "n_groups": 4}, "late": {"beta": 1.0, "plain_share": 0.0}}
    (tmp_path / "stage_b.yaml").write_text(yaml.safe_dump({**BASE, "phases": phases}))
    (late,) = read_suite(path)
    assert late.settings == {"n_groups": 16, "plain_share": 0.0, "beta": 2.0, "phases": {}, "start_from": "base"}
    assert late.differences == {"only_phase": "late", "beta": 2.0}
    (tmp_path / "stage_b.yaml").write_text(yaml.safe_dump(BASE))
    with pytest.raises(ConfigError, match=r"variant a: the recipe has no phase late; it has none"):
        read_suite(path)


def test_a_search_draws_its_settings_log_uniformly_and_the_same_again(tmp_path: Path) -> None:
    search = {"about": "drawn", "hours": 0.1, "number": 400, "ranges": {"beta": [0.1, 10], "rehearsal": [1, 2]}}
    path = suite(tmp_path, variants={"a": variant()}, search=search)
    drawn = read_suite(path)[1:]
    assert [each.name for each in drawn[:2]] == ["search_01", "search_02"] and len(drawn) == 400
    assert [each.settings for each in read_suite(path)[1:]] == [each.settings for each in drawn]
    beta = np.array([each.settings["beta"] for each in drawn])
    assert beta.min() >= 0.1 and beta.max() <= 10 and kstest(np.log10(beta), "uniform", (-1, 2)).pvalue > 1e-3
    assert all(1 <= each.differences["rehearsal"] <= 2 and len(each.differences) == 2 for each in drawn)
    for ranges, message in (({"beta": 3}, "beta needs a range"), ({"beta": [0, 1]}, "must rise from above 0")):
        with pytest.raises(ConfigError, match=rf"search: .*{message}"):
            read_suite(suite(tmp_path, variants={"a": variant()}, search=search | {"ranges": ranges}))


def test_what_is_chosen_brings_what_it_starts_from(tmp_path: Path) -> None:
    path = suite(tmp_path, variants={"a": variant(), "b": variant(after="a"), "c": variant()})
    variants = read_suite(path)
    assert named(plan(variants, tmp_path, only=["b"], seeds=[4])) == ["a-seed-4", "b-seed-4"]
    with pytest.raises(ConfigError, match="no variant d; choose of a, b, c"):
        plan(variants, tmp_path, only=["d"])


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        ({"a": variant(setting={})}, r"variant a: unknown key setting; choose of about, after"),
        ({"a": {"about": "one"}}, r"variant a: hours is missing"),
        ({"a": 3}, r"variant a: expected `key: value` lines, found 3"),
        ({"a": variant(after="b"), "b": variant()}, r"variant a: after must name a variant above it, found b"),
        ({"a": variant(recipe="stage_a")}, r"variant a: no base for stage_a; base has stage_b"),
    ],
)
def test_a_suite_that_makes_no_sense_is_refused(tmp_path: Path, variants: object, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"mine\.yaml, {message}"):
        read_suite(suite(tmp_path, variants=variants))


def test_a_suite_that_is_not_there_and_a_setting_that_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no suite .*none\.yaml"):
        read_suite(tmp_path / "none.yaml")
    (job,) = plan(read_suite(suite(tmp_path, variants={"a": variant(settings={"bta": 1})})), tmp_path / "runs")
    with pytest.raises(ConfigError, match=r"runs/mine/a/seed-1\.yaml, line 1: unknown key bta"):
        job.write_config()


def test_a_run_of_other_settings_is_not_taken_for_this_one(tmp_path: Path) -> None:
    def job(beta: float) -> Job:
        path = suite(tmp_path, variants={"a": variant(settings={"beta": beta})})
        return plan(read_suite(path), tmp_path / "runs")[0]

    job(1.0).write_config()
    job(2.0).write_config()  # nothing was run
    job(2.0).folder.mkdir()
    (job(2.0).folder / "run.json").write_text('{"complete": true}')
    job(2.0).write_config()
    with pytest.raises(TakenError, match="seed-1 holds a run of other settings"):
        job(1.0).write_config()
