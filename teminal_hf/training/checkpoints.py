"""Checkpoints of a run that are whole: all their files written, a list of them last."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

from torch import nn
from transformers import Trainer
from transformers.trainer import OPTIMIZER_NAME, TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints

from teminal_hf.errors import ConfigError
from teminal_hf.models.checkpoint import check_finite_weights
from teminal_hf.storage.atomic import follow_umask, no_full_disk, remove_drafts, write_json

logger = logging.getLogger(__name__)

MARKER = "whole.json"  # {file: bytes}


def mark_whole(checkpoint: Path) -> None:
    """Say that everything in `checkpoint` is written; of whatever is missing or shorter later it can be told."""
    files = {path.name: path.stat().st_size for path in checkpoint.iterdir() if path.name != MARKER}
    write_json(checkpoint / MARKER, files)


def is_whole(checkpoint: Path) -> bool:
    """Whether all that `mark_whole` saw is still there, in its size."""
    try:
        files = json.loads((checkpoint / MARKER).read_text(encoding="utf-8"))
        return bool(files) and all((checkpoint / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError, AttributeError):
        return False


def checkpoints(folder: Path) -> list[Path]:
    """All checkpoints of a run, whole or not, the newest first."""
    found = [path for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if path.name.rsplit("-", 1)[1].isdigit()]
    return sorted(found, key=lambda path: -int(path.name.rsplit("-", 1)[1]))


def newest_whole(folder: Path) -> Path | None:
    """The checkpoint to go on from; those that were being written when the run ended are passed over, said once."""
    halves = []
    for checkpoint in checkpoints(folder):
        if is_whole(checkpoint):
            break
        halves.append(checkpoint.name)
    else:
        checkpoint = None
    if halves:
        instead = f"goes on from {checkpoint.name}" if checkpoint else "begins anew"
        logger.warning("%s in %s was not written to its end; the run %s", ", ".join(halves), folder, instead)
    return checkpoint


def check_batch(checkpoint: Path, per_device: int, processes: int) -> None:
    """Raise a ConfigError unless a batch of all `processes` is as large as those that `checkpoint` was trained in.

    With as many groups in a batch, any number of processes takes the same steps on the same groups. With more or fewer,
    the place in the epoch, which is counted in steps, would be another one: groups would be left out or come twice.
    """
    before = json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))["train_batch_size"]
    before *= len(list(checkpoint.glob("rng_state_*.pth"))) or 1  # each of several processes leaves one
    if before == per_device * processes:
        return
    way = (
        f"set per_device_train_batch_size to {before // processes}"
        if before % processes == 0
        else f"start a number of processes that divides {before}"
    )
    raise ConfigError(
        f"{checkpoint} was trained in batches of {before} groups over all processes, and this run has {per_device} in "
        f"each of {processes}: {way}; mini_batch_groups bounds the memory"
    )


def remove_halves(folder: Path) -> None:
    """Remove what is no whole checkpoint, and drafts left in those that are; not while one is being written."""
    for checkpoint in checkpoints(folder):
        if is_whole(checkpoint):
            remove_drafts(checkpoint)
        else:
            shutil.rmtree(checkpoint, ignore_errors=True)


class WholeCheckpoints(Trainer):
    """A `Trainer` whose checkpoints are marked when all is written, and that lets go of older ones only then."""

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        folder = Path(self._get_output_dir(trial=trial))
        if self.is_world_process_zero():
            remove_halves(folder)
        self.accelerator.wait_for_everyone()
        # Trainer's own rotation comes before the marker: killed in between, the run would have no whole checkpoint.
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            with no_full_disk(folder):
                super()._save_checkpoint(model, trial)
                self.accelerator.wait_for_everyone()  # every process has written its random state
                if self.is_world_process_zero():
                    mark_whole(folder / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}")
        finally:
            self.args.save_total_limit = limit
        if self.args.should_save:
            rotate_checkpoints(
                output_dir=str(folder),
                save_total_limit=limit,
                best_model_checkpoint=self.state.best_model_checkpoint,
                use_mtime=True,
            )

    def _load_from_checkpoint(self, resume_from_checkpoint: str, *args: Any, **kwargs: Any) -> None:
        checkpoint = Path(resume_from_checkpoint)
        check_batch(checkpoint, self._train_batch_size, self.args.world_size)
        if not (checkpoint / OPTIMIZER_NAME).is_file():
            raise ConfigError(
                f"{checkpoint} holds a model alone (save_only_model), and no state of the optimizer to go on with; "
                "begin anew from it with --model"
            )
        super()._load_from_checkpoint(resume_from_checkpoint, *args, **kwargs)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """As in `Trainer`, which takes a step before it looks whether there is one left to take: a run that was cut
        between its last checkpoint and its end would train on."""
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*args, **kwargs)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        check_finite_weights(self.accelerator.unwrap_model(self.model))
        super()._save(output_dir, state_dict)
        folder = Path(str(output_dir or self.args.output_dir))
        # A pickle, with the token of the Hub in clear; nothing reads it.
        (folder / "training_args.bin").unlink(missing_ok=True)
        follow_umask(folder)
