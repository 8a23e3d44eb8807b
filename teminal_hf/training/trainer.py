"""`TeminalTrainer`: a `transformers.Trainer` whose loss contrasts the views of a batch of groups."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import TrainerCallback, set_seed
from transformers.trainer_utils import EvalLoopOutput

from teminal_hf.audio.features import Features, features_of
from teminal_hf.audio.log_mel import device_of_features
from teminal_hf.data.views import PAIR, STAGE_B_VIEWS
from teminal_hf.errors import ConfigError, DivergedError
from teminal_hf.models.fusion import with_fusion
from teminal_hf.models.split import towers_of, unwrap_model
from teminal_hf.models.stages import frozen_modules
from teminal_hf.models.tokenizer import fit_to_towers
from teminal_hf.training.averaging import Averaging
from teminal_hf.training.checkpoints import WholeCheckpoints, newest_whole
from teminal_hf.training.config import ALPHAS, TeminalConfig, check_training
from teminal_hf.training.data_collator import GroupCollator, pick_wording
from teminal_hf.training.estimate import EstimateCallback
from teminal_hf.training.losses import symmetric_infonce, temporal_contrastive_loss, text_hinge
from teminal_hf.training.push_mixin import PushMixin
from teminal_hf.training.retention import Drawn, Reference
from teminal_hf.training.sharded_losses import Batch, gathered_batch, infonce_share, own_batch, temporal_share
from teminal_hf.training.streams import StreamMixin

MAX_LOG_SCALE = math.log(100.0)  # as in CLIP


class TeminalTrainer(PushMixin, StreamMixin, WholeCheckpoints):
    """Post-trains a `ClapModel` or `PeAudioModel` prepared by `apply_stage` on groups of views.

    Every batch makes one forward through each tower for all views of all groups. With several processes each computes
    the loss of its own rows against those of all, gathered with their gradient, so that loss and gradients are those of
    one process with the whole batch, the last and smaller one of an epoch among them. The named parts of the loss are
    logged as `loss_<part>`.

    Training rows may be a `CaptionStream` (its own loader makes batches of it, without end), and so may pairs beside
    them (`pairs=`, read by `pairs_workers=`): each step hears as many as groups, contrasted among themselves.

    Args:
        reference: what the starting checkpoint knows, filled; needed for `retention` and `mixture`.
        goes_on: from weights that know of order: no warning of a schedule too short to learn it.
        zste: called at every evaluation with the plain model, returns figures logged as `eval_zste_<task>`.

    Everything else is as in `transformers.Trainer`.
    """

    args: TeminalConfig
    model: nn.Module

    # A contrastive loss is a mean over its own micro-batch: the Trainer must divide it by the number of micro-batches
    # (huggingface/transformers#47688) ...
    loss_is_scaled_for_ga = False

    def __init__(
        self,
        *args: Any,
        reference: Reference | None = None,
        zste: Callable[[nn.Module], dict[str, float]] | None = None,
        goes_on: bool = False,
        **kwargs: Any,
    ) -> None:
        try:
            super().__init__(*args, **kwargs)
        except (ValueError, ImportError, NotImplementedError) as error:  # of settings that transformers cannot follow
            raise ConfigError(" ".join(str(error).split())) from error
        if (self.args.retention or self.args.mixture) and reference is None:
            raise ValueError("retention and mixture need what the starting checkpoint knows as reference=")
        self.reference = reference
        self.model_accepts_loss_kwargs = False  # ... and must not count tokens
        self.can_return_loss = True  # otherwise eval_loss is missing: the models' own flag defaults to None
        self.zste = zste
        if hasattr(self.processing_class, "tokenizer"):
            fit_to_towers(self.processing_class)  # it is saved beside every checkpoint
        self._frozen = frozen_modules(self.model)
        self._hear: Features | None = None
        # With torch_compile accelerate compiles what it is given, the model, which knows no loss.
        self._temporal_loss, self._infonce = temporal_contrastive_loss, symmetric_infonce
        if self.args.torch_compile:
            how: dict[str, Any] = {"backend": self.args.torch_compile_backend, "mode": self.args.torch_compile_mode}
            self._temporal_loss = torch.compile(temporal_contrastive_loss, **how)
            self._infonce = torch.compile(symmetric_infonce, **how)
        self._parts: defaultdict[str, list[Tensor]] = defaultdict(list)
        self.add_callback(_ClampLogitScale())
        self.average = Averaging(self.args.average)
        self.add_callback(self.average)
        self.add_callback(EstimateCallback(goes_on))
        if draw := getattr(self.train_dataset, "draw_captions", None):
            if draw(self.args.seed, 0) and self.args.dataloader_persistent_workers:
                raise ConfigError(
                    "dataloader_persistent_workers would say the captions of the first epoch in all of them, and there "
                    "are recordings with several; leave it out"
                )
            self.add_callback(_DrawCaptions(draw))
        if isinstance(self.data_collator, GroupCollator) and list(self.data_collator.views) != list(self.args.views):
            raise ValueError(f"the collator's views {self.data_collator.views} are not the config's {self.args.views}")
        if self.train_dataset is not None:
            check_training(self.args)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """As in `Trainer`, from the seed, whatever the process has drawn since this trainer was made."""
        set_seed(self.args.seed)
        return super().train(*args, **kwargs)

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """As in `Trainer`, with log-mels in the place of waveforms."""
        tensors: dict[str, Any] = super()._prepare_inputs(inputs)
        for part in (tensors, tensors.get("pairs", {})):
            if "waveforms" in part:
                if self._hear is None:
                    processor: Any = getattr(self.data_collator, "processor", self.processing_class)
                    self._hear = features_of(processor.feature_extractor).to(device_of_features(self.args.device))
                waveforms = part.pop("waveforms").to(self._hear.device)
                part["input_features"] = self._hear(waveforms).to(self.args.device)
        return tensors

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
        tensors = pick_wording(inputs, plain=self._is_plain_step(model.training))
        meanings, clips = tensors.pop("meanings"), tensors.pop("clips", None)
        counts: Any = tensors.pop("counts", None)
        drawn = self._draw() if model.training else None
        also: dict[str, Any] | None = None if drawn is None else drawn.inputs
        order = {name.removeprefix("order_"): tensors.pop(name) for name in [*tensors] if name.startswith("order_")}
        order = order if model.training else {}
        if order:
            also = {**order, "also": also}
        pairs, pair_meanings, pair_counts = self.pop_pairs(tensors)
        if pairs is not None:
            also = {**pairs, "also": also}
        outputs = model(**tensors, chunk_rows=self._chunk_rows, also=also)
        ends = [len(meanings), len(meanings) + len(pair_meanings)]
        audio, pair_audio, also_audio = outputs.audio_embeds.tensor_split(ends)
        ends.append(ends[-1] + len(order.get("attention_mask", ())))
        text, pair_text, order_text, also_text = outputs.text_embeds.tensor_split(ends)
        parts = self.contrast(audio, text, meanings, gather=model.training, counts=counts)
        if pairs is not None:
            batch = self._batch(pair_audio, pair_text, pair_meanings, 1, model.training, pair_counts)
            self._add_pairs(parts, batch)
        if drawn is not None:
            assert self.reference is not None
            if self.args.retention:
                parts["retention"] = self.reference.departure(also_audio, also_text, drawn)
            if self.args.mixture and clips is not None:
                parts["mixture"] = self._mixture(audio, clips, drawn.sentence, counts)
        if order:
            parts["text_hinge"] = self._hinge(text, order_text, counts)
        for name in ("retention", "mixture", "text_hinge"):
            if name in parts:
                parts["loss"] = parts["loss"] + getattr(self.args, name) * parts[name]
        if not parts["loss"].isfinite():
            raise DivergedError(self._diverged(parts))
        if model.training:
            for name, value in parts.items():
                if name != "loss":
                    self._parts[name].append(value.detach())
        return (parts["loss"], {"loss": parts["loss"]}) if return_outputs else parts["loss"]

    def _diverged(self, parts: Mapping[str, Tensor]) -> str:
        bad = [f"{name} ({value.item()})" for name, value in parts.items() if not value.isfinite() and name != "loss"]
        checkpoint = newest_whole(Path(str(self.args.output_dir)))
        saved = f"the last good checkpoint is {checkpoint}" if checkpoint else "no checkpoint had been written"
        return (
            f"the loss is not finite at step {self.state.global_step + 1}: {', '.join(bad) or 'its weighted sum'}; the "
            f"weights of this run are not saved, {saved}. A lower learning_rate than {self.args.learning_rate:g}, "
            "gradient clipping (max_grad_norm) or float32 is the usual way out; `teminal doctor` checks the start"
        )

    def _draw(self) -> Drawn | None:
        """Recordings and captions of this step, the same however often it was interrupted before."""
        if self.reference is None or not (self.args.retention or self.args.mixture):
            return None
        return self.reference.draw(self.state.global_step, self.args.process_index, self.args.world_size)

    @property
    def _chunk_rows(self) -> int:
        return self.args.mini_batch_groups * len(self.args.views)

    def _is_plain_step(self, training: bool) -> bool:
        return training and self.state.global_step < self.args.plain_share * self.state.max_steps

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """As in `Trainer`; the last batch of an epoch says how many groups of each process count (`counts`).

        All processes' shares are of one size: accelerate fills the last ones up with groups of the first. One process,
        to which several must be equal, takes a smaller batch there.
        """
        batches, n_items = super().get_batch_samples(*args, **kwargs)
        ends = batches and self.accelerator.gradient_state.end_of_dataloader and not self.args.dataloader_drop_last
        if ends and self.args.world_size > 1 and isinstance(self.train_dataset, Sized):
            size, processes = self._train_batch_size, self.args.world_size
            n_groups = len(self.train_dataset) % (size * processes)
            counts = [min(max(n_groups - rank * size, 0), size) for rank in range(processes)]
            batches[-1] |= {"counts": counts} if n_groups else {}
        return batches, n_items

    def contrast(
        self,
        audio_embeds: Tensor,
        text_embeds: Tensor,
        meanings: Tensor,
        *,
        gather: bool,
        counts: Sequence[int] | None = None,
    ) -> dict[str, Tensor]:
        """Named losses of a batch in view blocks, (K*N, D) embeddings and (K*N, m) meanings.

        With `gather` they are this process' shares of those of all processes' batches, of which the first groups
        count, so many of each process; see `Batch`.
        """
        views, args = list(self.args.views), self.args
        everything = self._batch(audio_embeds, text_embeds, meanings, len(views), gather, counts)

        def of(names: Sequence[str]) -> Batch:
            return everything.of([views.index(name) for name in names])

        scale = towers_of(self.model).scale
        temporal = [view for view in STAGE_B_VIEWS if view in views]
        losses: dict[str, Tensor] = {}
        if temporal:
            alphas = {name: getattr(args, name) for name in ALPHAS}
            losses |= temporal_share(of(temporal), temporal, scale, alphas, args.beta, whole=self._temporal_loss)
        others = [view for view in views if view not in (*temporal, PAIR)]
        if others:
            infonce = infonce_share(of(others), scale, whole=self._infonce)
            if temporal:
                losses["rehearsal"] = infonce["loss"]
                losses["loss"] = losses["loss"] + args.rehearsal * infonce["loss"]
            else:
                losses = infonce
        if PAIR in views:
            self._add_pairs(losses, of([PAIR]))
        return losses

    def _add_pairs(self, losses: dict[str, Tensor], pairs: Batch) -> None:
        """Contrasted among themselves: what else their captions may hold of is not known."""
        losses["pairs"] = infonce_share(pairs, towers_of(self.model).scale, whole=self._infonce)["loss"]
        losses["loss"] = losses.get("loss", 0) + self.args.pairs_weight * losses["pairs"]

    def _batch(self, audio: Tensor, text: Tensor, meanings: Tensor, n_views: int, gather: bool, counts: Any) -> Batch:
        batch = gathered_batch if gather and self.args.world_size > 1 else own_batch
        return batch(audio, text, meanings, n_views, counts)

    def _counted(self, n: int, counts: Sequence[int] | None) -> tuple[int, float]:
        """Of `n` groups here those that count, and by how much their mean is to be multiplied so that the mean over
        processes is that over all groups."""
        processes = self.args.world_size
        counts = counts or [n] * processes
        here = counts[self.args.process_index]
        return here, here * processes / sum(counts)

    def _hinge(self, text: Tensor, order: Tensor, counts: Sequence[int] | None) -> Tensor:
        """This process' share of `text_hinge` over the captions of both orders."""
        ways = order.chunk(4)
        here, share = self._counted(len(ways[0]), counts)
        if not here:
            return order.sum() * 0
        said = dict(zip(self.args.views, text.chunk(len(self.args.views)), strict=True))
        forward, reversed_ = ([way[:here] for way in each] for each in (ways, ways[2:] + ways[:2]))
        return (
            share * (text_hinge(said["forward"][:here], forward) + text_hinge(said["reversed"][:here], reversed_)) / 2
        )

    def _mixture(self, audio: Tensor, clips: Tensor, sentence: int, counts: Sequence[int] | None) -> Tensor:
        """This process' share of `Reference.mixture` over all processes' recordings of groups that count."""
        assert self.reference is not None
        n = len(audio) // len(self.args.views)
        here, share = self._counted(n, counts)
        rows = torch.tensor([[view != PAIR and i < here for i in range(n)] for view in self.args.views]).flatten()
        if not rows.any():
            return audio.new_zeros(())
        rows = rows.to(audio.device)
        return self.reference.mixture(audio[rows], clips[rows], sentence) * share

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        plain = None if isinstance(self.model, PeftModel) else unwrap_model(self.model)
        if state_dict is None and plain is not None:
            with with_fusion(plain) as tensors:
                super()._save(output_dir, tensors)
        else:
            super()._save(output_dir, state_dict)
        self.average.save(Path(str(output_dir or self.args.output_dir)))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, *args: Any, **kwargs: Any) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, *args, **kwargs)
        self.average.load(Path(resume_from_checkpoint))

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

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        """As in `Trainer`, the audio tower at its own share of the learning rate."""
        optimizer = super().create_optimizer(*args, **kwargs)
        if self.args.audio_rate != 1:
            audio = {id(p) for module in towers_of(self.model).audio_side for p in module.parameters()}
            for group in list(optimizer.param_groups):
                options = {name: value for name, value in group.items() if name not in ("params", "lr")}
                apart = [p for p in group["params"] if id(p) in audio]
                group["params"] = [p for p in group["params"] if id(p) not in audio]
                if apart:
                    options |= {"params": apart, "lr": group["lr"] * self.args.audio_rate}
                    optimizer.add_param_group(options)
        return optimizer

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """As in `Trainer`, but the logit scale is no weight: decay would pull the temperature to 1."""
        return [name for name in super().get_decay_parameter_names(model) if "logit_scale" not in name]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            here = {name: torch.stack(values).mean() for name, values in self._parts.items()}
            shares = self.accelerator.reduce(here, "mean")  # as `Trainer` does for "loss"
            logs |= {f"loss_{name}": float(value) for name, value in shares.items()}
            self._parts.clear()
        super().log(logs, start_time)


class _ClampLogitScale(TrainerCallback):
    """Keeps a learned scale at 100 or below."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        towers = towers_of(kwargs["model"])
        if towers.log_scale is not None:
            towers.log_scale.data.clamp_(max=MAX_LOG_SCALE)
        towers.settle()


class _DrawCaptions(TrainerCallback):
    """Recordings with several captions say one of them in each epoch, the same however often it was interrupted."""

    def __init__(self, draw: Callable[[int, int], bool]) -> None:
        self.draw = draw

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.draw(args.seed, int(state.epoch or 0))
