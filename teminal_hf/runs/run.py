"""A run from its first record to its last step, each step done once and noted."""

import logging
import shlex
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from accelerate import PartialState
from peft import PeftModel
from transformers import TrainerState

from teminal_hf.models.checkpoint import save_checkpoint
from teminal_hf.models.split import TrainedModel
from teminal_hf.runs.run_folder import CONFIG, FINISHED, RECORD, as_complete, open_folder, read_record, write_record
from teminal_hf.runs.yaml_file import as_yaml
from teminal_hf.storage.atomic import no_full_disk, write_json, written_whole
from teminal_hf.training.checkpoints import checkpoints, newest_whole, remove_halves

logger = logging.getLogger(__name__)

LOG = "log.json"
HALVES = ("*.draft", ".tmp*", "push-*")  # ours, of safetensors, of a push


class Run:
    """The folder of a run; only the main process writes there. As a context, it says what is saved and how to go on
    when the process is asked to stop."""

    def __init__(self, folder: Path, stage: str = "stage_b") -> None:
        self.folder, self.stage = folder, stage
        self._at = folder
        self._began = time.perf_counter()

    @classmethod
    def open(cls, stage: str, output_dir: str | None) -> "Run":
        """A new folder `runs/<stage>-NNN`, or the one that is named; the same for all processes."""
        return cls(open_folder(stage, output_dir), stage)

    def begin(self, given: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """Write the configuration, as a YAML file that runs it again, and what is known of the run so far; remove what
        a run that was killed here left half written."""
        if PartialState().is_main_process:
            for draft in (found for name in HALVES for found in self.folder.glob(name)):
                shutil.rmtree(draft) if draft.is_dir() else draft.unlink()
            with no_full_disk(self.folder):
                with written_whole(self.folder / CONFIG) as draft:
                    draft.write_text(as_yaml(given), encoding="utf-8")
                write_record(self.folder, **facts)
        self._began = time.perf_counter()

    def part(self, phase: str) -> Path:
        """Where a phase is trained and saved; the last, or only one ("") in the run's folder itself."""
        self._at = self.folder / phase
        self._at.mkdir(exist_ok=True)
        return self._at

    def checkpoint(self) -> str | None:
        """The newest whole checkpoint of the phase at hand, to go on from."""
        found = newest_whole(self._at)
        return None if found is None else str(found)

    def has(self, step: str) -> bool:
        """Whether a step was done: a phase before the last, weights, report, card or push."""
        return step in read_record(self.folder).get(FINISHED, ())

    def save(self, model: TrainedModel | PeftModel, processor: Any, state: TrainerState, phase: str = "") -> None:
        """Save the plain model, adapters merged, and what the training logged. What a phase before the last needed to
        be gone on with is removed."""
        folder, before = self.folder / phase, read_record(self.folder)
        seconds, self._began = time.perf_counter() - self._began, time.perf_counter()
        with no_full_disk(folder):
            save_checkpoint(model, processor, folder)
            write_json(folder / LOG, state.log_history)
            write_record(
                self.folder,
                train_seconds=round(before.get("train_seconds", 0) + seconds, 1),
                steps=before.get("steps", 0) + state.global_step,
            )
            self._note(phase or "weights")
        for checkpoint in checkpoints(folder) if phase else ():
            shutil.rmtree(checkpoint, ignore_errors=True)
        logger.info("saved in %s", folder)

    def once(self, step: str, do: Callable[[], Any]) -> None:
        """Do a step after the training, unless an earlier part of this run has done it."""
        if not self.has(step):
            with no_full_disk(self.folder):
                do()
                self._note(step)

    def complete(self) -> None:
        """All is done: the run is neither resumed nor written to any more."""
        remove_halves(self.folder)
        write_json(self.folder / RECORD, as_complete(read_record(self.folder)))

    def _note(self, step: str) -> None:
        write_record(self.folder, **{FINISHED: [*read_record(self.folder).get(FINISHED, ()), step]})

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if not isinstance(error, KeyboardInterrupt) or not PartialState().is_main_process:
            return
        checkpoint = newest_whole(self._at)
        command = shlex.join(["teminal", "train", self.stage, "--resume", "--output_dir", self.folder.as_posix()])
        if self.has("weights"):
            logger.warning("stopped; the trained model is saved in %s. What is left to do: %s", self.folder, command)
        elif checkpoint is None and read_record(self.folder).get(FINISHED):
            logger.warning("stopped; the phases before are saved in %s. Go on with: %s", self.folder, command)
        elif checkpoint is not None:
            logger.warning("stopped; %s is saved. Go on with: %s", checkpoint, command)
        else:
            logger.warning("stopped before the first checkpoint; begin anew with: %s", command)
        error.args = (command,)  # no more need be said
