"""The data of a run read through the cache of frozen prefixes, and whether that pays."""

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psutil
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from torch import nn

from teminal_hf.evaluation.evaluator import ZsteEvaluator
from teminal_hf.evaluation.known import Evaluation
from teminal_hf.models.embed import encoder_of
from teminal_hf.models.frozen_prefix import FrozenPrefix, announce
from teminal_hf.models.split import unwrap_model
from teminal_hf.runs.arguments import Config
from teminal_hf.runs.run import Run
from teminal_hf.runs.run_folder import CACHED, read_record, write_record
from teminal_hf.runs.training_data import TrainingData
from teminal_hf.storage.cache import cache_root
from teminal_hf.training.cached_groups import CachedGroups, collate_cached
from teminal_hf.training.config import TeminalConfig
from teminal_hf.training.data_collator import GroupCollator
from teminal_hf.training.retention import Reference

logger = logging.getLogger(__name__)

# Of the free disk, what a cache may take unasked; of the memory, what the system keeps of its pages for certain.
DISK_SHARE, MEMORY_SHARE = 0.9, 0.5
_ROWS, _PROBE_BYTES = 8, 64 * 2**20  # what is timed where speeds decide


@dataclass(frozen=True)
class Speeds:
    """Seconds that all recordings of a training take: through features and frozen layers, onto the disk, from it."""

    prefix: float
    write: float
    read: float


@dataclass(frozen=True)
class Decision:
    """Whether the frozen layers' output is kept, and why."""

    cached: bool
    why: str


def decide(
    *, epochs: float, n_bytes: int, missing: int, free: int, memory: int, speeds: Callable[[], Speeds]
) -> Decision:
    """Cache or recompute, by what can be counted; by measured speeds only where the cache outgrows the memory.

    A cache costs one pass of what is missing, recomputing one pass an epoch.

    Args:
        epochs: how often each recording is heard in training.
        n_bytes: of the cache; `missing` of them are still to be computed.
        free: bytes on the cache's disk.
        memory: bytes of the machine.
        speeds: asked only where they matter.
    """
    size = f"{n_bytes / 2**30:.1f} GiB"
    if not missing:
        return Decision(True, "all of it is in the cache already")
    if missing > DISK_SHARE * free:
        return Decision(False, f"the cache would take {missing / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free")
    passes = missing / n_bytes
    if epochs <= passes:
        return Decision(False, f"{epochs:.3g} epoch(s) hear no more than the first pass would compute")
    if n_bytes <= MEMORY_SHARE * memory:
        return Decision(True, f"{passes:.2g} pass(es) of the frozen layers instead of {epochs:.3g}, {size} on disk")
    found = speeds()
    kept = passes * (found.prefix + found.write) + epochs * found.read
    anew = epochs * found.prefix
    compared = f"about {kept / 60:.0f} min with the {size} that memory cannot hold, {anew / 60:.0f} min without"
    return Decision(kept < anew, f"{compared} (measured here, in one process)")


def cache_or_recompute(
    config: Config, run: Run, model: nn.Module, collator: GroupCollator, data: TrainingData
) -> Config:
    """`config` with `cache_prefix: auto` decided: said in one line, and kept in the run's record, by which it is
    resumed. The main process decides for all."""
    if config.run.cache_prefix is not None:
        return config
    recorded = read_record(run.folder).get(CACHED, {})
    chosen: list[Any] = [recorded.get(config.phase) if config.run.resume else None]
    if PartialState().is_main_process and chosen[0] is None:
        decision = _decision(config, model, collator, data)
        logger.warning("%s the frozen layers: %s", "caching" if decision.cached else "recomputing", decision.why)
        write_record(run.folder, **{CACHED: recorded | {config.phase: decision.cached}})
        chosen = [decision.cached]
    if PartialState().num_processes > 1:
        broadcast_object_list(chosen)
    return replace(config, run=replace(config.run, cache_prefix=bool(chosen[0])))


