"""Recipes' arguments: YAML gives defaults, flags override, unknown keys fail, every committed YAML parses."""

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
import yaml

from support.paths import RECIPES
from teminal_hf.errors import TeminalError
from teminal_hf.runs.arguments import build_parser, parse, read_config

YAMLS = sorted(path for path in RECIPES.rglob("*.yaml") if path.parent.name != "suites")


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


def switches() -> list[str]:
    """Flags `--no_X` of what is on by default."""
    flags = (flag for action in build_parser("stage_b")._actions for flag in action.option_strings)
    return [flag for flag in flags if flag.startswith("--no_")]


@pytest.mark.parametrize("switch", switches())
def test_what_is_switched_off_stays_off(tmp_path: Path, switch: str) -> None:
    name, path = switch.removeprefix("--no_"), RECIPES / "stage_b.yaml"
    config = parse("stage_b", [switch], path)
    assert config.given[name] is False
    again = tmp_path / "config.yaml"
    again.write_text(yaml.safe_dump(dict(config.given)))
    resumed = parse("stage_b", [str(again)], path)
    assert not any(getattr(part, name, False) for part in (resumed.data, resumed.run, resumed.training))


def test_there_are_such_switches() -> None:
    assert len(switches()) >= 8


def test_text_in_yaml_is_read_as_a_flag_is(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("learning_rate: 1e-4\nn_groups: '12'\neval_strategy: \"no\"\n")  # YAML takes 1e-4 for text
    config = parse("stage_b", [], path)
    assert (config.training.learning_rate, config.data.n_groups, config.validates) == (1e-4, 12, False)


def test_pairs_bring_their_view_and_are_given_once(tmp_path: Path) -> None:
    config = parse("stage_b", ["--pairs", "own"], RECIPES / "stage_b.yaml")
    assert config.training.views == ["forward", "reversed", "overlay", "single", "pair"]
    assert config.given["views"] == ["forward", "reversed", "overlay", "single"]
    again = tmp_path / "config.yaml"
    again.write_text(yaml.safe_dump(dict(config.given)))
    assert parse("stage_b", [str(again)], again).training.views == config.training.views


def test_the_configuration_is_not_written_to(tmp_path: Path) -> None:
    config = parse("stage_b", ["--dataloader_num_workers", "3"], RECIPES / "stage_b.yaml")
    args = config.training_arguments(tmp_path, "user/name")
    assert (args.output_dir, args.hub_model_id, args.dataloader_num_workers) == (str(tmp_path), "user/name", 0)
    assert (config.output_dir, config.training.hub_model_id) == (None, None)
    assert config.training.dataloader_num_workers == 3
    for part in (config.data, config.run):
        with pytest.raises(FrozenInstanceError):
            part.n_groups = 1
    without = parse("stage_b", ["--dataloader_num_workers", "3", "--no_cache_prefix"], RECIPES / "stage_b.yaml")
    assert without.training_arguments(tmp_path, None).dataloader_num_workers == 3


def test_no_output_dir_is_a_folder_of_the_runs_own(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("output_dir: null\n")
    assert parse("stage_b", [str(recipe)], recipe).output_dir is None


def test_settings_that_do_not_go_together_are_said_in_one_line(tmp_path: Path) -> None:
    for flags, message in (
        (
            ["--load_best_model_at_end", "--save_strategy", "epoch"],
            "[Ll]oad_best_model_at_end.? requires the save and eval",
        ),
        (["--push_to_hub"], "push_to_hub needs a name: --hub_model_id USER/NAME"),
        (["--resume"], "--resume needs the run to go on with: --output_dir RUN"),
    ):
        with pytest.raises(TeminalError, match=message) as caught:
            read_config("stage_b", flags, RECIPES / "stage_b.yaml")
        assert "\n" not in str(caught.value)


def test_help_shows_ours_first_and_the_rest_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    texts = {}
    for flags in ("--help", "--help all"):
        with pytest.raises(SystemExit) as stopped:
            parse("stage_b", flags.split(), RECIPES / "stage_b.yaml")
        assert not stopped.value.code
        texts[flags] = capsys.readouterr().out
    short, long = texts.values()
    assert short.startswith("usage: teminal train stage_b [CONFIG.yaml] [--flag value ...]")
    assert (
        short.index("--data_dir") < short.index("--model ") < short.index("--alpha_same_time") < short.index("--seed")
    )
    assert "--adam_beta1" not in short and "--adam_beta1" in long
    assert len(short.splitlines()) < 200 < len(long.splitlines())
    named = {flag for action in build_parser("stage_b")._actions for flag in action.option_strings[:1]}
    assert not [flag for flag in named if flag not in long and not flag.startswith(("--no_", "-h"))]
