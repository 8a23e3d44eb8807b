"""Phases of a training: settings of their own, one after another, each gone on with where it was stopped."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import ClapModel, TrainerCallback

from support.recipes import run_recipe
from teminal_hf.errors import ConfigError
from teminal_hf.runs.arguments import parse, read_config
from teminal_hf.runs.run import Run
from teminal_hf.runs.yaml_file import as_yaml
from teminal_hf.training.trainer import TeminalTrainer

PHASES: dict[str, Any] = {
    "clean": {"max_steps": 4, "plain_share": 0.5},
    "varied": {"max_steps": 3, "augment": True, "connectives": ["all"], "retention": 2.0, "average": 0.9},
    "last": {"max_steps": 2, "audio_rate": 0.1},
}
SETTINGS: dict[str, Any] = {
    "views": ["forward", "reversed", "overlay", "single"],
    "n_groups": 8,
    "per_device_train_batch_size": 4,
    "clips_per_class": 2,
    "report_groups": 3,
    "report_tasks": ["1", "3O"],
    "start_from": "base",
    "retention": 1.0,
    "mixture": 0.5,
    "reference_size": 30,
    "save_strategy": "steps",
    "save_steps": 1,
    "report_to": "none",
    "phases": PHASES,
}


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "phases.yaml"
    path.write_text(yaml.safe_dump(SETTINGS, sort_keys=False), encoding="utf-8")
    return path


def test_a_phase_has_its_own_settings_and_the_others_in_common(written: Path) -> None:
    clean, varied, last = parse("stage_b", [str(written)], written).parts
    assert (clean.training.retention, varied.training.retention, last.training.retention) == (1.0, 2.0, 1.0)
    assert (clean.data.augment, varied.data.augment) == (False, True)
    assert [part.training.max_steps for part in (clean, varied, last)] == [4, 3, 2]
    assert {part.data.n_groups for part in (clean, varied, last)} == {8}
    assert [part.phase for part in (clean, varied, last)] == list(PHASES)


def test_a_flag_overrides_in_every_phase_and_stays_when_the_run_is_resumed(written: Path, tmp_path: Path) -> None:
    config = parse("stage_b", [str(written), "--max_steps", "1"], written)
    assert [part.training.max_steps for part in config.parts] == [1, 1, 1]
    again = tmp_path / "again.yaml"
    again.write_text(as_yaml(config.given), encoding="utf-8")
    for part, other in zip(config.parts, parse("stage_b", [str(again)], again).parts, strict=True):
        assert (part.phase, part.training.max_steps, part.given) == (other.phase, other.training.max_steps, other.given)


def test_a_file_without_phases_is_one(written: Path) -> None:
    written.write_text("n_groups: 8\n", encoding="utf-8")
    config = parse("stage_b", [], written)
    assert config.parts == (config,) and not config.phase


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ({"one": {"train_folds": [1]}}, "phase one sets train_folds, which all phases share; a phase may set "),
        ({"../one": {}}, r"phase '\.\./one': its name is a folder's"),
        ({"checkpoint-3": {}}, "phase 'checkpoint-3': its name is a folder's"),
        ({"one": {"learning_rat": 1}}, r"phases\.yaml, line 22: unknown key learning_rat"),
        ({"one": {"max_steps": "many"}}, r"phases\.yaml, line 22: max_steps must be a whole number, found many"),
        ({"one": {"learning_rate": -1}}, "learning_rate must be at least 0, got -1"),
        ({"one": {"connectives": ["then"]}}, "connective 'then' is held out for evaluation"),
        (["one", "two"], r"phases\.yaml, line 21: phases must hold a name for each phase"),
        ({"one": 3}, r"phases\.yaml, line 21: phases must hold a name for each phase"),
    ],
)
def test_bad_phases_are_named(written: Path, phases: Any, message: str) -> None:
    written.write_text(yaml.safe_dump(SETTINGS | {"phases": phases}, sort_keys=False), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        read_config("stage_b", [str(written)], written)


class Stop(TrainerCallback):
    """Ctrl-C before the step after `step`."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("stopped_at", [("clean", 2), ("varied", 0), ("varied", 2), ("last", 1)])
def test_a_run_stopped_in_any_phase_ends_as_if_it_had_not_been(
    written: Path, monkeypatch: pytest.MonkeyPatch, stopped_at: tuple[str, int], whole: dict[str, torch.Tensor]
) -> None:
    phases, train = list(PHASES), TeminalTrainer.train

    def train_and_stop(self: TeminalTrainer, *args: Any, **kwargs: Any) -> Any:
        if phases.pop(0) == stopped_at[0]:
            self.add_callback(Stop(stopped_at[1]))
        return train(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(TeminalTrainer, "train", train_and_stop)
        with pytest.raises(SystemExit, match="130"):
            run_recipe("stage_b", str(written), "--output_dir", "run")
    with pytest.raises(SystemExit, match="already holds a run"):
        run_recipe("stage_b", str(written), "--output_dir", "run")
    run_recipe("stage_b", "--resume", "--output_dir", "run")
    ours = load_file("run/model.safetensors")
    assert ours.keys() == whole.keys()
    assert all(torch.equal(ours[key], whole[key]) for key in whole)
    record = json.loads(Path("run/run.json").read_text(encoding="utf-8"))
    assert record["complete"] and record["steps"] == 9
    for phase in ("clean", "varied"):  # a plain checkpoint each, and nothing to go on from is left
        ClapModel.from_pretrained(f"run/{phase}")
        assert not list(Path("run", phase).glob("checkpoint-*"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The weights of an undisturbed run."""
    folder = tmp_path_factory.mktemp("whole")
    path = folder / "phases.yaml"
    path.write_text(yaml.safe_dump(SETTINGS, sort_keys=False), encoding="utf-8")
    run_recipe("stage_b", str(path), "--output_dir", str(folder / "run"))
    return load_file(folder / "run" / "model.safetensors")


# peft 0.21 asks transformers 5.23 for a name it has deprecated
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_adapters_of_a_later_phase_begin_the_same_whoever_trained_the_first(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases = {"first": {"max_steps": 1}, "second": {"max_steps": 1}}
    written.write_text(yaml.safe_dump(SETTINGS | {"tuning": "lora", "phases": phases}), encoding="utf-8")
    run_recipe("stage_b", str(written), "--output_dir", "whole")
    train = TeminalTrainer.train

    def train_the_first(self: TeminalTrainer, *args: Any, **kwargs: Any) -> Any:
        if Path(self.args.output_dir).name != "first":
            raise KeyboardInterrupt
        return train(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(TeminalTrainer, "train", train_the_first)
        with pytest.raises(SystemExit, match="130"):
            run_recipe("stage_b", str(written), "--output_dir", "run")
    run_recipe("stage_b", "--resume", "--output_dir", "run")
    whole, ours = (load_file(f"{folder}/model.safetensors") for folder in ("whole", "run"))
    assert all(torch.equal(ours[key], whole[key]) for key in whole)


def test_it_says_how_to_go_on_after_a_phase(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"finished": ["clean"]}), encoding="utf-8")
    with pytest.raises(KeyboardInterrupt), Run(tmp_path):
        raise KeyboardInterrupt
    assert "the phases before are saved" in caplog.text and "--resume" in caplog.text
