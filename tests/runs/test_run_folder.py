"""Folders of runs: numbered, recorded, never overwritten by mistake."""

import re
from pathlib import Path

import pytest
import torch
import yaml

from teminal_hf.runs import run_folder
from teminal_hf.runs.run import Run
from teminal_hf.training.checkpoints import mark_whole


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_run_folders_are_numbered(here: Path) -> None:
    assert [str(run_folder.open_folder("stage_b", None)) for _ in range(2)] == [
        "runs/stage_b-001",
        "runs/stage_b-002",
    ]
    assert str(run_folder.open_folder("stage_a", None)) == "runs/stage_a-001"
    (here / "runs" / "stage_b-001").rmdir()
    assert run_folder.open_folder("stage_b", None).name == "stage_b-001"


def test_a_run_is_neither_overwritten_nor_resumed_by_mistake(here: Path) -> None:
    def check(folder: str | None, resume: bool, stage: str = "stage_b") -> None:
        run_folder.check_folder(stage, folder, resume)

    check(None, False)
    check("here/mine", False)
    folder = run_folder.open_folder("stage_b", "here/mine")
    assert folder == Path("here/mine") and folder.is_dir()
    check("here/mine", False)  # empty: nothing to lose
    with pytest.raises(FileNotFoundError, match=re.escape("nothing to resume in here/mine: no run.json in it; leave")):
        check("here/mine", True)
    run_folder.write_record(folder, stage="stage_b", complete=False)
    check("here/mine", False)  # cut before its first checkpoint: nothing to lose
    check("here/mine", True)
    (folder / "checkpoint-5").mkdir()
    check("here/mine", False)  # not written to its end: nothing to lose
    (folder / "checkpoint-5" / "trainer_state.json").write_text("{}")
    mark_whole(folder / "checkpoint-5")
    with pytest.raises(FileExistsError, match="here/mine already holds a run; name another --output_dir, or go on"):
        check("here/mine", False)
    check("here/mine", True)
    with pytest.raises(FileExistsError, match="here/mine holds a run of stage_b, not of stage_a"):
        check("here/mine", True, "stage_a")
    run_folder.write_record(folder, complete=True)
    (folder / "model.safetensors").touch()
    with pytest.raises(FileExistsError, match="the run in here/mine is finished: nothing to resume"):
        check("here/mine", True)
    with pytest.raises(FileExistsError, match="already holds a run"):
        check("here/mine", False)
    with pytest.raises(FileNotFoundError, match="nothing to resume in here/other: no such folder"):
        check("here/other", True)
    (here / "sounds").mkdir()
    (here / "sounds" / "a.wav").touch()
    with pytest.raises(FileExistsError, match=re.escape("sounds holds other things (a.wav); name another")):
        check("sounds", False)
    with pytest.raises(FileNotFoundError, match="--resume needs the run to go on with: --output_dir RUN"):
        check(None, True)


def test_records_add_up_and_name_the_versions(here: Path) -> None:
    assert run_folder.read_record(here) == {}
    run_folder.write_record(here, base="clap-mini", complete=False)
    run_folder.write_record(here, complete=True, place=here)
    record = run_folder.read_record(here)
    assert record["base"] == "clap-mini" and record["complete"] is True and record["place"] == str(here)
    assert record["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert {p.name for p in here.iterdir()} == {"run.json"}  # no draft left behind
    Run(here).begin({"views": ["forward"], "beta": 0.5}, {})
    assert yaml.safe_load((here / "config.yaml").read_text()) == {"views": ["forward"], "beta": 0.5}


def finished(folder: Path, base: str = "clap-mini", complete: bool = True, folds: tuple[int, ...] = (1, 2)) -> Path:
    folder.mkdir(parents=True)
    steps = ["weights"] if complete else []
    run_folder.write_record(folder, base=base, source="soundbank", folds={"train": folds}, finished=steps)
    (folder / "model.safetensors").write_bytes(b"")
    return folder


def test_stage_b_finds_the_stage_a_it_goes_on_from(here: Path) -> None:
    def found(base: str = "clap-mini", output: str | None = "study/stage_b", source: str = "soundbank") -> str | None:
        folder = run_folder.find_stage_a(output, base, source, (3, 4))
        return None if folder is None else str(folder)

    assert found() is None
    finished(Path("runs/stage_a-001"))
    assert found() == "runs/stage_a-001"
    finished(Path("runs/stage_a-002"))
    finished(Path("runs/stage_a-003"), complete=False)
    finished(Path("runs/stage_a-004"), base="laion/clap-htsat-unfused")
    (finished(Path("runs/stage_a-005")) / "model.safetensors").unlink()
    finished(Path("runs/stage_a-006"), folds=(1, 4))  # trained on a fold that stage B is judged on
    assert found() == "runs/stage_a-002"  # the newest that is complete, of this base, and has not seen folds 3 and 4
    assert found(source="other clips") is None
    assert found("laion/clap-htsat-unfused") == "runs/stage_a-004"
    finished(Path("study/stage_a"))
    assert found() == "study/stage_a"  # a sibling goes first
    assert found("laion/clap-htsat-unfused") == "runs/stage_a-004"  # but not of another base
    finished(Path("runs/stage_a-1000"), base="other")
    finished(Path("runs/stage_a-999"), base="other")
    finished(Path("runs/stage_a-old"), base="other")  # not numbered
    assert found("other") == "runs/stage_a-1000"
    assert found(output=None) == "runs/stage_a-002"
