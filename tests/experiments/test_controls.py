"""`recipes/controls.py`: every composition is asked of both models, and nothing that is not."""

import json
import subprocess
import sys
from pathlib import Path

from support.paths import ROOT
from teminal_hf.models.checkpoint import load_clap, save_checkpoint

PROGRAM = [sys.executable, str(ROOT / "recipes" / "controls.py")]


def test_a_model_against_itself(tmp_path: Path) -> None:
    found = tmp_path / "controls.json"
    arguments = ["clap-mini", "--base", "clap-mini", "--groups", "6", "--json", str(found)]
    done = subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, check=True, cwd=tmp_path)
    rows = [line.split(" | ")[0].removeprefix("| ") for line in done.stdout.splitlines() if line.startswith("| ")]
    compositions = ["as trained", "half a second of silence between", "half a second of cross-fade"]
    compositions += ["levels equal", "levels up to 24 dB apart", "silence around the sounds kept"]
    compositions += ["overlays, order asked"]
    assert rows == ["composition", "---", *compositions]
    figures = json.loads(found.read_text())
    assert [list(tasks) for tasks in figures.values()] == [["3A", "3O", "G"]] * 6 + [["3O"]]
    assert all(row["difference"] == 0 and row["n"] == 6 for tasks in figures.values() for row in tasks.values())
    # clap-mini was made of single sounds: it does not tell the order, and its answers move with the recordings.
    assert len({json.dumps(tasks["3A"]["base"]) for tasks in list(figures.values())[:6]}) > 1


def test_clips_that_were_trained_on_are_asked_apart(tmp_path: Path) -> None:
    """Their row has as many groups of them, and is there only where the run says what it was trained on."""
    save_checkpoint(*load_clap("clap-mini"), tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text(json.dumps({"base": "clap-mini", "folds": {"train": [1], "test": [5]}}))
    found = tmp_path / "controls.json"
    subprocess.run([*PROGRAM, "run", "--groups", "4", "--json", str(found)], check=True, cwd=tmp_path)
    figures = json.loads(found.read_text())
    assert list(figures)[-1] == "clips of the training folds, in other pairs"
    rows = figures["clips of the training folds, in other pairs"]
    assert list(rows) == ["3A", "3O", "G"] and all(row["n"] == 4 and row["difference"] == 0 for row in rows.values())


def test_nothing_says_what_it_was_trained_from(tmp_path: Path) -> None:
    arguments = ["nobody/nothing", "--groups", "2"]
    done = subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "nothing says what nobody/nothing was trained from: name a checkpoint" in done.stderr
