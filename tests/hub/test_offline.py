"""What is said of something that is not here: there is no such folder, or how to fetch it."""

import re
from pathlib import Path

import pytest

from teminal_hf.clips.sources import load_clips
from teminal_hf.errors import NotFoundError, OfflineError
from teminal_hf.hub import offline
from teminal_hf.hub.offline import saying_what_to_fetch


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("runs/stage_a-001", "runs/stage_b-001", "runs/.cache", "home/runs", "empty"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "runs" / "notes.txt").touch()
    return tmp_path / "runs"


def load(name: str, error: Exception) -> None:
    with saying_what_to_fetch(name, f"hf download {name}"):
        raise error


@pytest.mark.parametrize("offline_mode", [True, False])
@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("runs/none", "runs/ holds: stage_a-001, stage_b-001"),
        ("runs/none/", "runs/ holds: stage_a-001, stage_b-001"),
        ("runs/stage_a-001/checkpoint-5", "runs/stage_a-001/ holds: no folder"),
        ("./none", "./ holds: empty, home, runs"),
        ("none/", "./ holds: empty, home, runs"),
        ("../none", "../ holds: "),
        ("a/b/c", "./ holds: empty, home, runs"),
        ("empty/none", "empty/ holds: no folder"),
        ("~/runs", "~ was not expanded: give "),
        ("~/none", "./ holds: empty, home, runs"),
    ],
)
def test_a_path_that_leads_nowhere(monkeypatch: pytest.MonkeyPatch, name: str, there: str, offline_mode: bool) -> None:
    monkeypatch.setattr(offline, "is_offline_mode", lambda: offline_mode)
    for error in (OSError("nothing"), ValueError("no repo id")):
        with pytest.raises(NotFoundError, match=re.escape(f"there is no folder {name}; {there}")) as said:
            load(name, error)
        assert "Hub" not in str(said.value) and "download" not in str(said.value)


def test_an_absolute_path_and_many_folders(runs: Path) -> None:
    for number in range(2, 12):
        (runs / f"stage_a-{number:03d}").mkdir()
    listed = ", ".join(f"stage_a-{number:03d}" for number in range(1, 9))
    with pytest.raises(NotFoundError, match=re.escape(f"there is no folder {runs}/none; {runs}/ holds: {listed}, ...")):
        load(f"{runs}/none", OSError())
    with pytest.raises(NotFoundError, match=r"there is no folder /no-such-folder; / holds: "):
        load("/no-such-folder", OSError())


@pytest.mark.parametrize("name", ["laion/clap-htsat-unfused", "gpt2", "laion/a.b"])
def test_a_name_on_the_hub(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with pytest.raises(OfflineError, match=f"{name} is not, or not wholly, .* once, online: hf download {name}$"):
        load(name, OSError())
    monkeypatch.setattr(offline, "is_offline_mode", lambda: False)
    with pytest.raises(OSError, match="theirs"):
        load(name, OSError("theirs"))


def test_what_is_here_keeps_its_error() -> None:
    with pytest.raises(ValueError, match="spoilt"):
        load("runs/stage_a-001", ValueError("spoilt"))


def test_a_data_set_that_is_no_folder() -> None:
    with pytest.raises(
        NotFoundError, match=re.escape("there is no folder runs/clips; runs/ holds: stage_a-001, stage")
    ):
        load_clips("runs/clips")
    with pytest.raises(OfflineError, match="load_dataset"):
        load_clips("someone/clips")
