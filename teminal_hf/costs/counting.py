"""What a recipe does, counted from its configuration: the run's own parts are made, and nothing is computed."""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import torch
from peft import PeftModel

from teminal_hf.audio.waveform import Waveform, trim_silence
from teminal_hf.clips.store import ClipStore
from teminal_hf.clips.table import ClipTable
from teminal_hf.costs.bill import Constants, Counts, Part
from teminal_hf.errors import ConfigError
from teminal_hf.evaluation.evaluator import ZsteEvaluator
from teminal_hf.evaluation.known import Evaluation, further_clips
from teminal_hf.models.checkpoint import load_checkpoint
from teminal_hf.models.embed import encoder_of
from teminal_hf.models.split import TrainedModel
from teminal_hf.models.stages import Trainable, apply_stage
from teminal_hf.runs.arguments import Config, read_config
from teminal_hf.runs.cached_prefix import Speeds, decide, epochs_of
from teminal_hf.runs.final_report import evaluators
from teminal_hf.runs.lineage import starting_point
from teminal_hf.runs.training_data import TrainingData, caption_pair_data, group_data, reference_of
from teminal_hf.storage.tensor_store import TensorStore
from teminal_hf.training.cached_groups import CachedGroups
from teminal_hf.training.config import TeminalConfig
from teminal_hf.training.data_collator import GroupCollator
from teminal_hf.training.retention import Reference

WEIGHT = 4  # bytes
MOMENTS = 2  # that AdamW keeps of each trained weight


class Undecoded(ClipStore):
    """Stands in for the store of a table's clips: each is decoded when it is first heard, and none before."""

    def __init__(self, table: ClipTable, sampling_rate: int) -> None:
        self._table, self.sampling_rate = table, sampling_rate
        self._decoded: dict[int, Waveform] = {}

    def __len__(self) -> int:
        return len(self._table)

    def __reduce__(self) -> tuple[Any, ...]:
        return Undecoded, (self._table, self.sampling_rate)

    def waveform(self, number: int, *, trim: bool) -> Waveform:
        if number not in self._decoded:
            self._decoded[number] = self._table.reader(self._table.rows[number], self.sampling_rate)
        sound = self._decoded[number]
        return trim_silence(sound, self.sampling_rate) if trim else sound

    def content(self, number: int) -> str:
        return self._table.ids[number]


def undecoded(table: ClipTable, sampling_rate: int) -> ClipTable:
    """The table as if it were decoded."""
    store = Undecoded(table, sampling_rate)
    return replace(table, addresses=tuple((store, number) for number in range(len(table))))


@contextmanager
def nothing_kept() -> Iterator[Path]:
    """A cache of its own for what is tried here, removed afterwards."""
    before = os.environ.get("TEMINAL_CACHE")
    with TemporaryDirectory(prefix="teminal-estimate-") as folder:
        os.environ["TEMINAL_CACHE"] = folder
        try:
            yield Path(folder)
        finally:
            del os.environ["TEMINAL_CACHE"]
            if before is not None:
                os.environ["TEMINAL_CACHE"] = before


@dataclass(frozen=True)
class Trial:
    """One phase as the recipe would train it, with all that its stores need."""

    config: Config
    data: TrainingData
    collator: GroupCollator
    reference: Reference | None
    groups: CachedGroups
    validation: CachedGroups | None


@dataclass(frozen=True)
class Planned:
    """A recipe whose parts are made and not run."""

    config: Config
    tuned: TrainedModel | PeftModel
    processor: Any
    trainable: Trainable
    clips: ClipTable | None
    trials: Sequence[Trial]
    during: ZsteEvaluator | None = None
    final: Evaluation | None = None


def plan_recipe(stage: str, argv: Sequence[str], defaults: Path) -> Planned:
    """The parts of `teminal train STAGE ARGV`, made in the order in which the recipe makes them. Sounds of a recipe of
    clips are not decoded; a user's own pairs are, as their checks need it."""
    config = read_config(stage, argv, defaults)
    pairs = stage == "plain_pairs"
    if config.data.streaming:
        raise ConfigError(
            "what a stream takes is not estimated: its rows are not known before they come, and nothing is kept. The "
            "training itself says after some steps how long the rest will take"
        )
    clips = None if pairs else config.data.load()
    folds = {} if clips is None else config.data.folds(clips)
    start = starting_point(config, folds or None)
    model, processor = load_checkpoint(start.checkpoint)
    rate = int(processor.feature_extractor.sampling_rate)
    if clips is not None:
        clips = undecoded(clips.in_folds(fold for chosen in folds.values() for fold in chosen), rate)
    tuned, trainable = apply_stage(model, config.run.policy())
    torch.nn.Module.to(model, config.training.device)
    trials = []
    for part in config.parts:
        extractor = processor.feature_extractor
        data = caption_pair_data(part, extractor) if clips is None else group_data(part, clips, folds, extractor)
        reference = reference_of(part, start.checkpoint if pairs else start.base, tuned, processor, data)
        collator = GroupCollator.of(processor, part.training)
        with _precision(part.training):
            kept = partial(
                CachedGroups, tuned, part.run.policy().split_point, collator=collator, dtype=part.run.cache_dtype
            )
            validation = None if data.validation is None else kept(groups=data.validation)
            trials.append(Trial(part, data, collator, reference, kept(groups=data.train), validation))
    during, final = None, None
    if clips is not None:
        further = further_clips(config.run.known, config.data, config.run.known_names or None)
        heard = {name: undecoded(table, rate) for name, table in further.items()}
        during, final = evaluators(config, trials[0].data, heard, start.history)
    return Planned(config, tuned, processor, trainable, clips, trials, during, final)