def _decision(config: Config, model: nn.Module, collator: GroupCollator, data: TrainingData) -> Decision:
    if not hasattr(data.train, "__len__"):
        return Decision(False, "the recordings are a stream")
    args, split_point, dtype = config.training, config.run.policy().split_point, config.run.cache_dtype
    model.to(args.device)
    with torch.autocast(args.device.type, torch.bfloat16, enabled=args.bf16):
        kept = (
            CachedGroups(model, split_point, rows, collator, dtype=dtype)
            for rows in (data.train, data.validation)
            if rows is not None
        )
        stores = [store for groups in kept for store in groups.stores]
        prefix = FrozenPrefix(unwrap_model(model), split_point, collator.processor, dtype)
        n_bytes = sum(store.n_bytes for store in stores)
        return decide(
            epochs=epochs_of(args, len(data.train)),
            n_bytes=n_bytes,
            missing=sum(store.missing_bytes for store in stores),
            free=shutil.disk_usage(cache_root()).free,
            memory=psutil.virtual_memory().total,
            speeds=lambda: _speeds(prefix, collator, data.train, n_bytes),
        )


def epochs_of(args: TeminalConfig, n_rows: int) -> float:
    """How often each row is heard in training."""
    if args.max_steps <= 0:
        return args.num_train_epochs
    batch = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    return args.max_steps * batch / n_rows


def _speeds(prefix: FrozenPrefix, collator: GroupCollator, rows: Any, n_bytes: int) -> Speeds:
    """Measured on a few rows, and with a file on the cache's disk that is removed again."""
    some = [rows[row] for row in range(min(_ROWS, len(rows)))]
    prefix.audio(collator.hear(collator.waveforms(some[:1]))[None])  # warms up
    began = time.perf_counter()
    for row in range(len(some)):
        prefix.audio(collator.hear(collator.waveforms([rows[row]]))[None])
    seconds = (time.perf_counter() - began) / len(some) * len(rows)
    write, read = (n_bytes / _PROBE_BYTES * each for each in disk_seconds(_PROBE_BYTES))
    return Speeds(seconds, write, read)


def disk_seconds(n_bytes: int) -> tuple[float, float]:
    """How long the cache's disk takes to write so many bytes, and to read them where memory does not hold them."""
    with tempfile.NamedTemporaryFile(dir=cache_root()) as file:
        began = time.perf_counter()
        file.write(os.urandom(n_bytes))
        file.flush()
        os.fsync(file.fileno())
        written = time.perf_counter()
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        file.seek(0)
        while file.read(2**20):
            pass
        return written - began, time.perf_counter() - written


def rows_to_train_on(
    config: Config,
    model: nn.Module,
    collator: GroupCollator,
    data: TrainingData,
    reference: Reference | None,
    evaluators: Sequence[ZsteEvaluator | Evaluation | None] = (),
) -> tuple[Any, Any, Any]:
    """Training and validation rows and their collator; with `cache_prefix` what the frozen layers say of them, computed
    where it is missing, as it always is for the reference. The room that the whole run needs on disk, its evaluations
    included, is asked for first."""
    if not config.run.cache_prefix:
        if reference is not None:
            announce(*reference.stores)
            reference.fill(config.training.dataloader_num_workers)
        return data.train, data.validation, collator
    args, split_point = config.training, config.run.policy().split_point
    model.to(args.device)
    with torch.autocast(args.device.type, torch.bfloat16, enabled=args.bf16):  # as the Trainer would run it
        train, validation = (
            None if rows is None else CachedGroups(model, split_point, rows, collator, dtype=config.run.cache_dtype)
            for rows in (data.train, data.validation)
        )
        parts = [part for part in (train, validation, reference) if part is not None]
        stores = [store for part in parts for store in part.stores]
        with torch.autocast(args.device.type, enabled=False):
            stores += [
                store
                for evaluator in evaluators
                if evaluator is not None
                for store in evaluator.stores(encoder_of(model, collator.processor), split_point)
            ]
        announce(*stores)
        for part in parts:
            part.fill(args.dataloader_num_workers)
    return train, validation, collate_cached
