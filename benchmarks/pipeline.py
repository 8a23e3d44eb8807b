"""Does the input pipeline feed the training step? Groups per second of rendering, features and reading, and the demand.

    python benchmarks/pipeline.py

The last rows are an estimate for an H100, on which nothing was measured: see README.md.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from contestants import cached, contrast, freeze, measured
from harness import Results, arguments, in_quiet_environment
from job import Clock, Job, forget_prefixes, job_arguments, load, make_groups, make_job, suffix
from teminal_hf.audio.log_mel import LogMel
from teminal_hf.data.views import STAGE_B_VIEWS
from teminal_hf.models.split import towers_of
from teminal_hf.models.stages import StagePolicy
from teminal_hf.training.data_collator import GroupCollator
from teminal_hf.training.trainer import TeminalTrainer

H100_FLOPS = 989e12  # dense bf16, NVIDIA's data sheet of the SXM card
# Of it: timm's published training benchmark (results/benchmark-train-amp-nchw-pt112-cu113-rtx3090.csv) has Swin-T at
# 647 images/s, 27 GFLOP each, on a card of 71 TFLOP/s. A larger card is harder to fill: the demand is an upper bound.
H100_SHARE = 0.25


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__)
    job_arguments(parser, groups=96)
    parser.add_argument("--all_workers", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args(argv)
    if 1 not in args.all_workers:
        parser.error(f"--all_workers must hold 1, what one worker gives is compared; found {args.all_workers}")
    if args.smoke:
        args.all_workers = [0, 1]
    else:
        in_quiet_environment(args.threads)
    job, end = make_job(args), suffix(args)
    results = Results(args.threads, gpu=torch.cuda.is_available() and not args.cpu)
    _, processor = load(job, Clock())
    rows, collator = make_groups(job, processor), GroupCollator(processor, STAGE_B_VIEWS)

    results.add(f"pipeline/rendering, one core{end}", rate(rows, len(rows)), "groups/s")
    features = {}
    for workers in args.all_workers:
        loader: DataLoader[Any] = DataLoader(rows, job.batch, collate_fn=collator, num_workers=workers)
        features[workers] = rate(loader, len(rows))
        who = {0: "the main process", 1: "one worker (one core)"}.get(workers, f"{workers} workers")
        results.add(f"pipeline/rendering and features, {who}{end}", features[workers], "groups/s")
    per_worker = features[1]
    name = f"pipeline/rendering by one worker, features on the device{end}"
    results.add(name, on_device(rows, processor, job), "groups/s", per_worker, rate=True)
    results.add(f"pipeline/reading the cache{end}", reading(job), "groups/s")

    short = replace(job, steps=1 if args.smoke else 4)
    for name in ("full_finetune", "plain_freezing"):
        demand = job.batch / measured(name, replace(short, workers=1), args).report["computing_seconds"]
        results.add(f"pipeline/one worker against the demand of {name}{end}", per_worker, "groups/s", demand, rate=True)
    for name, flops in flops_per_group(job).items():
        demand = H100_FLOPS * H100_SHARE / flops
        results.add(f"pipeline/H100 estimate: demand of {name}{end}", demand, "groups/s")
        results.add(f"pipeline/H100 estimate: workers for {name}{end}", demand / per_worker, "workers")
    forget_prefixes()
    if not args.smoke:
        results.save()


def rate(items: Any, groups: int) -> float:
    """Groups per second of one pass."""
    began = time.perf_counter()
    for _ in items:
        pass
    return groups / (time.perf_counter() - began)


def on_device(rows: Any, processor: Any, job: Job) -> float:
    """Groups per second whose waveforms one worker renders, and whose log-mels are computed where the model would be
    (on a CPU: in the main process)."""
    device = torch.device("cuda" if torch.cuda.is_available() and not job.cpu else "cpu")
    log_mel = LogMel.from_extractor(processor.feature_extractor).to(device)
    collator = GroupCollator(processor, STAGE_B_VIEWS, on_device=True)
    loader: DataLoader[Any] = DataLoader(
        rows, job.batch, collate_fn=collator, num_workers=1, pin_memory=device.type == "cuda"
    )
    batches = (batch["waveforms"].to(device, non_blocking=True) for batch in loader)
    return rate((float(log_mel(waveforms).sum()) for waveforms in batches), len(rows))


def reading(job: Job) -> float:
    """Groups per second of the training's own loader over the cache, pages in memory (the second pass over it)."""
    rates: list[float] = []

    class Reader(TeminalTrainer):
        def train(self, *args: Any, **kwargs: Any) -> Any:
            loader = self.get_train_dataloader()
            rates.extend(rate(loader, job.groups) for _ in range(2))

    forget_prefixes()
    cached(job, Clock(), trainer=Reader)
    return rates[-1]


def flops_per_group(job: Job) -> dict[str, float]:
    """Counted by torch: forward and backward of a step, forward alone of the first pass."""
    model, processor = load(job, Clock())
    rows = make_groups(replace(job, groups=2), processor)
    batch = GroupCollator(processor, STAGE_B_VIEWS)([rows[0], rows[1]])
    counted = {}
    for name in ("full_finetune", "plain_freezing"):
        if name == "plain_freezing":
            freeze(model)
        with FlopCounterMode(display=False) as counter:
            contrast(model, dict(batch)).backward()
        counted[name] = counter.get_total_flops() / 2
    split_point = StagePolicy().split_point
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        towers_of(model).audio_prefix(split_point, batch["input_features"])
        towers_of(model).text_prefix(split_point, batch["input_ids"], batch["attention_mask"])
    return counted | {"the first pass": counter.get_total_flops() / 2}


if __name__ == "__main__":
    main()
