"""The constants of this machine and a model, measured in some seconds on the recipe's own recordings."""

import itertools
import logging
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.data import Dataset
from transformers import PrinterCallback, ProgressCallback, TrainerCallback

from teminal_hf.audio.waveform import Waveform
from teminal_hf.clips.store import MAX_THREADS
from teminal_hf.clips.table import ClipTable
from teminal_hf.costs.bill import Constants
from teminal_hf.costs.counting import Planned, Trial, groups_of
from teminal_hf.data.sound_names import SENTENCES
from teminal_hf.models.frozen_prefix import FrozenPrefix
from teminal_hf.models.split import towers_of, unwrap_model
from teminal_hf.training.cached_groups import CachedGroups, collate_cached
from teminal_hf.training.config import TeminalConfig
from teminal_hf.training.retention import ROWS, Drawn, Reference
from teminal_hf.training.trainer import TeminalTrainer

CLIPS, GROUPS, CAPTIONS = 16, 12, 64  # that are tried
WARM_UP, STEPS, SECONDS = 2, 10, 20.0  # steps; fewer where they are slow


@dataclass(frozen=True)
class Clock:
    """What tells the time: the wall's, or a process's own on a machine that others use as well; `started` is when the
    process did."""

    now: Callable[[], float]
    started: float

    @classmethod
    def wall(cls) -> "Clock":
        return cls(time.time, psutil.Process().create_time())

    @classmethod
    def cpu(cls) -> "Clock":
        return cls(time.process_time, 0.0)

    def seconds(self, do: Callable[[], Any]) -> float:
        """That `do` takes."""
        began = self.now()
        do()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return self.now() - began


def measure(planned: Planned, hardware: str, folder: Path, clock: Clock | None = None) -> Constants:
    """What the first phase costs here, by the wall's clock unless told otherwise; `folder` holds what the trainer
    writes."""
    clock = clock or Clock.wall()
    start = clock.now() - clock.started
    trial = planned.trials[0]
    clip, clip_bytes = (0.0, 0.0) if planned.clips is None else _decoding(planned.clips, trial, clock)
    few = FirstRows(trial.data.train, GROUPS)
    for row in range(len(few)):
        few[row]  # decodes the clips
    args, model = trial.config.training, unwrap_model(planned.tuned)
    towers, device = towers_of(model), model.device
    split_point = trial.config.run.policy().split_point
    with torch.autocast(args.device.type, torch.bfloat16, enabled=args.bf16):
        prefix = FrozenPrefix(model, split_point, planned.processor, trial.config.run.cache_dtype)
        captions = list(dict.fromkeys(_captions(trial)))[:CAPTIONS]
        _, ids_and_mask = prefix.captions(captions)
        prefix.text(ids_and_mask[:2])
        caption = clock.seconds(lambda: prefix.text(ids_and_mask)) / len(captions)
        CachedGroups(model, split_point, FirstRows(few, 2), trial.collator, dtype=prefix.dtype).fill()  # warms up
        groups = CachedGroups(model, split_point, few, trial.collator, dtype=prefix.dtype)
        tokens, hidden = groups.stores
        filling = clock.seconds(groups.fill) - len(hidden) * caption
        recording = max(0.0, filling) / (tokens.n_rows * tokens.row_shape[0])
        batch = collate_cached([groups[i] for i in range(len(groups))])
        sounds, words, mask = batch["audio_tokens"], batch["text_hidden"], batch["attention_mask"]
        with torch.inference_mode():
            heard = clock.seconds(lambda: towers.audio_suffix(split_point, sounds.to(device))) / len(sounds)
            read = clock.seconds(lambda: towers.text_suffix(split_point, words.to(device), mask.to(device)))
            width = towers.audio_suffix(split_point, sounds[:1].to(device)).shape[1]
    reference = None if trial.reference is None else Drawing(trial.reference, width, batch)
    trainer = _trainer(planned, trial, groups, reference, folder)
    steps = _Steps(clock)
    trainer.add_callback(steps)
    with _quiet():
        trainer.train()
    return Constants(
        hardware=hardware,
        parameters=planned.trainable.total,
        batch=groups_of(args),
        start=start,
        clip=clip,
        clip_bytes=clip_bytes,
        recording=recording,
        caption=caption,
        heard=heard,
        read=read / len(words),
        step=steps.seconds,
        memory=_memory(args),
    )


class FirstRows(Dataset[Any]):
    """The first of the rows that a training has, as rows of their own."""

    def __init__(self, rows: Any, n: int) -> None:
        self.manifest: Sequence[Mapping[str, Any]] = list(itertools.islice(rows.manifest, n))
        self.recordings_id: str = "of an estimate"
        self._rows = rows

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        row: Mapping[str, Any] = self._rows[index]
        return row


