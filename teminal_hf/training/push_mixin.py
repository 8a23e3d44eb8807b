"""Pushing checkpoints to the Hub while a `Trainer` runs and at its end: plain models, from one thread."""

import copy
import logging
import shutil
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any

from transformers import ClapProcessor, Trainer
from transformers.trainer_utils import HubStrategy

from teminal_hf.errors import CheckpointError
from teminal_hf.hub.push import CHECKPOINT_FILES, make_repo, push_folder
from teminal_hf.models.checkpoint import save_checkpoint

logger = logging.getLogger(__name__)


class PushMixin(Trainer):
    """A `Trainer` that pushes a plain checkpoint and its processor, never `training_args.bin` or an optimizer, which
    are pickles."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.args.push_to_hub:
            _check_processor(self.processing_class)
        self._pusher, self._pushes = ThreadPoolExecutor(max_workers=1), list[Future[str]]()

    def push_to_hub(  # type: ignore[override]  # an address is all that is known of several pushes
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs: Any,
    ) -> str | None:
        """Push the plain checkpoint and its processor, in one commit; returns the repository's address (on the main
        process, and if `blocking`).

        `Trainer`'s own would upload the output folder with `training_args.bin`, a pickle.

        Raises:
            PushError: as `hub.push_folder`.
        """
        if not self.is_world_process_zero():
            return None
        if self.hub_model_id is None:
            self.init_hf_repo(token=token, private=private)
        job = self._push(str(commit_message), "", token, revision)
        if blocking:
            return job.result()
        job.add_done_callback(partial(_warn_if_failed, "now"))
        return None

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Make the repository, before the training; raises a PushError where that cannot be."""
        if self.is_world_process_zero():
            self.hub_model_id = make_repo(  # type: ignore[assignment]  # it starts as None
                self.args.hub_model_id or Path(str(self.args.output_dir)).absolute().name,
                "model",
                private=self.args.hub_private_repo if private is None else private,
                token=token or self.args.hub_token,
                revision=self.args.hub_revision,
            )

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """At every save, in the background: the weights so far, at the root or (`all_checkpoints`) in a folder."""
        strategy, busy = self.args.hub_strategy, any(not job.done() for job in self._pushes)
        if not self.is_world_process_zero() or strategy == HubStrategy.END or (busy and not self.args.hub_always_push):
            return
        step = f"step {self.state.global_step}"
        within = Path(checkpoint_folder).name if strategy == HubStrategy.ALL_CHECKPOINTS else ""
        self._push(f"Training in progress, {step}", within).add_done_callback(partial(_warn_if_failed, step))

    def _finish_current_push(self) -> None:
        wait(self._pushes)

    def _push(self, message: str, within: str, token: str | None = None, revision: str | None = None) -> Future[str]:
        """The weights as they are now, pushed one after the other by one thread."""
        processor = _check_processor(self.processing_class)
        staged = tempfile.mkdtemp(prefix="push-", dir=self.args.output_dir)
        save_checkpoint(copy.deepcopy(self.accelerator.unwrap_model(self.model)), processor, staged)
        job = self._pusher.submit(
            _push_and_remove,
            staged,
            str(self.hub_model_id),
            "model",
            CHECKPOINT_FILES,
            retry="trainer.push_to_hub() pushes the weights as they are then.",
            token=token or self.args.hub_token,
            revision=revision or self.args.hub_revision,
            message=message,
            within=within,
        )
        self._pushes.append(job)
        return job


def _check_processor(processor: Any) -> Any:
    """A checkpoint is pushed with the processor that it was trained with, and never with one that tiles."""
    extractor = getattr(processor, "feature_extractor", None)
    if extractor is None or (isinstance(processor, ClapProcessor) and extractor.padding != "pad"):
        raise CheckpointError(
            "to be pushed, a model needs its processor, as load_checkpoint gives it (a CLAP's with padding='pad'): "
            "processing_class=..."
        )
    return processor


def _push_and_remove(staged: str, *args: Any, **kwargs: Any) -> str:
    try:
        return push_folder(staged, *args, **kwargs)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _warn_if_failed(step: str, job: Future[str]) -> None:
    if error := job.exception():
        logger.warning("the checkpoint of %s was not pushed, training goes on: %s", step, error)
