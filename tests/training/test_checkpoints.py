"""Checkpoints: what was not written to its end is passed over, whatever it lacks."""

import json
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from support.damage import DAMAGES
from support.tiny import assert_equal, trainer, weights
from teminal_hf.errors import DivergedError, StorageError
from teminal_hf.training import checkpoints
from teminal_hf.training.checkpoints import MARKER, is_whole, newest_whole, remove_halves
from teminal_hf.training.trainer import TeminalTrainer

OPTIONS = {"save_strategy": "steps", "save_steps": 2, "max_steps": 6}


def trained(folder: Path, resume: str | None = None, **options: object) -> TeminalTrainer:
    t = trainer(folder, 12, **(OPTIONS | options))
    t.train(resume_from_checkpoint=resume)
    return t


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    trained(folder)
    return folder


def copy(whole: Path, folder: Path) -> Path:
    for source in whole.rglob("*"):
        target = folder / source.relative_to(whole)
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    return folder


def test_every_file_is_in_the_list_and_none_is_a_token(whole: Path) -> None:
    for checkpoint in checkpoints.checkpoints(whole):
        listed = json.loads((checkpoint / MARKER).read_text())
        assert set(listed) == {path.name for path in checkpoint.iterdir()} - {MARKER}
        assert {"model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json"} <= set(listed)
        assert "training_args.bin" not in listed  # it would hold --hub_token in clear
        assert is_whole(checkpoint)


FILES = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", MARKER)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["deleted", "empty", "truncated"])
def test_a_half_checkpoint_is_passed_over(
    whole: Path, tmp_path: Path, name: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = copy(whole, tmp_path)
    DAMAGES[damage](folder / "checkpoint-6" / name)
    assert newest_whole(folder) == folder / "checkpoint-4"
    (message,) = (record.getMessage() for record in caplog.records)
    assert message == f"checkpoint-6 in {folder} was not written to its end; the run goes on from checkpoint-4"
    (folder / "checkpoint-4" / "whole.json.0.draft").mkdir()  # stopped while it was being removed
    remove_halves(folder)
    assert [path.name for path in checkpoints.checkpoints(folder)] == ["checkpoint-4", "checkpoint-2"]
    assert not list(folder.rglob("*.draft"))


def test_none_whole_begins_anew(whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = copy(whole, tmp_path)
    for checkpoint in folder.glob("checkpoint-*"):
        (checkpoint / MARKER).unlink()
    assert newest_whole(folder) is None and "the run begins anew" in caplog.text
    assert newest_whole(tmp_path / "checkpoint-2") is None  # a folder without any


class Killed(BaseException):
    """What a kill is to the code that it stops."""


STEPS = ("save_model", "_save_optimizer_and_scheduler", "_save_scaler", "_save_rng_state")


@pytest.mark.parametrize("limit", [1, None])
@pytest.mark.parametrize("step", [*STEPS, "mark_whole", "rotate_checkpoints"])
def test_killed_while_a_checkpoint_is_written_it_goes_on_bit_equal(
    tmp_path: Path, whole: Path, step: str, limit: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    owner = TeminalTrainer if hasattr(TeminalTrainer, step) else checkpoints
    original: Callable[..., object] = getattr(owner, step)

    def kill(*args: object, **kwargs: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise Killed
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, kill)
        with pytest.raises(Killed):
            trained(tmp_path, save_total_limit=limit)
    found = newest_whole(tmp_path)
    assert found is not None and found.name == ("checkpoint-4" if step == "rotate_checkpoints" else "checkpoint-2")
    again = trained(tmp_path, str(found), save_total_limit=limit)
    assert_equal(weights(again.model), weights(trained(tmp_path / "other").model))
    names = [path.name for path in checkpoints.checkpoints(tmp_path)]
    assert names == (["checkpoint-6"] if limit else ["checkpoint-6", "checkpoint-4", "checkpoint-2"])
    assert all(map(is_whole, checkpoints.checkpoints(tmp_path)))


def test_a_full_disk_is_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = {
        "torch": RuntimeError("[enforce fail at inline_container.cc:659] . unexpected pos 64 vs 0: file write failed"),
        "system": OSError(28, "No space left on device"),
    }
    for error in full.values():

        def fail(*args: object, error: Exception = error, **kwargs: object) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(TeminalTrainer, "_save_optimizer_and_scheduler", fail)
            with pytest.raises(StorageError, match=r"the disk of .* is full \(\d+ MiB free\): make room"):
                trained(tmp_path)


def test_files_are_as_open_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        trained(tmp_path)
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "checkpoint-6").iterdir()}
    assert modes == {0o644}


@pytest.mark.parametrize(
    "options, message",
    [
        ({"learning_rate": 1e20}, "not finite"),
        ({"learning_rate": 1e30}, "not finite"),
    ],
)
def test_what_is_not_finite_is_no_result(
    tmp_path: Path, options: dict[str, float], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(DivergedError, match=message):
        trained(tmp_path, **options, max_grad_norm=0.0)
    assert all(is_whole(path) for path in checkpoints.checkpoints(tmp_path))


def test_the_loss_part_is_named(tmp_path: Path) -> None:
    t = trainer(tmp_path, 8)
    parts = {"loss": torch.tensor(float("nan")), "forward": torch.tensor(1.0), "overlay": torch.tensor(float("inf"))}
    assert "the loss is not finite at step 1: overlay (inf); " in t._diverged(parts)
    assert "no checkpoint had been written" in t._diverged(parts)
