"""Recipes' arguments: YAML gives defaults, flags override, unknown keys fail, every committed YAML parses."""

from pathlib import Path

import pytest
import yaml

from support.paths import RECIPES
from teminal_hf.runs.arguments import parse

YAMLS = sorted(RECIPES.rglob("*.yaml"))


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: str(path.relative_to(RECIPES)))
def test_every_recipe_parses_and_names_no_place(path: Path) -> None:
    config = parse("stage_b", [str(path)], path)
    values = yaml.safe_load(path.read_text())
    assert all(config.given.get(key, values[key]) == values[key] for key in values if key != "report_to")
    for value in values.values():
        assert not str(value).startswith(("/", "~", "."))
    assert "output_dir" not in values
    config.run.policy()


def test_both_stages_of_a_model_train_on_the_same_folds() -> None:
    for folder in {path.parent for path in YAMLS if path.name == "stage_a.yaml"}:
        a, b = (parse("stage_b", [str(folder / f"{stage}.yaml")], folder) for stage in ("stage_a", "stage_b"))
        for name in ("train_folds", "test_folds", "source"):
            assert getattr(a.data, name) == getattr(b.data, name)
        assert a.run.model == b.run.model


def test_flags_override_the_file_and_are_recorded(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("n_groups: 7\nlearning_rate: 0.5\nalpha_same_time: 3\nviews: [forward]\n")
    config = parse("stage_b", [str(path), "--n_groups", "9", "--alpha_same_time", "4"], path)
    assert (config.data.n_groups, config.training.alpha_same_time, config.training.learning_rate) == (9, 4.0, 0.5)
    assert config.training.views == ["forward"]
    assert config.given["n_groups"] == 9
    assert config.given["alpha_same_time"] == 4.0
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(config.given))
    assert parse("stage_b", [str(again)], again).given == config.given


def test_defaults_are_used_without_a_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("n_groups: 7\n")
    assert parse("stage_b", [], path).data.n_groups == 7
    assert parse("stage_b", ["--n_groups=8"], path).data.n_groups == 8


def test_bad_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("n_grups: 7\n")
    with pytest.raises(ValueError, match=r"unknown key.* n_grups"):
        parse("stage_b", [], path)
    with pytest.raises(FileNotFoundError, match=r"no configuration file .*missing\.yaml"):
        parse("stage_b", [str(tmp_path / "missing.yaml")], path)
    path.write_text("alpha_same_time: -1\n")
    with pytest.raises(ValueError, match="alpha_same_time must not be negative"):
        parse("stage_b", [], path)
    path.write_text("tuning: adapters\n")
    with pytest.raises(ValueError, match="unknown tuning 'adapters'"):
        parse("stage_b", [], path).run.policy()
    path.write_text("n_groups: 7\n")
    with pytest.raises((SystemExit, ValueError)):
        parse("stage_b", ["--n_grups", "7"], path)
