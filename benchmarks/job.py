"""What all contestants share: the job, its flags, the clock, the model in memory, the groups."""

import argparse
import importlib.util
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    ClapProcessor,
    ClapTextConfig,
    TrainerCallback,
    set_seed,
)

import teminal_hf
from harness import WORK
from teminal_hf.data.groups import GroupDataset, plan
from teminal_hf.data.rendering import Renderer, RenderSettings
from teminal_hf.data.views import STAGE_B_VIEWS
from teminal_hf.models.checkpoint import CLAP_MINI, load_clap
from teminal_hf.runs.arguments import DataArguments
from teminal_hf.storage import cache
from teminal_hf.storage.packaged import recipes_folder

FOLDS = [1, 2, 3]
LEARNING_RATE = 1e-4
BASE = "../shared/models/clap-esc50-base"


@dataclass(frozen=True)
class Job:
    """What is trained on what: the same for all contestants of a comparison. `batch` counts groups (three recordings
    and three captions each); `steps` ends the training early; `flags` go to the recipe; `keep` leaves the run
    folder."""

    checkpoint: str
    folder: str
    data_dir: str | None = None
    clips_per_class: int = 4
    groups: int = 24
    batch: int = 8
    epochs: int = 10
    steps: int = -1
    workers: int = 1
    bf16: bool = False
    tf32: bool = False
    cpu: bool = False
    flags: tuple[str, ...] = ()
    keep: bool = False

    def data(self) -> DataArguments:
        return DataArguments(
            data_dir=self.data_dir, clips_per_class=self.clips_per_class, train_folds=FOLDS, validation_folds=[],
            test_folds=[], n_groups=self.groups,
        )  # fmt: skip

    def training(self) -> dict[str, Any]:
        """`TrainingArguments` of every contestant."""
        return {
            "output_dir": self.folder,
            "num_train_epochs": self.epochs,
            "max_steps": self.steps,
            "per_device_train_batch_size": self.batch,
            "learning_rate": LEARNING_RATE,
            "dataloader_num_workers": self.workers,
            "dataloader_persistent_workers": self.workers > 0,
            "dataloader_pin_memory": torch.cuda.is_available() and not self.cpu,
            "bf16": self.bf16,
            "use_cpu": self.cpu or not torch.accelerator.is_available(),
            "logging_steps": 10,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "remove_unused_columns": False,
        }


