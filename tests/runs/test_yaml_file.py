"""YAML files of recipes: values are what their flags take, and whatever is wrong is named with file and line."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from support.paths import RECIPES
from teminal_hf.errors import ConfigError
from teminal_hf.runs.arguments import Config, parse, read_config


def read(folder: Path, text: str | bytes, *flags: str) -> Config:
    path = folder / "c.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return parse("stage_b", [str(path), *flags], path)


WRONG = {
    "n_groups: 16.5": "n_groups must be a whole number, found 16.5",
    "n_groups: [16, 17]": r"n_groups must be a whole number, found \[16, 17\]",
    "n_groups: null": "n_groups must be a whole number, found null",
    "n_groups:": "n_groups must be a whole number, found nothing",
    "n_groups: true": "n_groups must be a whole number, found true",
    "n_groups: {a: 1}": "n_groups must be a whole number, found {a: 1}",
    "seed: 2020-01-01": "seed must be a whole number, found 2020-01-01",
    "gap: yes": "gap must be a number, found yes",
    "gap: 1:30": "gap must be a number, found 1:30",
    "learning_rate: [1e-4]": r"learning_rate must be a number, found \[1e-4\]",
    "report_groups: x": "report_groups must be a whole number, or null, found x",
    "views: null": "views must be a list, each text, found null",
    "views: [forward, null]": r"views must be a list, each text, found \[forward, null\]",
    "views: [[forward]]": r"views must be a list, each text, found \[\[forward\]\]",
    "views:\n- forward\n- a: b": "views must be a list, each text, found - forward - a: b",
    "train_folds: [1.5]": r"train_folds must be a list, each a whole number, or null, found \[1.5\]",
    "model: [a, b]": r"model must be text, found \[a, b\]",
    "text_column: null": "text_column must be text, found null",
    "cache_prefix: 2": "cache_prefix must be true, false or auto, found 2",
    "cache_prefix: [true]": r"cache_prefix must be true, false or auto, found \[true\]",
    "eval_strategy: sometimes": "eval_strategy must be one of no, steps, epoch, found sometimes",
    "optim: [sgd]": "optim must be one of adamw_torch",
    "lr_scheduler_kwargs: [1]": r"lr_scheduler_kwargs must be text, a mapping, or null, found \[1\]",
    "parallelism_config: {dp: 2}": "parallelism_config must be",
    "5: x": "unknown key 5",
    "null: x": "unknown key null",
    "[a, b]: x": r"a key must be a word, found \[a, b\]",
    "n-groups: 5": "unknown key n-groups",
    "help: all": "unknown key help",
    "<<: {n_groups: 5}": "unknown key <<",
    "n_groups: &a [*a]": "a value that holds itself",
    "model: !!python/name:os.system x": "!!python/name:os.system is no type of a value here",
    "model: !mine x": "!mine is no type of a value here",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_value_is_named_with_file_line_and_type(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=rf"c\.yaml, line 2: {WRONG[text]}"):
        read(tmp_path, f"# a remark\n{text}\n")


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    for text in ("n_groups: 5\nn_groups: 5", "lr_scheduler_kwargs:\n  a: 1\nlr_scheduler_kwargs: {}"):
        with pytest.raises(ConfigError, match=r"c\.yaml, line [23]: the key \w+ is there twice; keep one"):
            read(tmp_path, text)
    with pytest.raises(ConfigError, match="line 3: the key a is there twice"):
        read(tmp_path, "lr_scheduler_kwargs:\n  a: 1\n  a: 2")


RIGHT: dict[str, Any] = {
    "views: forward": ["forward"],
    "connectives: before": ["before"],
    "train_folds: ['1', '2']": [1, 2],
    "train_folds: 3": [3],
    "validation_folds: []": [],
    "train_folds: null": None,
    "eval_tasks: [1, 3A]": ["1", "3A"],
    "save_strategy: no": "no",
    "save_strategy: off": "no",
    "eval_strategy: No": "no",
    "cache_prefix: off": False,
    "cache_prefix: yes": True,
    "cache_prefix: auto": None,
    "alpha_same_time: 3": 3.0,
    "learning_rate: 1e-4": 1e-4,
    "n_groups: '12'": 12,
    "n_groups: 1_000": 1000,
    "run_name: 2024-01-01": "2024-01-01",
    "run_name: 007": "007",
    "report_groups: ~": None,
    "report_groups:": None,
    "lr_scheduler_kwargs: {num_cycles: 2}": {"num_cycles": 2},
    "lr_scheduler_kwargs: '{\"num_cycles\": 2}'": {"num_cycles": 2},
    "optim_target_modules: [a, b]": ["a", "b"],
}


@pytest.mark.parametrize("text", RIGHT)
def test_values_are_taken_as_they_are_written_and_survive_a_run(tmp_path: Path, text: str) -> None:
    name = text.partition(":")[0]
    for config in (first := read(tmp_path, text), read(tmp_path, yaml.safe_dump(dict(first.given)))):
        value = next(getattr(part, name) for part in (config.data, config.run, config.training) if hasattr(part, name))
        assert (value == RIGHT[text] and type(value) is not int) or value == RIGHT[text]
        assert config.given.get(name) == RIGHT[text]


@pytest.mark.parametrize(
    "text",
    ["{", "a: b: c", 'n_groups: "5', "n_groups: 5\n---\nn_groups: 6", b"\x00\x01", b"\xff\xfe\x00", "[" * 5000],
    ids=lambda text: repr(text)[:12],
)
def test_what_is_no_yaml_is_said_with_the_file(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(ConfigError, match=r"c\.yaml is no YAML: ") as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_what_is_no_mapping_is_shown(tmp_path: Path) -> None:
    for text in ("hello", "- a\n- b", "5"):
        with pytest.raises(ConfigError, match=r"c\.yaml must hold `key: value` lines, found "):
            read(tmp_path, text)
    assert read(tmp_path, "").given == {} == read(tmp_path, "# nothing\n").given
    assert read(tmp_path, b"\xef\xbb\xbfn_groups: 5").data.n_groups == 5  # as Windows writes it


def test_json_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for name, value in (("lr_scheduler_kwargs", "{bad"), ("lr_scheduler_kwargs", "cosine"), ("fsdp_config", "{")):
        with pytest.raises(ConfigError, match=f"{name} must be JSON"):
            read(tmp_path, "", f"--{name}", value)
    with pytest.raises(ConfigError, match="gradient_checkpointing_kwargs must be a JSON object"):
        read(tmp_path, "gradient_checkpointing_kwargs: 5")


def test_a_file_of_another_recipe_is_recognised() -> None:
    for stage, name, message in (
        ("stage_b", "stage_a", "views single, double are stage A's.*is this a file of stage A"),
        ("stage_a", "stage_b", "stage_a has no view forward, reversed, overlay"),
        ("plain_pairs", "stage_b", "plain_pairs has no view reversed"),
    ):
        with pytest.raises(ConfigError, match=message):
            read_config(stage, [str(RECIPES / f"{name}.yaml"), "--source", "x"], RECIPES / f"{stage}.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rate: -1", "learning_rate must be at least 0, got -1"),
        ("eval_tasks: [1, 1]", "eval_tasks names 1 twice"),
        ("views: [x]", "unknown view"),
        ("model: 5", "model must be a checkpoint's folder, .* found 5"),
        ("phases:\n  one: {average: 2}\n  two: {}", "average must be .* got 2"),
        ("label_smoothing_factor: 0.1", "label_smoothing_factor cannot be used here"),
        ("accelerator_config: {even_batches: false}", "accelerator_config cannot be used here .*; leave it out"),
    ],
)
def test_values_that_make_no_sense_come_with_their_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=f"^{path}: .*{message}"):
        read_config("stage_b", [str(path)], RECIPES / "stage_b.yaml")
    path.write_text("n_groups: 40")
    with pytest.raises(ConfigError, match=r"^n_groups must be"):
        read_config("stage_b", [str(path), "--n_groups", "0"], RECIPES / "stage_b.yaml")
