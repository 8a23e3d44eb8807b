"""A run from its first record to its last step, each step done once and noted."""

import logging
import shlex
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml
from accelerate import PartialState
from peft import PeftModel
from transformers import ClapModel, ClapProcessor, TrainerState

from teminal_hf.models.checkpoint import save_clap
from teminal_hf.runs.run_folder import CONFIG, FINISHED, RECORD, as_complete, open_folder, read_record, write_record
from teminal_hf.storage.atomic import no_full_disk, write_json, written_whole
from teminal_hf.training.checkpoints import newest_whole, remove_halves

logger = logging.getLogger(__name__)

LOG = "log.json"
HALVES = ("*.draft", ".tmp*", "push-*")  # ours, of safetensors, of a push


class Run:
    """The folder of a run; only the main process writes there. As a context, it says what is saved and how to go on
    when the process is asked to stop."""

    def __init__(self, folder: Path, stage: str = "stage_b") -> None:
        self.folder, self.stage = folder, stage
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
                    draft.write_text(yaml.safe_dump(dict(given), sort_keys=True), encoding="utf-8")
                write_record(self.folder, **facts)
        self._began = time.perf_counter()

    def checkpoint(self) -> str | None:
        """The newest whole checkpoint, to go on from."""
        found = newest_whole(self.folder)
        return None if found is None else str(found)

    def has(self, step: str) -> bool:
        """Whether a step after the training was done: weights, report, card or push."""
        return step in read_record(self.folder).get(FINISHED, ())

    def save(self, model: ClapModel | PeftModel, processor: ClapProcessor, state: TrainerState) -> None:
        """Save the plain model, adapters merged, and what the training logged."""
        seconds = time.perf_counter() - self._began
        with no_full_disk(self.folder):
            save_clap(model, processor, self.folder)
            write_json(self.folder / LOG, state.log_history)
            write_record(self.folder, train_seconds=round(seconds, 1), steps=state.global_step)
            self._note("weights")
        logger.info("saved in %s", self.folder)

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
        checkpoint = newest_whole(self.folder)
        command = shlex.join(["teminal", "train", self.stage, "--resume", "--output_dir", self.folder.as_posix()])
        if self.has("weights"):
            logger.warning("stopped; the trained model is saved in %s. What is left to do: %s", self.folder, command)
        elif checkpoint is not None:
            logger.warning("stopped; %s is saved. Go on with: %s", checkpoint, command)
        else:
            logger.warning("stopped before the first checkpoint; begin anew with: %s", command)
        error.args = (command,)  # no more need be said
