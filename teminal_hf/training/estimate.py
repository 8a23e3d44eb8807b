"""Announcements of a training: what is trained, on how much, and how long it will take."""

import itertools
import logging
import math
import statistics
import time
from typing import Any

import psutil
import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState
from transformers.trainer_utils import has_length

from teminal_hf.models.stages import Trainable
from teminal_hf.training.config import TeminalConfig

logger = logging.getLogger(__name__)

WARM_UP, MEASURED = 3, 10  # steps that are slower than the rest, and those whose median is announced
# Order is a joint signal of both towers: said one way alone, it started after 200 to 300 steps in 7 of 7 runs, and
# the other wordings took 100 to 150 more (recipes/esc50_base/README.md).
PLAIN_STEPS, MIXED_STEPS = 250, 100


class EstimateCallback(TrainerCallback):
    """Says in one line what is trained before the first step, and in another, once the first steps have warmed up
    caches, threads and the loader, how long the rest will take."""

    def __init__(self, goes_on: bool = False) -> None:
        self._goes_on = goes_on
        self._ends: list[float] = []

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._ends = []
        if state.is_world_process_zero:
            logger.warning(describe(args, state, kwargs["model"], kwargs["train_dataloader"]))
            if not self._goes_on and (warning := too_short(args, state.max_steps)):
                logger.warning(warning)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if len(self._ends) > WARM_UP + MEASURED or not state.is_world_process_zero:
            return
        self._ends.append(time.perf_counter())
        left = state.max_steps - state.global_step
        if len(self._ends) == WARM_UP + MEASURED + 1 and left > 0:
            ends = self._ends[WARM_UP:]
            seconds = statistics.median(end - start for start, end in itertools.pairwise(ends))
            logger.warning(
                "%.2f s a step, %s for the %d left, %.1f GiB",
                seconds,
                duration(seconds * left),
                left,
                memory_gib(args.device),
            )


def too_short(args: TeminalConfig, max_steps: int) -> str:
    """What is wrong with a schedule that is shorter than order is known to need; "" where nothing is, and for stages
    that teach no order."""
    if not {"forward", "reversed"} <= set(args.views):
        return ""
    plain_steps = math.ceil(args.plain_share * max_steps)
    if plain_steps >= PLAIN_STEPS and max_steps - plain_steps >= MIXED_STEPS:
        return ""
    found = (
        f'{plain_steps} of {max_steps} steps say order one way only ("X before Y")'
        if plain_steps
        else (f"plain_share is 0, so that order is said in several ways in each of the {max_steps} steps")
    )
    return (
        f"this schedule is probably too short to learn order: {found}; it is known to need about {PLAIN_STEPS} such "
        f"steps, and {MIXED_STEPS} or more after them. Raise num_train_epochs or n_groups, or set plain_share (0.35 to "
        "0.5 are usual)"
    )


def describe(args: TeminalConfig, state: TrainerState, model: nn.Module, loader: Any) -> str:
    """One line: what is trained, on how much."""
    groups = str(len(loader.dataset)) if has_length(loader.dataset) else "a stream of"
    batch = args.per_device_train_batch_size * args.world_size * args.gradient_accumulation_steps
    return f"training {Trainable.of(model)} on {groups} groups, {batch} a step, {state.max_steps} steps"


def duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def memory_gib(device: torch.device) -> float:
    """Memory in use: the device's peak on CUDA, otherwise the process's resident set."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return psutil.Process().memory_info().rss / 2**30
