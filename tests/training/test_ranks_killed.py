"""One of several ranks is killed: the others end within seconds, and any number of ranks goes on to the same weights.

Run as a script this file is one of the ranks.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from support.paths import ROOT, TESTS
from support.tiny import groups, tiny_clap, tiny_processor
from teminal_hf.commands.door import door
from teminal_hf.errors import ConfigError
from teminal_hf.models.stages import StagePolicy, apply_stage
from teminal_hf.training.checkpoints import check_batch, is_whole
from teminal_hf.training.config import TeminalConfig
from teminal_hf.training.data_collator import GroupCollator
from teminal_hf.training.trainer import TeminalTrainer

BATCH, WITHIN = (
    8,
    60,
)  # groups over all ranks; seconds in which all have ended: far less than the half hour of a time-out
VIEWS = ["forward", "reversed"]


class _Die(TrainerCallback):
    """As if by `kill -9`, in the fifth step."""

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 4:
            Path(args.output_dir, "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)


def train(folder: Path, per_device: int, resume: bool = False, dies: bool = False) -> dict[str, torch.Tensor]:
    """Three epochs of two steps, 8 groups and 3; a checkpoint after the third step, in the middle of an epoch."""
    args = TeminalConfig(
        output_dir=str(folder), report_to="none", use_cpu=True, disable_tqdm=True, num_train_epochs=3,
        save_strategy="steps", save_steps=3, per_device_train_batch_size=per_device, optim="sgd",
        optim_args="momentum=0.9", learning_rate=0.02, max_grad_norm=0.0, seed=3, views=VIEWS,
    )  # fmt: skip
    model, _ = apply_stage(tiny_clap(), StagePolicy())
    collator = GroupCollator(tiny_processor(), args.views)
    callbacks: list[Any] = [_Die()] if dies else []
    rows = groups(11, args.views)
    trainer = TeminalTrainer(model, args, data_collator=collator, train_dataset=rows, callbacks=callbacks)
    trainer.train(resume_from_checkpoint=str(folder / "checkpoint-3") if resume else None)
    return dict(model.state_dict())


def launch(folder: Path, processes: int, *flags: str, by_hand: bool = False) -> list[subprocess.Popen[str]]:
    """The launcher, or the ranks themselves."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0", "OMP_WAIT_POLICY": "PASSIVE"}
    env |= {"PYTHONPATH": os.pathsep.join(map(str, (TESTS, ROOT)))}
    script = [__file__, str(folder), str(BATCH // processes), *flags]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    if not by_hand:
        run = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
        return [subprocess.Popen([sys.executable, *run, *script], env=env, **pipes)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(processes)}
    ranks = [env | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]
    return [subprocess.Popen([sys.executable, *script], env=rank, **pipes) for rank in ranks]


def ended(processes: list[subprocess.Popen[str]]) -> tuple[list[int], list[str]]:
    """Exit statuses and what was said; none lives on."""
    try:
        said = [process.communicate(timeout=200)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], said


@pytest.mark.parametrize("by_hand", [False, True], ids=["torchrun", "without a launcher"])
def test_the_others_end_and_another_number_of_ranks_goes_on(tmp_path: Path, by_hand: bool) -> None:
    truth = train(tmp_path / "undisturbed", BATCH)
    folder = tmp_path / "run"
    statuses, said = ended(launch(folder, 2 if by_hand else 4, "dies", by_hand=by_hand))
    assert time.time() - (folder / "killed").stat().st_mtime < WITHIN
    assert 0 not in statuses
    if by_hand:
        assert statuses == [1, -signal.SIGKILL]
        assert said[0].count("error: another process of this run has ended, and this one cannot go on alone") == 1
    assert "".join(said).count("Traceback (most recent") == (0 if by_hand else 1)  # the launcher's own
    assert is_whole(folder / "checkpoint-3") and not (folder / "result.pt").exists()
    if by_hand:
        found = train(folder, BATCH, resume=True)
    else:
        statuses, said = ended(launch(folder, 2, "resume"))
        assert statuses == [0], said
        found = torch.load(folder / "result.pt", weights_only=True)
    assert found.keys() == truth.keys()
    for name in truth:
        torch.testing.assert_close(found[name], truth[name], atol=1e-5, rtol=1e-5, msg=name)


def test_batches_of_another_size_are_refused(tmp_path: Path) -> None:
    train(tmp_path, BATCH)
    message = (
        "batches of 8 groups over all processes, and this run has 4 in each of 1: set "
        "per_device_train_batch_size to 8; mini_batch_groups bounds the memory"
    )
    with pytest.raises(ConfigError, match=message):
        train(tmp_path, 4, resume=True)
    with pytest.raises(ConfigError, match="start a number of processes that divides 8;"):
        check_batch(tmp_path / "checkpoint-3", 3, 3)


if __name__ == "__main__":
    where, size, *how = sys.argv[1:]
    with door():
        last = int(os.environ["RANK"]) == int(os.environ["WORLD_SIZE"]) - 1
        result = train(Path(where), int(size), "resume" in how, "dies" in how and last)
        if os.environ["RANK"] == "0":
            torch.save(result, Path(where) / "result.pt")