class Again(Dataset[dict[str, Tensor]]):
    """A few rows, over and over."""

    def __init__(self, rows: CachedGroups, n: int) -> None:
        self._rows, self._n = rows, n

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self._rows[index % len(self._rows)]


class Drawing(Reference):
    """Asks in every step what the reference set would, of recordings and captions that stand in for its own: what it
    costs depends on their number and sizes alone."""

    def __init__(self, reference: Reference, width: int, batch: Mapping[str, Tensor]) -> None:
        vars(self).update(vars(reference))
        device = reference._start.device
        generator = torch.Generator().manual_seed(0)
        self.audio_embeds, self.text_embeds = (
            normalize(torch.randn(n, width, generator=generator), dim=-1).to(device)
            for n in (sum(map(len, self._sets)), len(SENTENCES) * self._names)
        )
        self._scale = towers_of(reference._start).scale.item()
        self._sentences = self.text_embeds.unflatten(0, (len(SENTENCES), self._names))
        rows = torch.arange(ROWS)
        self._inputs = {
            name: batch[name][rows % len(batch[name])].to(device)
            for name in ("audio_tokens", "text_hidden", "attention_mask")
        }
        self._drawn = rows

    def draw(self, step: int, rank: int = 0, world_size: int = 1) -> Drawn:
        recordings, captions = (self._drawn % len(embeds) for embeds in (self.audio_embeds, self.text_embeds))
        return Drawn(self._inputs, recordings, captions, step % len(SENTENCES))


class _Steps(TrainerCallback):
    def __init__(self, clock: Clock) -> None:
        self._clock, self._ends = clock, list[float]()

    @property
    def seconds(self) -> float:
        ends = self._ends[min(WARM_UP, len(self._ends) - 2) :]
        return statistics.median(end - start for start, end in itertools.pairwise(ends))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if args.device.type == "cuda":
            torch.cuda.synchronize()
        self._ends.append(self._clock.now())
        control.should_training_stop = len(self._ends) > WARM_UP and self._ends[-1] - self._ends[0] > SECONDS


def _trainer(
    planned: Planned, trial: Trial, groups: CachedGroups, reference: Reference | None, folder: Path
) -> TeminalTrainer:
    given = trial.config.training
    steps = WARM_UP + STEPS
    args = trial.config.training_arguments(folder, None)
    changed: dict[str, Any] = {"max_steps": steps, "save_strategy": "no", "eval_strategy": "no", "report_to": []}
    changed |= {"logging_strategy": "no", "push_to_hub": False, "load_best_model_at_end": False, "plain_share": 0.0}
    for name, value in changed.items():
        setattr(args, name, value)
    trainer = TeminalTrainer(
        planned.tuned,
        args,
        data_collator=collate_cached,
        train_dataset=Again(groups, steps * groups_of(given)),
        processing_class=planned.processor,
        reference=reference,
        goes_on=True,
    )
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    return trainer


def _decoding(clips: ClipTable, trial: Trial, clock: Clock) -> tuple[float, float]:
    """Seconds, in as many threads as the store decodes with, and bytes of a clip."""
    rate = int(trial.collator.hear.sampling_rate)
    chosen = [clips.ids[i * len(clips) // CLIPS] for i in range(min(CLIPS, len(clips)))]
    threads = min(MAX_THREADS, os.cpu_count() or 1)

    def decode(clip: str) -> Waveform:
        return clips.waveform(clip, rate, trim=False)

    with ThreadPoolExecutor(threads) as pool:
        began = clock.now()
        samples = sum(map(len, pool.map(decode, chosen)))
        seconds = clock.now() - began
    return seconds / len(chosen), 2 * samples / len(chosen)


def _captions(trial: Trial) -> list[str]:
    some = list(itertools.islice(trial.data.train.manifest, CAPTIONS))
    return [caption for of in trial.collator.captions(some).values() for view in of for caption in view]


def _memory(args: TeminalConfig) -> int:
    """Of this process at its peak, or of the device: mapped files, which the system takes back, are left out."""
    if args.device.type == "cuda":
        return torch.cuda.max_memory_allocated(args.device)
    found = psutil.Process().memory_info()
    peak = _peak_resident() or found.rss
    return int(peak - getattr(found, "shared", 0))


def _peak_resident() -> int:
    """Bytes; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.is_file() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what a training says of itself."""
    logger = logging.getLogger("teminal_hf.training")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
