"""`TeminalTrainer`: a `transformers.Trainer` whose loss contrasts the views of a batch of groups."""

import copy
import itertools
import logging
import math
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from transformers import ClapProcessor, Trainer, TrainerCallback
from transformers.trainer_utils import EvalLoopOutput, HubStrategy, has_length

from teminal_hf.data.groups import STAGE_B_VIEWS
from teminal_hf.hub.push import CHECKPOINT_FILES, make_repo, push_folder
from teminal_hf.models.checkpoint import save_clap
from teminal_hf.models.split import plain_clap
from teminal_hf.models.stages import Trainable, frozen_modules
from teminal_hf.training.config import ALPHAS, TeminalConfig, check_training
from teminal_hf.training.data_collator import GroupCollator, false_negatives
from teminal_hf.training.gather import alone, gathered
from teminal_hf.training.losses import symmetric_infonce, temporal_contrastive_loss

logger = logging.getLogger(__name__)

MAX_LOG_SCALE = math.log(100.0)  # as in CLIP


class TeminalTrainer(Trainer):
    """Post-trains a `ClapModel` prepared by `apply_stage` on groups of views.

    Every batch makes one forward through each tower for all views of all groups; with several processes the embeddings
    are gathered with their gradient, so that the gradients are those of one process with the whole batch. The named
    parts of the loss are logged as `loss_<part>`.

    Args:
        reference: the starting checkpoint, split at the same cut, frozen; needed for `retention`.
        zste: called at every evaluation with the plain model, returns figures logged as `eval_zste_<task>`.
        Everything else as in `transformers.Trainer`.
    """

    args: TeminalConfig
    model: nn.Module

    # A contrastive loss is a mean over its own micro-batch: the Trainer must divide it by the number of micro-batches
    # (huggingface/transformers#47688) ...
    loss_is_scaled_for_ga = False

    def __init__(
        self,
        *args: Any,
        reference: nn.Module | None = None,
        zste: Callable[[nn.Module], dict[str, float]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if self.args.retention and reference is None:
            raise ValueError("retention needs the starting checkpoint as reference=")
        self.reference = None if reference is None else reference.to(self.args.device).eval()
        self.model_accepts_loss_kwargs = False  # ... and must not count tokens
        self.can_return_loss = True  # otherwise eval_loss is missing: ClapModel's own flag defaults to None
        self.zste = zste
        if self.args.push_to_hub:
            _check_processor(self.processing_class)
        self._frozen = frozen_modules(self.model)
        self._pusher, self._pushes = ThreadPoolExecutor(max_workers=1), list[Future[str]]()
        self._parts: defaultdict[str, list[Tensor]] = defaultdict(list)
        self.add_callback(_ClampLogitScale())
        if isinstance(self.data_collator, GroupCollator) and list(self.data_collator.views) != list(self.args.views):
            raise ValueError(f"the collator's views {self.data_collator.views} are not the config's {self.args.views}")
        if self.train_dataset is not None:
            check_training(self.args)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The loss of one batch from `GroupCollator` (or of cached prefixes), gathered over processes."""
        if model.training:
            for module in self._frozen:  # found once: a walk over all parameters at every step would take as long
                module.training = False  # as the step of a small model
        tensors = _pick_wording(inputs, plain=self._is_plain_step(model.training))
        meanings = tensors.pop("meanings")
        outputs = model(**tensors, chunk_rows=self._chunk_rows)
        parts = self.contrast(outputs.audio_embeds, outputs.text_embeds, meanings, gather=model.training)
        if self.args.retention:
            parts["retention"] = self._drift(outputs, tensors)
            parts["loss"] = parts["loss"] + self.args.retention * parts["retention"]
        if model.training:
            for name, value in parts.items():
                if name != "loss":
                    self._parts[name].append(value.detach())
        return (parts["loss"], {"loss": parts["loss"]}) if return_outputs else parts["loss"]

    def _drift(self, outputs: Any, tensors: dict[str, Tensor]) -> Tensor:
        """How far the single views' embeddings have moved: 1 - cosine, mean over rows and towers."""
        assert self.reference is not None
        n = len(outputs.audio_embeds) // len(self.args.views)
        start = self.args.views.index("single") * n
        with torch.no_grad():
            single = {name: tensor[start : start + n] for name, tensor in tensors.items()}
            before = self.reference(**single, chunk_rows=self._chunk_rows)
        cosines = [
            (outputs[tower][start : start + n] * before[tower]).sum(dim=-1) for tower in ("audio_embeds", "text_embeds")
        ]
        return 1 - torch.stack(cosines).mean()

    @property
    def _chunk_rows(self) -> int:
        return self.args.mini_batch_groups * len(self.args.views)

    def _is_plain_step(self, training: bool) -> bool:
        return training and self.state.global_step < self.args.plain_share * self.state.max_steps

    def contrast(
        self, audio_embeds: Tensor, text_embeds: Tensor, meanings: Tensor, *, gather: bool
    ) -> dict[str, Tensor]:
        """Named losses of a batch in view blocks: (K*N, D) embeddings and (K*N, m) meanings."""
        views, args = list(self.args.views), self.args
        share = gathered if gather and self.args.world_size > 1 else alone
        audio, text, means = (
            dict(zip(views, share(tensor, len(views)), strict=True)) for tensor in (audio_embeds, text_embeds, meanings)
        )
        scale = plain_clap(self.model).logit_scale_a.exp()
        temporal = [view for view in STAGE_B_VIEWS if view in views]
        losses: dict[str, Tensor] = {}
        if temporal:
            losses |= temporal_contrastive_loss(
                {view: audio[view] for view in temporal},
                {view: text[view] for view in temporal},
                scale,
                **{name: getattr(args, name) for name in (*ALPHAS, "beta")},
                false_negatives=false_negatives(torch.cat([means[view] for view in temporal])),
            )
        others = [view for view in views if view not in (*temporal, "pair")]
        if others:
            plain = symmetric_infonce(
                torch.cat([audio[view] for view in others]),
                torch.cat([text[view] for view in others]),
                scale,
                false_negatives=false_negatives(torch.cat([means[view] for view in others])),
            )
            if temporal:
                losses["rehearsal"] = plain["loss"]
                losses["loss"] = losses["loss"] + args.rehearsal * plain["loss"]
            else:
                losses = plain
        if "pair" in views:  # among themselves: what else their captions may hold of is not known
            own = symmetric_infonce(audio["pair"], text["pair"], scale, false_negatives=false_negatives(means["pair"]))
            losses["pairs"] = own["loss"]
            losses["loss"] = losses.get("loss", 0) + args.pairs_weight * own["loss"]
        return losses

    def train(self, *args: Any, **kwargs: Any) -> Any:
        if self.train_dataset is not None:
            line = self.describe()  # on every process: its probe gathers embeddings
            if self.is_world_process_zero():
                logger.warning(line)
        return super().train(*args, **kwargs)

    def describe(self) -> str:
        """One line: what is trained, on how much, and what it will take (measured on one batch, without a step)."""
        trainable = Trainable.of(self.model)
        args = self.args
        accumulated, batch = args.gradient_accumulation_steps, args.per_device_train_batch_size * args.world_size
        steps, groups = args.max_steps, "a stream of"
        if has_length(self.train_dataset):
            groups = str(len(self.train_dataset))
            batches = int(groups) // batch if args.dataloader_drop_last else math.ceil(int(groups) / batch)
            if steps <= 0:
                steps = math.ceil(args.num_train_epochs * max(1, math.ceil(batches / accumulated)))
        seconds = self._probe_step() * accumulated
        return (
            f"training {trainable} on {groups} groups, {batch * accumulated} a step, {steps} steps; about "
            f"{seconds:.2f} s a step, {_duration(seconds * steps)} in all, {_memory_gib(args.device):.1f} GiB"
        )

    def _probe_step(self) -> float:
        """Seconds of one forward and backward; leaves weights, gradients and random state as they were."""
        self._move_model_to_device(self.model, self.args.device)
        training = self.model.training
        with torch.random.fork_rng():
            start = time.perf_counter()
            rows = itertools.islice(iter(self.train_dataset), self.args.per_device_train_batch_size)  # type: ignore[arg-type]
            batch = self._prepare_inputs(self.data_collator(list(rows)))
            self.model.train()
            with self.accelerator.autocast():
                loss = self.compute_loss(self.model, batch)
            torch.autograd.grad(loss, [p for p in self.model.parameters() if p.requires_grad], allow_unused=True)
            if torch.accelerator.is_available():
                torch.accelerator.synchronize()
            seconds = time.perf_counter() - start
        if not training:
            self.model.eval()
        self._parts.clear()
        return seconds

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
        save_clap(copy.deepcopy(self.accelerator.unwrap_model(self.model)), processor, staged)
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

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """As in `Trainer`, with ZSTE's figures beside `eval_loss`, where callbacks and the best checkpoint look."""
        output = super().evaluation_loop(*args, **kwargs)
        if self.zste is not None:
            model = self.accelerator.unwrap_model(self.model)
            model.eval()
            prefix = kwargs.get("metric_key_prefix", "eval")
            assert output.metrics is not None
            output.metrics.update({f"{prefix}_zste_{name}": value for name, value in self.zste(model).items()})
        return output

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """As in `Trainer`, but the logit scale is no weight: decay would pull the temperature to 1."""
        return [name for name in super().get_decay_parameter_names(model) if "logit_scale" not in name]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            logs |= {f"loss_{name}": float(torch.stack(values).mean()) for name, values in self._parts.items()}
            self._parts.clear()
        super().log(logs, start_time)


class _ClampLogitScale(TrainerCallback):
    """Keeps the learned scale at 100 or below, and ClapModel's second log-scale equal to the first."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        clap = plain_clap(kwargs["model"])
        with torch.no_grad():
            clap.logit_scale_a.clamp_(max=MAX_LOG_SCALE)
            clap.logit_scale_t.copy_(clap.logit_scale_a)


def _pick_wording(inputs: Mapping[str, Tensor], plain: bool) -> dict[str, Tensor]:
    """The batch with one wording of its captions: "plain_*" in the place of "*", or left out."""
    chosen = {name: tensor for name, tensor in inputs.items() if not name.startswith("plain_")}
    if plain:
        said_plainly = {name.removeprefix("plain_"): t for name, t in inputs.items() if name.startswith("plain_")}
        if not said_plainly:
            raise ValueError("plain_share needs both wordings in the batch: GroupCollator(..., plain_wording=True)")
        chosen |= said_plainly
    return chosen


def _check_processor(processor: Any) -> ClapProcessor:
    """A checkpoint is pushed with the processor that it was trained with, and never with one that tiles."""
    if not isinstance(processor, ClapProcessor) or processor.feature_extractor.padding != "pad":
        raise ValueError(
            "to be pushed, a model needs its ClapProcessor, as load_clap gives it (padding='pad'): processing_class=..."
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


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _memory_gib(device: torch.device) -> float:
    """Memory in use: the device's peak on CUDA, otherwise the process's resident set."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return psutil.Process().memory_info().rss / 2**30