def _precision(args: TeminalConfig) -> torch.autocast:
    return torch.autocast(args.device.type, torch.bfloat16, enabled=args.bf16)


def count(
    planned: Planned, constants: Constants, free: int, disk_seconds: Callable[[int], tuple[float, float]]
) -> Counts:
    """Of all phases, on an empty cache.

    Args:
        constants: decide, with `disk_seconds`, on a cache that outgrows the memory.
        free: bytes on the cache's disk.
    """
    split_point, kept = planned.config.run.policy().split_point, planned.config.run.split_point is not None
    encoder = encoder_of(planned.tuned, planned.processor)
    of_final = [] if planned.final is None else list(planned.final.stores(encoder, split_point))
    of_during = [] if planned.during is None else list(planned.during.stores(encoder, split_point))
    model_bytes = sum(t.numel() * t.element_size() for t in _plain(planned.tuned))
    seen: set[Path] = set()
    parts = []
    for trial in planned.trials:
        args, run = trial.config.training, trial.config.run
        stores = [*trial.groups.stores, *(trial.validation.stores if trial.validation else ())]
        new = [store for store in stores if store.folder not in seen]
        epochs = epochs_of(args, len(trial.data.train))
        n_bytes, missing = (sum(store.n_bytes for store in some) for some in (stores, new))
        cached, why = run.cache_prefix, "as told"
        if cached is None:
            recordings, captions = amounts(stores)
            prefix = recordings * constants.recording + captions * constants.caption
            speeds = partial(_speeds, prefix, n_bytes, disk_seconds)
            memory = psutil.virtual_memory().total
            decision = decide(epochs=epochs, n_bytes=n_bytes, missing=missing, free=free, memory=memory, speeds=speeds)
            cached, why = decision.cached, decision.why
        computed = [*(new if cached else []), *(trial.reference.stores if trial.reference else ())]
        if kept:
            computed += of_during
        computed = [store for store in _each_once(computed) if store.folder not in seen]
        seen |= {store.folder for store in computed}
        steps, batch = steps_of(args, len(trial.data.train)), groups_of(args)
        validated = trial.validation.stores if trial.validation else ()
        recordings, captions = amounts(computed)
        last = trial is planned.trials[-1]
        parts.append(
            Part(
                name=trial.config.phase,
                recordings=recordings,
                captions=captions,
                cached=cached,
                why=why,
                cache_bytes=sum(store.n_bytes for store in computed),
                steps=steps,
                batch=batch,
                step_recordings=batch * len(args.views),
                step_captions=batch * len(args.views),
                evaluations=_times(args.eval_strategy, args.eval_steps, steps, args.num_train_epochs, args.max_steps),
                evaluated=amounts([*validated, *of_during]),
                epochs=epochs,
                checkpoint_bytes=_checkpoints(args, steps, model_bytes, planned.trainable) if last else model_bytes,
            )
        )
    report = [store for store in of_final if store.folder not in seen]
    return Counts(
        clips=0 if planned.clips is None else len(planned.clips),
        parts=parts,
        report=amounts(of_final),
        report_bytes=sum(store.n_bytes for store in report) if kept else 0,
        model_bytes=model_bytes,
        kept=kept,
    )


def amounts(stores: Iterable[TensorStore]) -> tuple[int, int]:
    """Recordings, captions: of these stores."""
    recordings = captions = 0
    for store in stores:
        if len(store.row_shape) == 3:  # views, tokens, channels
            recordings += store.n_rows * store.row_shape[0]
        else:
            captions += store.n_rows
    return recordings, captions


def steps_of(args: TeminalConfig, n_rows: int) -> int:
    """Optimizer steps, as `Trainer` counts them."""
    if args.max_steps > 0:
        return args.max_steps
    batch = args.per_device_train_batch_size * args.world_size
    batches = n_rows // batch if args.dataloader_drop_last else math.ceil(n_rows / batch)
    return math.ceil(args.num_train_epochs * max(1, math.ceil(batches / args.gradient_accumulation_steps)))


def groups_of(args: TeminalConfig) -> int:
    """Of one step, on each process."""
    return args.per_device_train_batch_size * args.gradient_accumulation_steps


def _speeds(prefix: float, n_bytes: int, disk_seconds: Callable[[int], tuple[float, float]]) -> Speeds:
    probe = 64 * 2**20
    write, read = (n_bytes / probe * seconds for seconds in disk_seconds(probe))
    return Speeds(prefix, write, read)


def _times(strategy: Any, every: float | None, steps: int, epochs: float, max_steps: int) -> int:
    """How often something is done in training."""
    if strategy == "no":
        return 0
    if strategy == "steps":
        every = every or 1
        return int(steps // (every if every >= 1 else max(1, math.ceil(every * steps))))
    return 1 if max_steps > 0 else math.ceil(epochs)


def _checkpoints(args: TeminalConfig, steps: int, model_bytes: int, trainable: Trainable) -> int:
    saved = _times(args.save_strategy, args.save_steps, steps, args.num_train_epochs, args.max_steps)
    there = min(saved, args.save_total_limit or saved)
    state = 0 if args.save_only_model else MOMENTS * WEIGHT * trainable.count
    return there * (model_bytes + state + (WEIGHT * trainable.count if args.average else 0))


def _each_once(stores: Iterable[TensorStore]) -> list[TensorStore]:
    by_folder: Mapping[Path, TensorStore] = {store.folder: store for store in stores}
    return list(by_folder.values())


def _plain(model: TrainedModel | PeftModel) -> Iterator[torch.Tensor]:
    """The tensors of the plain model, without adapters."""
    return (tensor for name, tensor in model.state_dict().items() if ".lora_" not in name)