class Clock(TrainerCallback):
    """Time of a contestant, less what is spent in `loading`; time between the ends of two steps, and of a step alone,
    without waiting for its batch."""

    def __init__(self) -> None:
        self.began, self.left_out = time.perf_counter(), 0.0
        self.marks: list[float] = []
        self.computing: list[float] = []
        self.loss: float | None = None

    @contextmanager
    def loading(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.left_out += time.perf_counter() - began

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.step_began = time.perf_counter()  # its batch is there by now

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.mark()
        self.computing.append(self.marks[-1] - self.step_began)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        logs = logs or {}
        # At the end comes the mean over all steps: of use where there were too few for a loss to be logged before.
        self.loss = logs.get("loss", self.loss or logs.get("train_loss"))

    def mark(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.marks.append(time.perf_counter())

    def report(self) -> dict[str, Any]:
        seconds = time.perf_counter() - self.began - self.left_out
        steps = [after - before for before, after in zip(self.marks, self.marks[1:], strict=False)]
        facts: dict[str, Any] = {"seconds": seconds, "steps": len(self.marks), "loss": self.loss}
        facts |= {"step_seconds": statistics.median(steps) if steps else seconds}
        facts |= {"computing_seconds": statistics.median(self.computing) if self.computing else None}
        if torch.cuda.is_available():
            facts |= {"cuda_peak_bytes": torch.cuda.max_memory_allocated()}
        return facts


def in_memory(model: nn.Module) -> None:
    """`from_pretrained` leaves weights in the mapped file until they are written to: frozen ones would then be missing
    from the anonymous memory of those contestants that freeze. Copied, they count for all alike."""
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()


def load(job: Job, clock: Clock) -> tuple[ClapModel, Any]:
    with clock.loading():
        set_seed(0)
        model, processor = load_clap(job.checkpoint)
        in_memory(model)
    return model, processor


def make_groups(job: Job, processor: Any) -> Any:
    """The rows that the recipe trains on, rendered when they are asked for."""
    data, extractor = job.data(), processor.feature_extractor
    clips = data.load().in_folds(FOLDS).usable(extractor.sampling_rate)
    rows = list(plan("stage_b", clips, data.n_groups, data.groups_seed, data.connectives))
    return GroupDataset(rows, Renderer(clips, RenderSettings.of_extractor(extractor)), STAGE_B_VIEWS)


def job_arguments(parser: argparse.ArgumentParser, **defaults: Any) -> None:
    """Flags of a `Job`; `defaults` override those of the class."""
    default = {name: field.default for name, field in Job.__dataclass_fields__.items()} | {"model": "laion"} | defaults
    what = "laion: random weights in the size of laion/clap-htsat-unfused; base: --checkpoint"
    parser.add_argument("--model", choices=("laion", "base"), default=default["model"], help=what)
    parser.add_argument("--checkpoint", help=f"folder or Hub id (base: {BASE})")
    parser.add_argument("--data_dir", help="ESC-50 folder (default: the sound bank, resampled)")
    for name in ("groups", "batch", "epochs", "workers"):
        parser.add_argument(f"--{name}", type=int, default=default[name])
    parser.add_argument("--bf16", action="store_true", help="bf16 autocast in all contestants")
    parser.add_argument("--tf32", action="store_true", help="TF32 in all contestants' products, on a GPU that has it")
    parser.add_argument("--cpu", action="store_true", help="even where there is a GPU")


def make_job(args: argparse.Namespace) -> Job:
    """The job that the flags describe; with `--smoke` one of seconds. Caches go to a folder of the benchmarks' own."""
    os.environ["TEMINAL_CACHE"] = str(WORK / "cache")
    where = {"folder": str(WORK / "run"), "data_dir": args.data_dir, "bf16": args.bf16, "tf32": args.tf32}
    if args.smoke:
        mini = str(Path(teminal_hf.__file__).parent / "models" / "clap_mini")
        return Job(mini, **where, clips_per_class=2, groups=8, batch=4, epochs=1, workers=0, cpu=True)
    if args.model == "base" and not args.checkpoint and not Path(BASE).is_dir():
        raise SystemExit(
            "--model base needs --checkpoint: a folder or Hub id of a small ClapModel; --model laion needs none"
        )
    path = args.checkpoint or (BASE if args.model == "base" else random_laion(WORK / "laion-random"))
    return Job(
        path, **where, groups=args.groups, batch=args.batch, epochs=args.epochs, workers=args.workers, cpu=args.cpu
    )


def suffix(args: argparse.Namespace) -> str:
    """What in a row's name tells it from the headline's: laion's size in fp32."""
    named = ((args.model, args.model != "laion"), ("bf16", args.bf16), ("tf32", args.tf32))
    settings = [name for name, on in named if on]
    return f" [{', '.join(settings)}]" if settings else ""


def forget_prefixes() -> None:
    """So that the next training makes its first pass."""
    cache.clear(("prefix",))


def stage_b_recipe() -> Any:
    """`recipes/stage_b.py` as a module."""
    path = recipes_folder() / "stage_b.py"
    spec = importlib.util.spec_from_file_location("stage_b_recipe", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def random_laion(folder: Path) -> str:
    """A checkpoint in the size of laion/clap-htsat-unfused (153.49 M parameters, 48 kHz) with random weights and
    clap-mini's words; made once."""
    if not (folder / "model.safetensors").is_file():
        set_seed(0)
        tokenizer = load_clap(CLAP_MINI)[1].tokenizer
        extractor = ClapFeatureExtractor(frequency_min=50, truncation="rand_trunc", padding="repeatpad")
        config = ClapConfig(text_config=ClapTextConfig(pad_token_id=tokenizer.pad_token_id).to_dict())
        ClapProcessor(feature_extractor=extractor, tokenizer=tokenizer).save_pretrained(folder)
        ClapModel(config).save_pretrained(folder)
    return str(folder)
