"""A run from its first record to its saved weights."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from accelerate import PartialState
from peft import PeftModel
from transformers import ClapModel, ClapProcessor, TrainerState
from transformers.trainer_utils import get_last_checkpoint

from teminal_hf.models.checkpoint import save_clap
from teminal_hf.runs.run_folder import CONFIG, open_folder, write_record
from teminal_hf.storage.atomic import write_json

logger = logging.getLogger(__name__)

LOG = "log.json"


class Run:
    """The folder of a run; only the main process writes there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._began = time.perf_counter()

    @classmethod
    def open(cls, stage: str, output_dir: str | None) -> "Run":
        """A new folder `runs/<stage>-NNN`, or the one that is named; the same for all processes."""
        return cls(open_folder(stage, output_dir))

    def begin(self, given: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """Write the configuration, as a YAML file that runs it again, and what is known of the run so far."""
        if PartialState().is_main_process:
            (self.folder / CONFIG).write_text(yaml.safe_dump(dict(given), sort_keys=True), encoding="utf-8")
            write_record(self.folder, **facts)
        self._began = time.perf_counter()

    def last_checkpoint(self) -> str | None:
        return get_last_checkpoint(str(self.folder))

    def finish(self, model: ClapModel | PeftModel, processor: ClapProcessor, state: TrainerState) -> ClapModel:
        """Save the plain model, adapters merged, and what the training logged; returns that model."""
        seconds = time.perf_counter() - self._began
        trained = save_clap(model, processor, self.folder)
        write_json(self.folder / LOG, state.log_history)
        write_record(self.folder, train_seconds=round(seconds, 1), steps=state.global_step, complete=True)
        return trained

    def announce(self) -> None:
        logger.info("saved in %s", self.folder)
