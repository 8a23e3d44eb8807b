"""Recipes end to end, as a user starts them, on very little data."""

import json
import os
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from support.paths import ROOT
from support.recipes import refused, run_recipe

SMALL = ["--n_groups", "24", "--num_train_epochs", "2", "--per_device_train_batch_size", "8"]
SMALL += ["--report_groups", "6", "--clips_per_class", "2", "--report_tasks", "1", "3A", "3O"]


def run(*command: str, cwd: Path) -> str:
    """Run a Python module or script in a fresh process from an empty folder."""
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *command], cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def launch(recipe: str, *arguments: str) -> list[str]:
    return ["-m", "accelerate.commands.launch", str(ROOT / "recipes" / f"{recipe}.py"), *arguments]


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Stage A, then stage B, with nothing but their small size given."""
    folder = tmp_path_factory.mktemp("work")
    said = {stage: run(*launch(stage, *SMALL), cwd=folder) for stage in ("stage_a", "stage_b")}
    return folder, said


def test_both_stages_run_and_stage_b_goes_on_from_stage_a(stages) -> None:
    folder, said = stages
    a, b = folder / "runs" / "stage_a-001", folder / "runs" / "stage_b-001"
    assert "stage_a starts from the base checkpoint clap-mini" in said["stage_a"]
    assert f"stage_b starts from stage A's output {Path('runs/stage_a-001')}" in said["stage_b"]
    assert "training " in said["stage_b"] and "on 24 groups, 8 a step, 6 steps" in said["stage_b"]
    for run_folder in (a, b):
        names = {path.name for path in run_folder.iterdir()}
        assert {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json"} <= names
        assert {"config.yaml", "run.json", "log.json", "zste.json", "zste.png"} <= names
        assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]
        record = json.loads((run_folder / "run.json").read_text())
        assert record["complete"] and record["base"] == "clap-mini" and record["seed"] == 42
        assert 0 < record["trained"]["share"] < 1
        assert {"torch", "transformers"} <= set(record["versions"])
    record = json.loads((b / "run.json").read_text())
    assert record["started_from"] == str(Path("runs/stage_a-001"))
    table = json.loads((b / "zste.json").read_text())
    assert set(table["comparison"]) == {"R0", "1", "3A", "3O", "1_tiled"}
    assert table["comparison"]["3O"]["chance"] == 0.5
    assert "| 3O | 50.0 | 6 |" in said["stage_b"]


def test_the_checkpoint_loads_without_this_package(stages) -> None:
    folder, _ = stages
    code = (
        "import sys; from transformers import ClapModel, ClapProcessor\n"
        "m = ClapModel.from_pretrained('runs/stage_b-001'); p = ClapProcessor.from_pretrained('runs/stage_b-001')\n"
        "assert type(m).__name__ == 'ClapModel' and p.feature_extractor.padding == 'pad'\n"
        "assert 'teminal_hf' not in sys.modules"
    )
    run("-c", code, cwd=folder)


def test_a_used_run_folder_is_refused_and_nothing_is_lost(stages, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = stages
    monkeypatch.chdir(folder)
    before = {path: path.stat().st_mtime_ns for path in (folder / "runs" / "stage_a-001").iterdir()}
    said = refused("stage_a", *SMALL, "--output_dir", "runs/stage_a-001")
    assert said == (
        "error: runs/stage_a-001 already holds a run; name another --output_dir, or go on with it by --resume"
    )
    assert before == {path: path.stat().st_mtime_ns for path in (folder / "runs" / "stage_a-001").iterdir()}
    assert "nothing to resume in runs/none" in refused("stage_a", "--output_dir", "runs/none", "--resume")


def test_a_cut_run_goes_on_as_it_was_configured(stages, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = stages
    monkeypatch.chdir(folder)
    arguments = [*SMALL, "--num_train_epochs", "3", "--save_strategy", "epoch", "--seed", "7"]
    run_recipe("stage_b", *arguments, "--output_dir", "whole")
    with monkeypatch.context() as patch:

        def cut(self, args, state, control, **kwargs):
            if state.global_step == 4:
                raise KeyboardInterrupt

        patch.setattr(TrainerCallback, "on_step_begin", cut)
        with pytest.raises(SystemExit, match="130"):
            run_recipe("stage_b", *arguments, "--output_dir", "cut")
    run_recipe("stage_b", "--resume", "--output_dir", "cut")
    whole, resumed = (load_file(folder / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert json.loads((folder / "cut" / "run.json").read_text())["seed"] == 7


def test_both_stages_jointly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    views = ["--views", "forward", "reversed", "overlay", "single", "double", "--start_from", "base"]
    run_recipe("stage_b", *SMALL, *views, "--output_dir", "joint")
    assert (tmp_path / "joint" / "model.safetensors").is_file()


def test_lora_without_cache_is_merged_into_a_plain_checkpoint(tmp_path: Path) -> None:
    said = run(
        "-m", "teminal_hf.commands.cli", "train", "stage_b", *SMALL, "--tuning", "lora", "--cache_prefix", "false",
        "--start_from", "base", "--output_dir", "lora", "--num_train_epochs", "1", cwd=tmp_path,
    )  # fmt: skip
    assert "starts from the base checkpoint clap-mini" in said
    names = {path.name for path in (tmp_path / "lora").iterdir()}
    assert "model.safetensors" in names and "adapter_config.json" not in names
    assert json.loads((tmp_path / "lora" / "run.json").read_text())["trained"]["share"] < 0.1


def test_plain_pairs_on_a_users_own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rows = {
        "audio": [
            {"array": rng.standard_normal(rng.integers(8_000, 32_000)).astype(np.float32), "sampling_rate": 16_000}
            for _ in range(8)
        ],
        "text": [f"noise number {i}" for i in range(8)],
    }
    datasets.Dataset.from_dict(rows).to_parquet(tmp_path / "own" / "train.parquet")
    arguments = ["--source", "own", "--num_train_epochs", "1", "--per_device_train_batch_size", "4"]
    run(*launch("plain_pairs", *arguments, "--output_dir", "out"), cwd=tmp_path)
    assert (tmp_path / "out" / "model.safetensors").is_file()
    monkeypatch.chdir(tmp_path)
    said = refused("plain_pairs", *arguments, "--text_column", "caption")
    assert "has no column caption; present: audio, text" in said


def test_one_clear_message_for_what_a_user_can_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = refused("stage_b", "--data_dir", "nowhere")
    assert said.startswith(
        "error: nowhere is no ESC-50 folder: meta/esc50.csv is missing (found nothing: no such folder)"
    )
    assert "error: fold(s) [1] are in two splits" in refused("stage_b", "--train_folds", "1", "--test_folds", "1")
    said = refused("stage_b", "--connectives", "before", "then", "--clips_per_class", "2")
    assert "connective 'then' is held out for evaluation" in said
    said = refused("stage_b", *SMALL, "--per_device_train_batch_size", "1")
    assert "a global batch of one group" in said
    for arguments, message in (
        (["--report_tasks", "9Z"], "unknown task(s) 9Z"),
        (["--n_groups", "0"], "n_groups must be between 2 and 100000000, got 0"),
        (["--views", "single", "sideways"], "unknown view(s) ['sideways']"),
    ):
        assert message in refused("stage_b", *SMALL, *arguments)
    assert "stage_a has no view forward; choose of single, double" in refused("stage_a", *SMALL, "--views", "forward")
    assert not (tmp_path / "runs").exists()  # refused before anything was made
    said = refused("stage_b", *SMALL, "--eval_strategy", "epoch", "--train_folds", "1", "2", "3", "--test_folds", "4")
    assert "eval_strategy needs validation folds" in said
