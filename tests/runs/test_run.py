"""The steps of a run: each done once, each repeatable by --resume, and a message when the process is asked to stop."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from support.recipes import run_recipe
from teminal_hf.errors import DataError
from teminal_hf.runs import final_report, model_card, publishing, run_folder
from teminal_hf.runs.checks import check_resumed
from teminal_hf.runs.run import Run
from teminal_hf.storage.atomic import write_json
from teminal_hf.training.checkpoints import mark_whole

SMALL = ["--n_groups", "8", "--max_steps", "4", "--per_device_train_batch_size", "4", "--clips_per_class", "2"]
SMALL += ["--report_groups", "3", "--report_tasks", "1", "3O", "--start_from", "base", "--output_dir", "run"]


def record() -> dict[str, Any]:
    return json.loads(Path("run/run.json").read_text())


FAILING = {"report": (final_report, "report"), "card": (model_card, "write_card"), "push": (publishing, "publish")}


@pytest.mark.parametrize("step", FAILING)
def test_a_step_that_is_stopped_is_done_by_resume_and_no_other_twice(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*FAILING[step], stop)
        with pytest.raises(SystemExit, match="130"):
            run_recipe("stage_b", *SMALL)
    done = record()["finished"]
    assert done == ["weights", "report", "card", "push"][: len(done)] and step not in done
    assert not record()["complete"] and run_folder.has_weights(Path("run"))
    weights = load_file("run/model.safetensors")
    written = {path.name: path.stat().st_mtime_ns for path in Path("run").iterdir()}
    with pytest.raises(SystemExit, match="already holds a run"):
        run_recipe("stage_b", *SMALL)
    capsys.readouterr()
    run_recipe("stage_b", "--resume", "--output_dir", "run")
    assert record()["complete"] and "finished" not in record()
    assert ("| 3O |" in capsys.readouterr().out) == (step == "report")
    after = load_file("run/model.safetensors")
    assert all(torch.equal(weights[name], after[name]) for name in weights)
    assert Path("run/model.safetensors").stat().st_mtime_ns == written["model.safetensors"]
    with pytest.raises(SystemExit, match="is finished: nothing to resume"):
        run_recipe("stage_b", "--resume", "--output_dir", "run")


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "run.json.abc.draft").write_text("{")
    (tmp_path / ".tmpAbCdEf").touch()  # safetensors' own draft
    (tmp_path / "push-xyz").mkdir()
    (tmp_path / "push-xyz" / "model.safetensors").touch()
    Run(tmp_path).begin({"seed": 1}, {"complete": False})
    assert {path.name for path in tmp_path.iterdir()} == {"config.yaml", "run.json"}


def test_it_says_what_is_saved(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    command = f"teminal train stage_b --resume --output_dir {tmp_path}"

    def stopped() -> str:
        caplog.clear()
        with pytest.raises(KeyboardInterrupt), Run(tmp_path):
            raise KeyboardInterrupt
        return caplog.messages[-1]

    assert stopped() == f"stopped before the first checkpoint; begin anew with: {command}"
    (tmp_path / "checkpoint-3").mkdir()
    (tmp_path / "checkpoint-3" / "model.safetensors").touch()
    mark_whole(tmp_path / "checkpoint-3")
    assert stopped() == f"stopped; {tmp_path / 'checkpoint-3'} is saved. Go on with: {command}"
    run_folder.write_record(tmp_path, finished=["weights"])
    assert stopped() == f"stopped; the trained model is saved in {tmp_path}. What is left to do: {command}"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_in_one_line_and_it_goes_on(number: signal.Signals, tmp_path: Path) -> None:
    arguments = [*SMALL, "--max_steps", "4000", "--save_strategy", "steps", "--save_steps", "5"]
    command = [sys.executable, "-m", "teminal_hf", "train", "stage_b", *arguments, "--report_to", "none"]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # tests in the background ignore it
    )
    assert process.stderr is not None
    deadline = time.monotonic() + 120
    while not list((tmp_path / "run").glob("checkpoint-*/whole.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number, errors
    (message,) = re.findall(r"stopped; (.*)", errors)
    go_on = r"run/checkpoint-\d+ is saved. Go on with: teminal train stage_b --resume --output_dir run"
    assert re.fullmatch(go_on, message)
    assert "Traceback" not in errors
    assert not list((tmp_path / "run").glob("*.draft"))
    assert subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, check=False).stdout == b""


def test_a_list_of_paths_is_taken_for_what_it_was_when_a_run_is_resumed(tmp_path: Path) -> None:
    """The record has public names alone; other lists are compared."""
    settings = {"known": ["farm"], "views": ["forward"], "model": "base"}
    write_json(tmp_path / "run.json", {"settings": settings, "complete": False})
    check_resumed({"known": ["/data/farm"], "views": ["forward"], "model": "/models/base"}, tmp_path, [])
    for given in ({"views": ["forward"], "model": "m"}, {"known": ["/data/farm"], "views": ["single"], "model": "m"}):
        with pytest.raises(DataError, match=r"config\.yaml was cut or edited: it differs .* in (known|views)"):
            check_resumed(given, tmp_path, [])
