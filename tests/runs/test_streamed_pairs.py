"""`teminal train plain_pairs --streaming`, as a user runs it: of a folder, of tars, and of the Hub."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from transformers import TrainerCallback

from support.hub_server import HubServer
from support.hub_state import Repo
from support.recipes import refused, run_recipe
from support.shards import write_parquet, write_tars
from teminal_hf.training.trainer import TeminalTrainer

SMALL = ["--streaming", "--per_device_train_batch_size", "4"]


def test_epochs_become_steps_and_a_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = str(write_parquet(tmp_path / "shards", [5, 5]))
    arguments = ["--source", source, *SMALL, "--num_train_epochs", "2", "--save_strategy", "steps", "--save_steps", "2"]
    with caplog.at_level(logging.INFO):
        run_recipe("plain_pairs", *arguments, "--output_dir", str(tmp_path / "whole"))
    said = [record.getMessage() for record in caplog.records]
    assert "10 rows: 6 steps are 2 epoch(s)" in said
    assert "recomputing the frozen layers: the recordings are a stream" in said
    assert any(line.endswith("on a stream of groups, 4 a step, 6 steps") for line in said)
    train = TeminalTrainer.train

    def train_and_stop(self: TeminalTrainer, *args: Any, **kwargs: Any) -> Any:
        self.add_callback(Stop())
        return train(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(TeminalTrainer, "train", train_and_stop)
        with pytest.raises(SystemExit, match="130"):
            run_recipe("plain_pairs", *arguments, "--output_dir", str(tmp_path / "cut"))
    run_recipe("plain_pairs", "--resume", "--output_dir", str(tmp_path / "cut"))
    whole, again = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all((whole[name] == again[name]).all() for name in whole)


class Stop(TrainerCallback):
    """Ctrl-C before the sixth step, two after the checkpoint."""

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 5:
            raise KeyboardInterrupt


def test_tars_need_their_length(tmp_path: Path) -> None:
    columns = ["--audio_column", "wav", "--text_column", "json.text"]
    arguments = ["--source", str(write_tars(tmp_path / "tars", [4, 4])), *SMALL, *columns]
    assert "how many rows the stream has is not known" in refused("plain_pairs", *arguments)
    run_recipe("plain_pairs", *arguments, "--max_steps", "3", "--output_dir", str(tmp_path / "run"))
    assert (tmp_path / "run" / "model.safetensors").is_file()
    assert "has no column audio, text; present: wav, json" in refused("plain_pairs", *arguments[:5])


def test_stage_b_hears_a_stream_beside_its_cached_groups(tmp_path: Path) -> None:
    source, run = str(write_parquet(tmp_path / "shards", [8, 8])), tmp_path / "run"
    arguments = ["--pairs", source, "--streaming", "--cache_prefix", "--n_groups", "16", "--num_train_epochs", "2"]
    arguments += ["--per_device_train_batch_size", "8", "--clips_per_class", "2", "--logging_steps", "1"]
    arguments += ["--report_groups", "6", "--report_tasks", "3O"]
    run_recipe("stage_b", *arguments, "--start_from", "base", "--output_dir", str(run))
    steps = [entry for entry in json.loads((run / "log.json").read_text()) if "loss" in entry]
    assert len(steps) == 4 and all(entry["loss_pairs"] > 0 for entry in steps)


def test_a_data_set_of_the_hub_is_streamed(tmp_path: Path) -> None:
    shards = write_parquet(tmp_path / "shards", [6, 6])
    files = {f"data/{path.name}": path.read_bytes() for path in sorted(shards.iterdir())}
    code = "import sys; from teminal_hf.commands.cli import main; main(sys.argv[1:])"
    arguments = ["train", "plain_pairs", "--source", "tester/sounds", *SMALL, "--max_steps", "4"]
    arguments += ["--dataloader_num_workers", "1"]
    with HubServer() as hub:
        hub.repos["dataset", "tester/sounds"] = repository = Repo()
        repository.commit("sounds", files)
        env = {**os.environ, **hub.env(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments, "--output_dir", "run"],
            cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "run" / "model.safetensors").is_file()
    assert not list((tmp_path / "home").rglob("*.parquet"))
