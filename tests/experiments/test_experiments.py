"""`recipes/experiments.py` end to end: two tiny variants of clap-mini on the sound bank."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from support.paths import ROOT
from teminal_hf.experiments.report import write_report

SMALL = {"clips_per_class": 2, "report_groups": 4, "report_tasks": ["1", "3O"], "save_strategy": "steps"}
SMALL |= {"n_groups": 16, "per_device_train_batch_size": 4, "max_steps": 2, "save_steps": 1}
PROGRAM = [sys.executable, str(ROOT / "recipes" / "experiments.py")]


def write_suite(folder: Path, **variants: dict[str, object]) -> None:
    (folder / "base.yaml").write_text("model: clap-mini\nreport_to: none\n")
    described = {name: {"about": name, "hours": 0.01, "settings": facts} for name, facts in variants.items()}
    suite = {"base": {"stage_b": "base.yaml"}, "settings": SMALL, "variants": described}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(suite, sort_keys=False))


def experiments(folder: Path, *arguments: str, status: int = 0) -> str:
    done = subprocess.run(
        [*PROGRAM, *arguments], cwd=folder, capture_output=True, text=True, timeout=300, env={**os.environ}
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("experiments")
    write_suite(folder, plain={}, lora={"tuning": "lora"}, broken={"source": "nowhere"})
    return folder, experiments(folder, "tiny.yaml", "--jobs", "2", status=1)


def test_all_run_and_what_failed_is_named_with_its_log(suite: tuple[Path, str]) -> None:
    folder, said = suite
    assert said.startswith("tiny: 3 runs, 0 finished; 3 left, about 0.03 hours of work, 0.01 on the clock")
    assert said.count("-seed-1: 1 ") == 2 and "[2/3]" in said and "minutes; " in said
    log = Path("runs/experiments/tiny/broken/seed-1.log")
    assert "error: these runs failed:\n  broken-seed-1: it ended with status 1, saying 'error: nowhere" in said
    assert f"see {log}" in said and (folder / log).is_file()
    for name in ("plain", "lora"):
        result = folder / "reports" / "esc50" / "results" / f"{name}-seed-1.json"
        assert result.stat().st_size < 8_000 and json.loads(result.read_text())["settings"]["seed"] == 1
        record = json.loads((folder / "runs/experiments/tiny" / name / "seed-1" / "run.json").read_text())
        assert record["complete"] and record["threads"] == max(1, len(os.sched_getaffinity(0)) // 2)


def test_what_is_finished_is_skipped(suite: tuple[Path, str]) -> None:
    folder, _ = suite
    logs = {path: path.read_bytes() for path in folder.glob("runs/experiments/tiny/*/*.log")}
    assert experiments(folder, "tiny.yaml", "--only", "plain", "lora") == "tiny: 2 runs, 2 finished; nothing is left\n"
    assert logs == {path: path.read_bytes() for path in folder.glob("runs/experiments/tiny/*/*.log")}


def test_the_report_is_regenerated_from_what_is_kept(suite: tuple[Path, str]) -> None:
    folder, _ = suite
    reports = folder / "reports" / "esc50"
    assert "written: reports/esc50/README.md" in experiments(folder, "--report")
    texts = {path.name: path.read_bytes() for path in reports.glob("*.*")}
    assert set(texts) == {"README.md", "summary.json", "forest.svg"}
    write_report(reports)
    assert texts == {path.name: path.read_bytes() for path in reports.glob("*.*")}
    assert "- **lora** (tiny, stage_b): lora; " in texts["README.md"].decode()


def test_a_run_that_was_stopped_goes_on(tmp_path: Path) -> None:
    write_suite(tmp_path, long={"max_steps": 40, "num_train_epochs": 10})
    folder = tmp_path / "runs" / "experiments" / "tiny" / "long" / "seed-1"
    with subprocess.Popen([*PROGRAM, "tiny.yaml"], cwd=tmp_path) as program:
        while not list(folder.glob("checkpoint-[3-9]")) and program.poll() is None:
            time.sleep(0.05)
        program.send_signal(signal.SIGTERM)
    assert program.returncode == 128 + signal.SIGTERM
    assert not json.loads((folder / "run.json").read_text())["complete"]
    log = folder.with_suffix(".log")
    assert "Go on with: teminal train stage_b --resume" in log.read_text()
    said = experiments(tmp_path, "tiny.yaml")
    assert "[1/1] long-seed-1: 1 " in said
    assert json.loads((folder / "run.json").read_text())["complete"]
    assert log.read_text().count("this part took") == 2
